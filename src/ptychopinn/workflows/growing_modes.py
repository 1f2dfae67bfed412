"""Incoherent modes that are added to a probe while patterns that were left out gain from them.

Some patterns, scattered over the scan, move neither object nor probe in a trial. It goes on from
what was found, once with the modes as they are and once with two more; modes are kept when the
patterns that were left out are then explained better by clearly more than they scatter. They were
used before the trial, and both of its results know them equally.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import Canvas, Solved
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.ops.base import Ops
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.physics.forward import predict
from ptychopinn.physics.geometry import canvas_for
from ptychopinn.probes import orthogonalised, with_modes
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

log = logging.getLogger(__name__)

PASSES, ADDED, MOST = 8, 2, 9
# Patterns that are left out: one in so many, within these numbers. With fewer than the last in a
# scan nothing is tried.
ONE_IN, FEWEST, MOST_LEFT_OUT, LEAST_PATTERNS = 8, 16, 64, 64
# Modes are kept when the mean gain is so many times its standard error, this share of what is left
# beyond photon noise, and this share of that noise.
SURE, OF_EXCESS, OF_NOISE = 3.0, 0.05, 0.02


@dataclass(frozen=True)
class Trial:
    """modes : how many were tried.  gain : share by which they lower the misfit of the patterns
    that were left out.  error : standard error of the gain.  kept : whether they were."""

    modes: int
    gain: float
    error: float
    kept: bool


@dataclass(frozen=True, eq=False)
class Grown:
    """probe : (P, N, N) in network units, orthogonal.  canvas : the object with it.  trials : what
    was tried, in that order."""

    probe: NDArray[np.complex64]
    canvas: Canvas
    trials: tuple[Trial, ...]


def grown_modes(
    xp: Ops, prepared: PreparedScan, canvas: Canvas, effects: Sequence[Effect], limit_bytes: int
) -> Grown:
    """As many modes as patterns gain from, beginning with those of a probe that was refined.

    Parameters
    ----------
    prepared : the scan with the probe so far.
    canvas : the object so far, in network units.
    effects : of beam and detector, in network units.
    """
    probe, m = prepared.probe, prepared.scan.M
    if m < LEAST_PATTERNS:
        log.warning("no modes are tried: that takes %d patterns, received %d", LEAST_PATTERNS, m)
        return Grown(probe, canvas, ())
    count = min(MOST_LEFT_OUT, max(FEWEST, m // ONE_IN))
    left = np.sort(np.random.default_rng(0).choice(m, count, replace=False))
    used = np.setdiff1d(np.arange(m), left)
    part = replace(prepared, scan=replace(prepared.scan.select(used), object=None))
    config = PhysicsConfig(passes=PASSES, stagnation=0.0, refine_probe=True)
    known = tuple(effect.chosen(used) for effect in effects)
    seen = tuple(effect.chosen(left) for effect in effects)

    def further(probe: NDArray[np.complex64], canvas: Canvas) -> Solved:
        solver = PhysicsSolver(xp, config, limit_bytes, effects=known)
        return solver.solve(replace(part, probe=probe), canvas)

    trials: list[Trial] = []
    as_it_is = further(probe, canvas)
    while len(probe) + ADDED <= MOST:
        more = further(with_modes(probe, len(probe) + ADDED), canvas)
        before, after = (_misfits(xp, prepared, left, seen, found) for found in (as_it_is, more))
        trial = judged_trial(before, after, prepared.expected_misfit, len(more.probe))
        trials.append(trial)
        log.info(
            "%d modes: patterns that were left out gain %.1f %% +- %.1f %%; %s",
            trial.modes, 100 * trial.gain, 100 * trial.error, "kept" if trial.kept else "not kept",
        )  # fmt: skip
        if not trial.kept:
            break
        probe, canvas = orthogonalised(more.probe), more.canvas
        if len(probe) + ADDED <= MOST:
            as_it_is = further(probe, canvas)
    return Grown(probe, canvas, tuple(trials))


def judged_trial(before: Values, after: Values, expected: float, modes: int) -> Trial:
    """Whether patterns with the relative misfits ``before`` and ``after`` (m,) gain; ``expected``
    is that of photon noise.

    Ratios are compared and not differences, so that a few patterns at the rim, which nothing
    explains well, do not decide.
    """
    tiny = np.finfo(np.float64).tiny
    ratios = np.log(np.maximum(before, tiny)) - np.log(np.maximum(after, tiny))
    mean, error = float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(len(ratios)))
    gain, noise = 1 - np.exp(-mean), min(1.0, expected / max(float(np.median(before)), tiny))
    kept = mean > SURE * error and gain > max(OF_EXCESS * (1 - noise), OF_NOISE * noise)
    return Trial(modes, float(gain), error, bool(kept))


def _misfits(
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
    where = (scan.positions_px[left], origin, prepared.propagator, len(left))
    model = predict(xp, obj, solved.probe, *where, effects)
    with xp.running():
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
