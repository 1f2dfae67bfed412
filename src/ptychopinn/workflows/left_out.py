"""Patterns that are left out of a trial, and whether they gain from what was tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import Solved
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.ops.base import Ops
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.physics.forward import predict
from ptychopinn.physics.geometry import canvas_for

# What is tried is kept when the mean gain is so many times its standard error, this share of what
# is left beyond photon noise, and this share of that noise.
SURE, OF_EXCESS, OF_NOISE = 3.0, 0.05, 0.02


class Gain(NamedTuple):
    """gain : share by which the misfit of patterns that were left out falls.  error : its standard
    error.  kept : whether it is clear, and worth it."""

    gain: float
    error: float
    kept: bool


def gain_of(before: Values, after: Values, expected: float, of_noise: float = OF_NOISE) -> Gain:
    """Whether patterns with the relative misfits ``before`` and ``after`` (m,) gain; ``expected``
    is that of photon noise, of which so much must be gained.

    Ratios are compared and not differences, so that a few patterns at the rim, which nothing
    explains well, do not decide.
    """
    tiny = np.finfo(np.float64).tiny
    ratios = np.log(np.maximum(before, tiny)) - np.log(np.maximum(after, tiny))
    mean, error = float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(len(ratios)))
    gain, noise = 1 - np.exp(-mean), min(1.0, expected / max(float(np.median(before)), tiny))
    kept = mean > SURE * error and gain > max(OF_EXCESS * (1 - noise), of_noise * noise)
    return Gain(float(gain), error, bool(kept))


def misfits(
    xp: Ops,
    prepared: PreparedScan,
    left: NDArray[np.int64],
    effects: Sequence[Effect],
    solved: Solved,
) -> Values:
    """Of the patterns ``left`` (m,), relative to their mean power, each with its own factor."""
    scan = prepared.scan
    shape, origin = canvas_for(scan.positions_px, scan.N)
    # Patterns at the rim may reach beyond the canvas of the others.
    obj = solved.canvas.on(shape, origin)
    measured = prepared.amplitudes(left)
    bounds = prepared.bounds(prepared.counts_of(left))
    found = np.zeros(len(left))
    with xp.running():
        where = (scan.positions_px[left], origin, prepared.propagator, len(left))
        model = predict(xp, obj, solved.probe, *where, effects)
        for part, counts in model:
            amplitude = np.sqrt(np.maximum(counts, 0)) * scan.good_pixels
            along = (amplitude * measured[part]).sum(axis=(1, 2))
            power = (amplitude**2).sum(axis=(1, 2))
            difference = (along / power)[:, None, None] * amplitude - measured[part]
            if bounds is not None:
                difference[(bounds[part] > 0) & (difference > 0)] = 0
            found[part] = (difference**2).sum(axis=(1, 2))
    total: Any = (measured.astype(np.float64) ** 2).sum(axis=(1, 2)).mean()
    return found / total


def covered(positions_px: Values, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Up to ``count`` patterns (m,), sorted, away from the rim of all and from each other, so that
    those at the other positions (M, 2) cover their places."""
    from scipy.spatial import cKDTree

    low, high = positions_px.min(axis=0), positions_px.max(axis=0)
    apart = 1.5 * float(np.median(cKDTree(positions_px).query(positions_px, 2)[0][:, 1]))
    room = np.minimum(positions_px - low, high - positions_px)
    inner = np.flatnonzero((room >= np.minimum(apart, (high - low) / 4)).all(axis=1))
    chosen: list[int] = []
    for number in rng.permutation(inner):
        away = np.hypot(*(positions_px[chosen] - positions_px[number]).T)
        if len(chosen) < count and (away > apart).all():
            chosen.append(int(number))
    return np.sort(np.array(chosen, np.int64))
