"""Do patterns move on the detector although the residual is that of photon noise, or small?

A slow phase of the object makes up for most of a drift, and noise hides the rest. What is left of
it has a sign: patterns that follow each other in the scan ask for the same shift. With many photons
that alone tells, where a probe that was refined on the drift keeps trials from finding it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.ops.base import Ops
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.pattern_shift import MEDIAN, PatternShift, displacement, likeliest_steps
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.exposure import modelled_counts
from ptychopinn.workflows.pattern_centres import likely_shifts
from ptychopinn.workflows.unfinished import gone_on, of_network

# Patterns that are tried ask for shifts (rms, pixels) that, averaged over some in the order of the
# scan, have so many times the square that photon noise gives them. Scans without any have up to 5.
ASKED_PX, ASKED = 0.03, 10.0
# Of shifts of this size (rms, pixels) this share of the square is left when neighbours in the scan
# are averaged: a thirteenth of what has no order, 0.3 to 0.6 of a drift.
ORDERED_PX, ORDERED = 0.015, 0.25
# Or more patterns, among which neighbours of one line scatter less, correlate with their number by
# this (both axes squared and added), 0.8 and more of drifts, 0.45 at most with other faults.
TREND = 0.7
# They explain this share of the excess at least: 5 % and more of drifts, 1 % by chance beside an
# object that is not finished.
FAIR = 0.04
# A drift that is as good as linear is told by less, wherever the residual is: shifts of this size
# (rms, pixels), so many times the square that noise gives them, which go with their number by this.
# Of scans without one the first is 0.006 or the last 0.72 at most.
STEADY_PX, STEADY, STEADY_TREND = 0.01, 20.0, 0.9
# Where no trial tells: from this many times on, so ordered.
SURELY = 15.0
# From some pattern on others are asked for than before, by so many standard deviations of photon
# noise, and of what they scatter by; up to 4 by chance. Patterns that are looked at, and those on
# each side at least.
JUMPED, OF_SCATTER, LOOKED_AT, SIDE = 10.0, 5.0, 256, 8
# Patterns at the border explain this share of the excess at least: 1.4e-4 and more of jumps, 1e-5
# by chance of many photons.
AT_BORDER = 1e-4
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
    fit = result.fit
    assert fit is not None  # every verb states it
    if not _can_ask(scan, result):
        return None
    numbers = neighbours(scan)
    asked = _asked(scan, result, numbers)
    clear = asked.width >= ASKED_PX and asked.square >= ASKED
    if not clear and not _steady(asked, scan, result):
        return None
    # What a network leaves of a slow phase asks for shifts too, until physics goes on.
    if of_network(result) and result.slices is None:
        further = gone_on(xp, scan, result, numbers)
        again = _asked(scan.select(numbers), further, np.arange(len(numbers)))
        if again.square < ASKED:
            return None
    if not clear:
        return fit.residual, asked.without(fit)
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
    if (given - least) / part.likelihood_unit > LIKELIER + unknowns:
        return given, least
    # A probe that was refined on it, or too few photons, keep such trials from being any better.
    if asked.square >= SURELY and asked.ordered >= ORDERED:
        return fit.residual, asked.without(fit)
    return jumped_shifts(scan, result)


def jumped_shifts(scan: Scan, result: Reconstruction) -> tuple[float, float] | None:
    """The residual, and what it would be without the shifts that patterns ask for, where these jump
    from some pattern on; None elsewhere.

    The object takes a jump up but for the patterns whose neighbours are on its other side: with u =
    1 from some pattern on and 0 before, less the mean of that over neighbours, and the shifts d_j
    of variance s_j^2 that patterns ask for, z = sum u_j d_j / s_j^2 / sqrt(sum u_j^2 / s_j^2) is a
    standard normal number along each axis where nothing jumps.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    if not _can_ask(scan, result) or result.slices is not None:
        return None
    numbers = neighbours(scan, LOOKED_AT)
    steps, variance = _steps(scan, result, numbers)
    near = BeamCurrent.none(scan.positions_px[numbers], scan.N).near
    known = np.all(variance > 0, axis=1)
    m = len(numbers)
    if near is None or known.sum() < 2 * FEWEST or m < 2 * FEWEST:
        return None
    weight = np.divide(1.0, variance, out=np.zeros_like(variance), where=known[:, None])
    z = np.zeros(2)
    for first in range(SIDE, m - SIDE + 1):
        after = np.arange(m) >= first
        unlike = after - after[near].mean(axis=1)
        along = unlike @ (steps * weight)
        found = along / np.sqrt(np.maximum(unlike**2 @ weight, 1e-300))
        z = max(z, found, key=np.hypot.reduce)
    scatter = float(np.sqrt((steps**2 * weight)[known].sum(axis=1).mean() / 2))
    size = float(np.hypot(*z))
    if size < JUMPED or size < OF_SCATTER * scatter:
        return None
    share = size**2 * fit.noise.photon / (4 * float(fit.counts[numbers].sum()))
    if share < AT_BORDER * fit.excess:
        return None
    return fit.residual, max(fit.residual - share, 0.0)


def lasting(
    xp: Ops,
    scan: Scan,
    result: Reconstruction,
    shifts: Callable[[Scan, Reconstruction], tuple[float, float] | None],
) -> tuple[float, float] | None:
    """What :func:`ordered_shifts` or :func:`jumped_shifts` finds, where it still does once physics
    has gone on: an object that is not finished asks for such shifts as well."""
    found = shifts(scan, result)
    if found is None:
        return None
    numbers = neighbours(scan, LOOKED_AT)
    further = gone_on(xp, scan, result, numbers)
    return None if shifts(scan.select(numbers), further) is None else found


def ordered_shifts(scan: Scan, result: Reconstruction) -> tuple[float, float] | None:
    """The residual, and what it would be without the shifts that some patterns around the middle
    ask for, where these are large and follow the order of the scan, or grow with it; None
    elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result whose residual is more than
        noise.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    if not _can_ask(scan, result) or result.slices is not None:
        return None
    drift = steady_drift(scan, result)
    if drift is not None:
        return drift
    numbers = neighbours(scan)
    steps, variance = _steps(scan, result, numbers)
    around = steps - steps.mean(axis=0)
    left = sum(float((_averaged(around[:, axis]) ** 2).mean()) for axis in (0, 1))
    whole = float((around**2).sum(axis=1).mean())
    if _width(steps) < ORDERED_PX or (left < ORDERED * whole and _trend(scan, result) < TREND):
        return None
    known = variance > 0
    # Of -2 log L; a photon has a quarter of its counts in the residual.
    gain = float((steps[known] ** 2 / variance[known]).sum()) * max(fit.residual / fit.expected, 1)
    share = gain * fit.noise.photon / (4 * float(fit.counts[numbers].sum()))
    if share < FAIR * fit.excess:
        return None
    return fit.residual, max(fit.residual - share, fit.expected)


def _trend(scan: Scan, result: Reconstruction) -> float:
    """How far the shifts that patterns ask for go with their number in the scan."""
    numbers = neighbours(scan, LOOKED_AT)
    steps, _ = _steps(scan, result, numbers)
    around, time = steps - steps.mean(axis=0), numbers - numbers.mean()
    size = np.maximum(np.sqrt((around**2).sum(axis=0) * float((time**2).sum())), 1e-300)
    return float(np.hypot(*(time @ around / size)))


def _can_ask(scan: Scan, result: Reconstruction) -> bool:
    """Whether patterns tell their place on the detector, and it has not been fitted."""
    known = PatternShift.name in result.effects
    return scan.M >= FEWEST and scan.propagator.measures_momentum and not known


class _Asked(NamedTuple):
    """width : of shifts (rms, pixels), along the axis where it is larger.  square : of shifts
    averaged in the order of the scan, as a multiple of that of noise.  ordered : the share of their
    square beyond noise that averaging leaves.  gain : in -2 log L.  counts : of the patterns."""

    width: float
    square: float
    ordered: float
    gain: float
    counts: float

    def without(self, fit: Misfit) -> float:
        """The residual that would be left without the shifts."""
        return max(fit.residual - self.gain * fit.noise.photon / (4 * self.counts), 0.0)


def steady_drift(scan: Scan, result: Reconstruction) -> tuple[float, float] | None:
    """The residual, and what it would be without the shifts that some patterns around the middle
    ask for, where these grow with their number; None elsewhere."""
    fit = result.fit
    assert fit is not None  # every verb states it
    if not _can_ask(scan, result) or result.slices is not None:
        return None
    asked = _asked(scan, result, neighbours(scan))
    return (fit.residual, asked.without(fit)) if _steady(asked, scan, result) else None


def _steady(asked: _Asked, scan: Scan, result: Reconstruction) -> bool:
    clear = asked.width >= STEADY_PX and asked.square >= STEADY and asked.ordered >= ORDERED
    return clear and _trend(scan, result) >= STEADY_TREND


def _asked(scan: Scan, result: Reconstruction, numbers: NDArray[np.int64]) -> _Asked:
    """What some patterns ask for."""
    fit = result.fit
    assert fit is not None  # every verb states it
    steps, variance = _steps(scan, result, numbers)
    weights = np.ones(MEDIAN) / MEDIAN
    along = [_averaged(steps[:, axis]) for axis in (0, 1)]
    noise = [np.convolve(variance[:, axis], weights**2, "valid") for axis in (0, 1)]
    known = np.array(noise) > 0
    squares = np.divide(np.array(along) ** 2, noise, out=np.zeros(known.shape), where=known)
    beyond = float((np.array(along) ** 2 - noise).mean())
    whole = max(float((steps**2 - variance).mean()), 1e-12)
    told = variance > 0
    # What noise alone would give is taken off.
    gain = float((steps[told] ** 2 / variance[told] - 1).sum())
    counts = float(fit.counts[numbers].sum())
    return _Asked(_width(steps), float(squares.mean()), beyond / whole, max(gain, 0.0), counts)


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
