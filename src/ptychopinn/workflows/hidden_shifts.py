"""Do patterns move on the detector although the residual is that of photon noise, or small?

A slow phase of the object makes up for most of a drift, and noise hides the rest. What is left of
it has a sign: patterns that follow each other in the scan ask for the same shift. With many photons
that alone tells, where a probe that was refined on the drift keeps trials from finding it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import effects_of
from ptychopinn.ops.base import Ops
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.pattern_shift import MEDIAN, PatternShift, displacement, likeliest_steps
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.exposure import modelled_counts
from ptychopinn.workflows.pattern_centres import likely_shifts

# Patterns that are tried ask for shifts (rms, pixels) that, averaged over some in the order of the
# scan, have so many times the square that photon noise gives them. Scans without any have up to 5.
ASKED_PX, ASKED = 0.03, 10.0
# Of shifts of this size (rms, pixels) this share of the square is left when neighbours in the scan
# are averaged: a thirteenth of what has no order, 0.3 to 0.6 of a drift.
ORDERED_PX, ORDERED = 0.015, 0.25
PASSES = 16
# Shifts are believed when they raise the likelihood (-2 log L) by so much more than their number.
LIKELIER = 40.0


def hidden_shifts(xp: Ops, scan: Scan, result: Reconstruction) -> tuple[float, float] | None:
    """Residuals of some patterns around the middle without and with a shift of each, where they ask
    for such shifts and are clearly likelier with them; None elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result whose residual is that of
        noise.
    """
    if scan.M < FEWEST or not scan.propagator.measures_momentum:
        return None
    if PatternShift.name in result.effects:
        return None
    numbers = neighbours(scan)
    if not _asked(scan, result, numbers):
        return None
    chosen = replace(scan.select(numbers), object=None)
    part = prepare(chosen)
    here = in_network_units([effect.chosen(numbers) for effect in effects_of(result)], part)

    def left(*shifts: PatternShift) -> float:
        config = PhysicsConfig(passes=PASSES, stagnation=0.0)
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=(*here.values(), *shifts))
        return float(solver.solve(part).canvas.losses[-1])

    given = left()
    none = PatternShift.none(chosen.positions_px, chosen.N)
    # Of few photons, centres of mass are as rough as the shifts.
    least = min(left(likely_shifts(chosen)), left(replace(none, free=True)))
    unknowns = none.values.size
    return (given, least) if (given - least) / part.likelihood_unit > LIKELIER + unknowns else None


def ordered_shifts(scan: Scan, result: Reconstruction) -> tuple[float, float] | None:
    """The residual, and what it would be without the shifts that some patterns around the middle
    ask for, where these are large and follow the order of the scan; None elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result whose residual is more than
        noise.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    if scan.M < FEWEST or not scan.propagator.measures_momentum or result.slices is not None:
        return None
    if PatternShift.name in result.effects:
        return None
    numbers = neighbours(scan)
    steps, variance = _steps(scan, result, numbers)
    around = steps - steps.mean(axis=0)
    left = sum(float((_averaged(around[:, axis]) ** 2).mean()) for axis in (0, 1))
    whole = float((around**2).sum(axis=1).mean())
    if _width(steps) < ORDERED_PX or left < ORDERED * whole:
        return None
    known = variance > 0
    # Of -2 log L; a photon has a quarter of its counts in the residual.
    gain = float((steps[known] ** 2 / variance[known]).sum()) * max(fit.residual / fit.expected, 1)
    share = gain * fit.noise.photon / (4 * float(fit.counts[numbers].sum()))
    return fit.residual, max(fit.residual - share, fit.expected)


def _asked(scan: Scan, result: Reconstruction, numbers: NDArray[np.int64]) -> bool:
    steps, variance = _steps(scan, result, numbers)
    weights = np.ones(MEDIAN) / MEDIAN
    along = [_averaged(steps[:, axis]) for axis in (0, 1)]
    noise = [np.convolve(variance[:, axis], weights**2, "valid") for axis in (0, 1)]
    known = np.array(noise) > 0
    squares = np.divide(np.array(along) ** 2, noise, out=np.zeros(known.shape), where=known)
    return _width(steps) >= ASKED_PX and float(squares.mean()) >= ASKED


def _steps(
    scan: Scan, result: Reconstruction, numbers: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shifts (m, 2) in pixels that patterns ask for, and their variance by photon noise."""
    fit = result.fit
    assert fit is not None  # every verb states it
    measured = np.asarray(scan.diffraction[numbers], np.float64)
    model = modelled_counts(result, numbers)
    photon = fit.noise.photon
    good = scan.good_pixels.astype(np.float64)
    bounds = () if scan.saturation is None else (measured >= scan.saturation).astype(np.float64)
    asked = displacement(NumpyOps(), np.sqrt(measured), bounds, model, good, 0.25 * photon)
    steps, variance = likeliest_steps(asked, photon * max(fit.residual / fit.expected, 1.0))
    return np.asarray(steps), np.asarray(variance)


def _averaged(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over some in the order of the scan."""
    return np.convolve(steps, np.ones(MEDIAN) / MEDIAN, "valid")


def _width(steps: NDArray[np.float64]) -> float:
    return float(np.sqrt((steps**2).mean(axis=0)).max())
