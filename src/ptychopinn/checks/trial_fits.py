"""Trials on a few patterns: which of them, cut to what is cheap, and what a short fit leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops
from ptychopinn.ops.side_by_side import side_by_side
from ptychopinn.physics.resampling import resampled_probe
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

FEWEST, LIMIT_BYTES = 16, 512 << 20
# Patterns of twice this side are cut to their middle where it holds this share of the counts.
SIDE, HELD_BY_MIDDLE = 64, 0.9
# Modes of the probe in a trial: the first ones have most of the power.
MODES = 2
# The share of photon noise that a short fit of few patterns leaves: it follows the rest. What is
# beyond it is never less than a tenth of a residual.
LEFT_OF_NOISE, AT_MOST = 0.8, 0.9


def neighbours(scan: Scan, count: int | None = None) -> NDArray[np.int64]:
    """``count`` patterns around the middle of the scan, in the order of the scan; 64 when not
    given, or 49 large ones."""
    if count is None:
        count = 64 if scan.N <= 64 else 49
    count = min(scan.M, count)
    middle = np.median(scan.positions_px, axis=0)
    anchor = scan.positions_px[int(np.abs(scan.positions_px - middle).max(axis=1).argmin())]
    distance = np.abs(scan.positions_px - anchor).max(axis=1)
    return np.sort(np.argsort(distance, kind="stable")[:count])


def trial_of(scan: Scan, chosen: NDArray[np.int64]) -> Scan:
    """Some patterns without the object, with a probe of few modes, for a trial.

    Large patterns are cut to their middle: the same fields in coarser pixels.
    """
    part = replace(scan.select(chosen), probe=scan.probe[:MODES], object=None)
    while part.N >= 2 * SIDE and part.propagator.measures_momentum:
        quarter, pixel = part.N // 4, part.pixel_size_m
        middle = slice(quarter, part.N - quarter)
        patterns, good = np.asarray(part.diffraction), part.good_pixels
        total = np.where(good, patterns.sum(axis=0, dtype=np.float64), 0)
        if part.N % 4 or total[middle, middle].sum() < HELD_BY_MIDDLE * total.sum():
            break
        part = replace(
            part,
            diffraction=patterns[:, middle, middle],
            mask=None if part.mask is None else part.mask[middle, middle],
            probe=resampled_probe(part.probe, part.N // 2, part.N // 2).astype(np.complex64),
            positions_px=part.positions_px / 2,
            pixel_size_m=None if pixel is None else 2 * pixel,
        )
    return part


def residual_of(xp: Ops, part: Scan, passes: int, *, free_probe: bool = True) -> float:
    config = PhysicsConfig(passes=passes, refine_probe=free_probe, stagnation=0.0)
    solved = PhysicsSolver(xp, config, LIMIT_BYTES).solve(prepare(part))
    return float(solved.canvas.losses[-1])


def residuals_of(
    xp: Ops, parts: Iterable[Scan], passes: int, *, free_probe: bool = True
) -> list[float]:
    """What short fits of several scans leave, worked on side by side."""

    def left(operations: Ops, part: Scan) -> float:
        return residual_of(operations, part, passes, free_probe=free_probe)

    return side_by_side(xp, left, parts)


def beyond_noise(residual: float, other: float, expected: float) -> float:
    """What a fit leaves beyond photon noise, relative to what another one does.

    Of patterns that show little more than noise all fits leave about as much, and yet only one of
    them may leave noise alone. ``expected`` is the residual of that noise.
    """
    floor = min(LEFT_OF_NOISE * expected, AT_MOST * residual, AT_MOST * other)
    return (residual - floor) / (other - floor) if other > floor else 1.0


def explained_by(part: Scan, residual: float) -> float:
    """The share of what distinguishes the patterns that a fit with this residual explains.

    0 is a model in which all patterns are the mean pattern, 1 one that leaves photon noise.
    """
    prepared = prepare(part)
    amplitudes = prepared.amplitudes(np.arange(part.M)).astype(np.float64)
    added = prepared.steadying
    intensities = amplitudes**2
    roots = np.sqrt(intensities + added)
    varied = float(((np.sqrt(intensities.mean(axis=0) + added) - roots) ** 2).sum())
    beyond = varied / float(intensities.sum()) - prepared.expected_misfit
    return 1 - (residual - prepared.expected_misfit) / max(beyond, 1e-12)


def scaled(
    positions_px: NDArray[np.float64], factor: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Positions (M, 2) multiplied by a factor, or by one of each axis (2,), about their mean."""
    centre = positions_px.mean(axis=0)
    return np.asarray(centre + factor * (positions_px - centre))
