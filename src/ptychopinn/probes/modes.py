"""Incoherent modes that are added to a probe, so that iterations have something to start from.

Modes proportional to y P, x P, y^2 P, ... are the first terms of what motion, a source of finite
size or a broad spectrum do to a coherent probe P; of a Gaussian they are the Hermite-Gauss modes
(Thibault and Menzel, Nature 494, 68, 2013, for mixed states in ptychography).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, shown

# More are never needed, and each costs as much time and memory as the first.
MOST_MODES = 32
# Share of the power that an added mode gets, and that all of them get at most.
SHARE, MOST = 0.07, 0.3


def hermite_like(first: NDArray[Any], count: int, angle: float = 0.0) -> NDArray[np.complex128]:
    """Orthonormal modes (count, N, N); the first one is proportional to ``first`` (N, N).

    The others are ``first`` times polynomials in the coordinates turned by ``angle``,
    orthogonalised in the order 1, x, y, x^2, xy, y^2, ...: the Hermite-Gauss modes if ``first`` is
    a Gaussian.
    """
    n = first.shape[-1]
    u = np.arange(n) - n // 2
    power = np.abs(first) ** 2 / (np.abs(first) ** 2).sum()
    size = np.sqrt((power * (u[:, None] ** 2 + u[None, :] ** 2)).sum())
    x = (np.cos(angle) * u[None, :] + np.sin(angle) * u[:, None]) / size
    y = (np.cos(angle) * u[:, None] - np.sin(angle) * u[None, :]) / size
    orders = [(total - j, j) for total in range(count) for j in range(total + 1)][:count]
    candidates = np.stack([(first * x**i * y**j).ravel() for i, j in orders], axis=1)
    basis, triangle = np.linalg.qr(candidates)
    basis = basis * (np.diagonal(triangle) / np.abs(np.diagonal(triangle)))  # keep the phase
    modes: NDArray[np.complex128] = basis.T.reshape(count, n, n)
    return modes


def with_modes(probe: NDArray[Any], count: int) -> NDArray[np.complex64]:
    """``count`` modes in all: those of ``probe`` (P, N, N), and others made from the strongest.

    Each added mode gets 7 per cent of the power, all together 30 at most; the power of the whole,
    sum abs(P)^2, is kept, and the added modes are orthogonal to all others.

    Raises
    ------
    InputError
        When the probe has more modes than that, or it is no whole number up to ``MOST_MODES``.
    """
    known = np.asarray(probe, np.complex128)
    if (
        isinstance(count, bool)
        or not isinstance(count, int | np.integer)
        or count > max(MOST_MODES, len(known))
    ):
        raise InputError(
            f"modes must be a whole number up to {MOST_MODES}, received {shown(count)}; correct it."
        )
    if count < len(known):
        raise InputError(
            f"modes must be at least the {len(known)} that the probe has, received {count}; "
            "give a larger number or leave it out."
        )
    added = count - len(known)
    if not added:
        return known.astype(np.complex64)
    n, power = known.shape[-1], (np.abs(known) ** 2).sum(axis=(1, 2))
    # Given modes may already span some of them: those serve that are mostly left. As candidates are
    # orthonormal, no more than 2 (P - 1) of them are not.
    every = 1 + added + 2 * (len(known) - 1)
    candidates = hermite_like(known[power.argmax()], every)[1:].reshape(-1, n * n)
    basis = list(np.linalg.qr(known.reshape(len(known), -1).T)[0].T)
    for candidate in candidates:
        left = candidate - sum(b * np.vdot(b, candidate) for b in basis)
        if len(basis) < count and np.linalg.norm(left) ** 2 >= 0.5 - 1e-9:
            basis.append(left / np.linalg.norm(left))
    new = np.stack(basis[len(known) :]).reshape(added, n, n)
    share = min(SHARE, MOST / added)
    total = power.sum()
    kept = known * np.sqrt(1 - added * share)
    return np.concatenate([kept, new * np.sqrt(share * total)]).astype(np.complex64)


def orthogonalised(probe: NDArray[Any]) -> NDArray[np.complex64]:
    """Orthogonal modes that give the same patterns as ``probe`` (P, N, N), the strongest first.

    The intensities of modes add, so that a unitary mixing of them changes no pattern; this one
    makes them orthogonal. The phase of each is that of the given mode which it has most of.
    """
    known = np.asarray(probe, np.complex128)
    if len(known) == 1:
        return known.astype(np.complex64)
    flat = known.reshape(len(known), -1)
    mixing, strengths, modes = np.linalg.svd(flat, full_matrices=False)
    most = mixing[np.abs(mixing).argmax(axis=0), np.arange(len(strengths))]
    modes = modes * (strengths * most / np.abs(most))[:, None]
    found: NDArray[np.complex64] = modes.reshape(known.shape).astype(np.complex64)
    return found
