"""Positions that lie far closer along one axis than along the other: is one in another unit?

Patterns that hardly overlap explain themselves, each for itself, so that a residual may be that of
noise. Patterns that are left out of a trial are not explained then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours, scaled
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.verdict import BETTER
from ptychopinn.ops.base import Ops
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.effect_trials import Trials
from ptychopinn.workflows.left_out import SURE

# Scans whose distances along y and x differ by less than this factor are taken as they are.
UNEVEN = 1.6
# Factors between units, or of motors, and how near to what makes the distances even, which is tried
# as well, they must be.
USUAL, NEAR = (2.0, 4.0, 5.0, 10.0, 20.0, 25.0, 50.0, 100.0, 1000.0), 1.5
PASSES = 16
# Where a residual is that of noise: patterns that are left out, how many of them at least, of how
# many positions it is asked, and what the logarithm of their misfit falls by, 0.4 and more where
# a unit is wrong; it rises where axes are uneven and right.
LEFT_OUT, FEWEST_LEFT, LOOKED_AT, FALLS = 12, 6, 900, 0.2
# The iteration ends where a turn changes the ratio by less than this share, or after so many.
EVEN, TURNS = 1e-3, 12
AXES = ("y", "x")


def unevenness(positions_px: NDArray[np.float64]) -> float:
    """How many times as far apart neighbours are along y as along x, on average.

    Neighbours are those of a Delaunay triangulation of the positions once they are even, which is
    found by iteration.
    """
    from scipy.spatial import Delaunay, QhullError

    distinct = np.unique(np.round(positions_px, 6), axis=0)
    height, width = np.ptp(distinct, axis=0)
    if not (height > 0 and width > 0):
        return 1.0
    # Of axes that are far from even most triangles are needles.
    ratio = float(height / width)
    for _ in range(TURNS):
        even = distinct / [ratio, 1.0]
        try:
            corners = Delaunay(even).simplices
        except QhullError:
            # Positions on a line.
            return 1.0
        edges = np.concatenate([even[corners[:, k]] - even[corners[:, k - 1]] for k in range(3)])
        y, x = np.median(np.abs(edges), axis=0)
        y, x = np.sqrt((np.clip(np.abs(edges), 0, 3 * np.array([y, x])) ** 2).mean(axis=0))
        if not (y > 0 and x > 0):
            return 1.0
        ratio *= y / x
        if abs(np.log(y / x)) < EVEN:
            break
    return float(ratio)


def factors_of(ratio: float) -> list[tuple[int, float]]:
    """(axis, factor) by which positions of such an unevenness may be multiplied, in the order in
    which they are tried; none where they are even."""
    uneven = max(ratio, 1 / ratio)
    if not UNEVEN <= uneven < np.inf:
        return []
    near = [factor for factor in USUAL if abs(np.log(factor / uneven)) <= np.log(NEAR)]
    factors = dict.fromkeys([*near, float(f"{uneven:.2g}")])
    wider, narrower = (0, 1) if ratio > 1 else (1, 0)
    return [pair for by in factors for pair in ((wider, 1 / by), (narrower, by))]


def even_axes(
    xp: Ops, scan: Scan, effects: Sequence[Effect] = ()
) -> tuple[str, float, float] | None:
    """Words for another unit of one axis, the residual of some patterns around the middle with it,
    and that as given, where it explains them far better; None elsewhere.

    Parameters
    ----------
    scan : the patterns as they were given: a probe that was refined has made up for a part of it.
    effects : what the result knows of beam and detector.
    """
    if scan.M < FEWEST:
        return None
    best: tuple[str, float, float] | None = None
    as_given: dict[bytes, tuple[float, float]] = {}
    for axis, factor in factors_of(unevenness(scan.positions_px)):
        factors = np.where(np.arange(2) == axis, factor, 1.0)
        other = replace(scan, positions_px=scaled(scan.positions_px, factors))
        numbers = neighbours(other)

        def left(of: Scan, numbers: NDArray[np.int64] = numbers) -> tuple[float, float]:
            part = prepare(replace(of.select(numbers), object=None))
            here = in_network_units([effect.chosen(numbers) for effect in effects], part)
            config = PhysicsConfig(passes=PASSES, stagnation=0.0)
            solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=tuple(here.values()))
            return float(solver.solve(part).canvas.losses[-1]), part.expected_misfit

        # To divide one axis or to multiply the other chooses the same patterns.
        key = numbers.tobytes()
        if key not in as_given:
            as_given[key] = left(scan)
        (given, noise), (residual, _) = as_given[key], left(other)
        clear = residual - noise <= BETTER * (given - noise) and residual < given - 0.1 * noise
        if clear and (best is None or residual < best[1]):
            best = in_words(axis, factor), residual, given
    return best


def even_axes_within_noise(
    xp: Ops, scan: Scan, effects: Sequence[Effect] = ()
) -> tuple[str, float, float] | None:
    """The same where the residual is that of noise: residuals are those of patterns that are left
    out of a trial."""
    if scan.M < FEWEST:
        return None
    best: tuple[str, float, float] | None = None
    some = scan.positions_px[neighbours(scan, LOOKED_AT)]
    for axis, factor in factors_of(unevenness(some)):
        factors = np.where(np.arange(2) == axis, factor, 1.0)
        other = replace(scan, positions_px=scaled(scan.positions_px, factors))
        numbers = neighbours(other)

        def left(of: Scan, numbers: NDArray[np.int64] = numbers) -> Values:
            here = [effect.chosen(numbers) for effect in effects]
            count = len(numbers)
            trials = Trials(xp, of.select(numbers), PhysicsConfig(), here, count, LEFT_OUT)
            return trials.begun().misfits if len(trials.left) >= FEWEST_LEFT else np.zeros(0)

        found, given = left(other), left(scan)
        if not (found.size and given.size):
            continue
        falls = float(np.log(given).mean() - np.log(found).mean())
        error = np.sqrt(sum(np.log(one).var(ddof=1) / len(one) for one in (found, given)))
        residual = float(found.mean())
        if falls > max(FALLS, SURE * error) and (best is None or residual < best[1]):
            best = in_words(axis, factor), residual, float(given.mean())
    return best


def in_words(axis: int, factor: float) -> str:
    """``y divided by 10``."""
    return f"{AXES[axis]} " + (f"divided by {1 / factor:g}" if factor < 1 else f"times {factor:g}")
