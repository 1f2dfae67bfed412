"""Incoherent modes that are added to a probe, so that iterations have something to start from.

Modes proportional to y P, x P, y^2 P, ... are the first terms of what motion, a source of finite
size or a broad spectrum do to a coherent probe P; of a Gaussian they are the Hermite-Gauss modes
(Thibault and Menzel, Nature 494, 68, 2013, for mixed states in ptychography).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError

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
        When the probe has more modes than that.
    """
    known = np.asarray(probe, np.complex128)
    if count < len(known):
        raise InputError(
            f"modes must be at least the {len(known)} that the probe has, received {count}; "
            "give a larger number or leave it out."
        )
    added = count - len(known)
    if not added:
        return known.astype(np.complex64)
    n, power = known.shape[-1], (np.abs(known) ** 2).sum(axis=(1, 2))
    candidates = hermite_like(known[power.argmax()], count)[1:].reshape(-1, n * n)
    # Given modes may already span some of them: the first ones that are left serve.
    given = np.linalg.qr(known.reshape(len(known), -1).T)[0]
    basis = np.linalg.qr(np.concatenate([given, candidates.T], axis=1))[0]
    new = basis[:, len(known) : count].T.reshape(added, n, n)
    share = min(SHARE, MOST / added)
    total = power.sum()
    kept = known * np.sqrt(1 - added * share)
    return np.concatenate([kept, new * np.sqrt(share * total)]).astype(np.complex64)
