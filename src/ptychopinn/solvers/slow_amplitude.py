"""The slowly varying amplitude of the object, which factors of the patterns can make up for.

A factor exp(2 s(r_j)) of each pattern and an object times exp(-s), with s that hardly varies within
the probe, explain the patterns nearly as well as none, so that iterations part the two last. What
tells them apart is the gradient of s within each pattern. An exit wave psi that misses the phase
gradient g, the gradient h of its log amplitude, and a share a of its amplitude, changes by

    d psi = (a + h . u + i g . u) psi,      dI = 2 sum_p Re(conj(D psi_p) D d psi_p),

with u in pixels from the middle. Gauss and Newton's step of a pattern solves the five numbers from
I - I_hat with the variance of photons, all together, since those that are not asked for would be
taken for the others. The gradients h and g, less what noise made of them, are integrated as those
of the low-frequency phase are (:mod:`ptychopinn.physics.low_frequency`), to s and to a phase t; the
object takes exp(s + i t), and the factors exp(-2 s) with s as the probe sees it.

With a free probe exp(-k . u) of it, exp(k . r) of the object and factors exp(-2 k . r_j) change no
pattern, and beside a background hardly any: a plane of s is left out then.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.forward import PatternBatch, missing, modelled, slopes
from ptychopinn.physics.geometry import places
from ptychopinn.physics.low_frequency import missing_phase, under_probe
from ptychopinn.physics.propagators import Propagator
from ptychopinn.solvers.descent import Descent

# The numbers of a pattern: a, and h and g along both axes.
UNKNOWN = 5
# Share of the sum of the squared slopes that is added to each, so that a pattern without light, or
# without structure, asks for nothing.
RIDGE = 1e-6
# The object takes so many times the amplitude and the phase that are found, every so many passes:
# what else it may do about a gradient makes its patterns ask for less than they miss.
GAIN, PHASE_GAIN, EVERY = 1.5, 0.7, 2
# A gradient is at most this (1/px), whatever a spoiled pattern asks for.
LARGEST = 0.2


def exchange(state: Descent, positions_px: NDArray[np.float64], origin_px: Any) -> None:
    """Move a slowly varying amplitude from the effects that make up for it to the object, if there
    are any, and with it the phase that is still missing; ``positions_px`` (M, 2) are those of all
    patterns, ``origin_px`` that of the canvas."""
    made_up = [effect.makes_up for effect in state.effects]
    if not any(made_up) or state.slices > 1:
        return
    xp, n = state.xp, int(state.probe.shape[-1])
    height, width = (int(side) for side in state.shape)
    centre = places(positions_px, n, (height, width), origin_px).centre
    asked = missing_gradients(state, len(positions_px))
    if not asked.any():
        return
    kind = xp.to_numpy(state.probe).real.dtype

    def integrated(gradients: NDArray[np.float64]) -> NDArray[np.float64]:
        given = xp.asarray(gradients.astype(kind)), xp.asarray(centre)
        field = xp.to_numpy(xp.call(missing_phase, *given, state.low)).astype(np.float64)
        return np.asarray(field - field.ravel()[centre].mean())

    field = GAIN * integrated(asked[:, :2])
    if state.refine_probe or any(effect.hides for effect in state.effects):
        field -= _plane(field, centre)
    grown = np.exp(field + 1j * PHASE_GAIN * integrated(asked[:, 2:]))
    taken = xp.asarray(grown.astype(xp.to_numpy(state.probe).dtype))
    state.canvas, state.velocity = state.canvas * taken, state.velocity * taken
    seen = xp.to_numpy(xp.call(under_probe, xp.asarray(field.astype(kind)), state.low))
    seen = seen.ravel()[centre].astype(np.float64)
    state.effects = tuple(
        effect.exchanged(seen) if does else effect
        for effect, does in zip(state.effects, made_up, strict=True)
    )


def missing_gradients(state: Descent, count: int) -> NDArray[np.float64]:
    """Missing gradients (M, 4) of log amplitude and phase (1/px; y, x of each) of all ``count``
    patterns, shrunk by the share of their squares that photon noise makes."""
    xp, problem = state.xp, state.problem
    n = int(state.probe.shape[-1])
    u = xp.asarray(((np.arange(n) - n // 2) / n).astype(xp.to_numpy(state.probe).real.dtype))
    found = np.zeros((count, UNKNOWN * (UNKNOWN + 3) // 2))
    for subset, numbers in enumerate(problem.numbers):
        given = state.canvas, problem.stabiliser, u
        each = [xp.to_numpy(f) for *_, f in state.each(equations, subset, *given)]
        found[numbers] = np.concatenate(each)
    found = xp.totals([found])[0]
    whole = np.zeros((count, UNKNOWN, UNKNOWN + 1))
    whole[:, *np.triu_indices(UNKNOWN, 0, UNKNOWN + 1)] = found
    squares, asked = whole[..., :UNKNOWN], whole[..., UNKNOWN]
    squares = squares + np.triu(squares, 1).transpose(0, 2, 1)
    ridge = RIDGE * np.trace(squares, axis1=1, axis2=2)[:, None, None] * np.eye(UNKNOWN)
    dark = np.where(squares.any(axis=(1, 2)), 0.0, 1.0)[:, None, None] * np.eye(UNKNOWN)
    inverse = np.linalg.inv(squares + ridge + dark)
    found = np.clip((inverse @ asked[..., None])[:, 1:, 0] / n, -LARGEST, LARGEST)
    photon = float((2 * problem.noise) ** 2)
    noise = photon * np.diagonal(inverse, axis1=1, axis2=2)[:, 1:] / n**2
    spread = np.maximum((found**2 - noise).mean(axis=0), 0.0)
    return np.asarray(found * spread / np.maximum(spread + noise, 1e-30))


def equations(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    e: Any,
    u: Array,
) -> Array:
    """The normal equations (M, 20) of a batch for (a, N h_y, N h_x, N g_y, N g_x): of each slope
    the products with itself and those after it, and that with measured minus modelled intensities;
    ``u`` (N,) are pixels from the middle in units of N, and ``e`` is added to the intensities."""
    way, fields, model = modelled(xp, propagator, canvas, batch)
    waves = way.waves[-1] * way.patches[-1][:, None]
    amplitude, measured = xp.sqrt(model + e), xp.sqrt(xp.square(batch.amplitudes) + e)
    excess = missing(xp, batch, measured, amplitude, good) * (measured + amplitude)
    counted = good * xp.ones_like(model)
    if not isinstance(batch.bounds, tuple):
        counted = counted * (1.0 - batch.bounds * xp.astype(model > xp.square(measured), model))
    down, turned_down = slopes(xp, propagator, fields, xp.scaled(waves, u[:, None]), batch)
    right, turned_right = slopes(xp, propagator, fields, xp.scaled(waves, u), batch)
    wave = model if isinstance(batch.background, tuple) else model - batch.background
    every = [2.0 * wave, down, right, turned_down, turned_right]
    weight, missed = counted / (model + e), excess / (model + e)
    sums = []
    for k, one in enumerate(every):
        weighted = weight * one
        sums += [xp.sum(weighted * other, axis=(1, 2)) for other in every[k:]]
        sums.append(xp.sum(one * missed, axis=(1, 2)))
    return xp.stack(sums, axis=1)


def _plane(field: NDArray[np.float64], centre: NDArray[np.int64]) -> NDArray[np.float64]:
    """The plane (H, W) that fits a field best at the flat pixels ``centre`` (M,)."""
    height, width = field.shape
    y, x = np.divmod(centre, width)
    known = np.stack([np.ones(len(centre)), y, x], axis=1)
    level, down, right = np.linalg.lstsq(known, field[y, x], rcond=None)[0]
    return np.asarray(level + down * np.arange(height)[:, None] + right * np.arange(width)[None])
