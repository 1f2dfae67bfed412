"""Scan axes that are not those of the detector: what a refinement found, and a cheap look."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import AXES, chosen_names, finding
from ptychopinn.contracts import Canvas
from ptychopinn.data.findings import FROM_NOTHING, Finding, recorded_findings, with_findings
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.ops.base import Ops
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, get_ops
from ptychopinn.physics.axes import ScanAxes, affine_between
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import Effect
from ptychopinn.solvers.affine import equations_of, likeliest_step
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.solvers.problem import scan_problem
from ptychopinn.workflows.before_axes import before_axes
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.hidden_shifts import steady_drift
from ptychopinn.workflows.results import was_refined
from ptychopinn.workflows.unsteady_beam import unsteady_beam, with_doubted_beam

log = logging.getLogger(__name__)

# What a refinement corrected is said from here on (degrees; parts of one) when it is also so many
# times its standard error.
SAID_DEG, SAID, ERRORS = 0.1, 1e-3, 4.0
# The cheap look: so many patterns around the middle, or pixels of them.
FEWEST, MOST, PIXELS = 49, 121, 121 * 64**2
# It goes on to a trial when the equations for a map ask for one: a gain of so many times the noise
# of a degree of freedom (exact axes give some 5), and this share of what is said in doubt.
GAIN, WORTH = 20.0, 0.25
DOUBT_DEG, DOUBT = 0.5, 5e-3
# Passes of a trial, and of the one that finds the numbers once a map is believed.
PASSES, LONG, LIMIT_BYTES = 8, 24, 512 << 20
# A map is believed when it raises the likelihood (-2 log L) by so much, and takes away this share
# of what was left beyond photon noise, and this one of what the patterns show of the object: of
# many photons iterations that are not quite at rest ask for axes that are off by parts of a per
# cent, which no picture suffers from.
LIKELIER, OF_EXCESS, OF_STRUCTURE = 40.0, 0.2, 2.5e-4
# A probe out of focus looks much like scaled axes. A map counts as the simpler one when it leaves
# up to so many times what the refined probe leaves, and both are named when the probe gains more
# than the second share of what the map gains.
ALIKE, SHARED = 1.02, 0.5
# A rotation of more than this is no matter of focus.
NO_FOCUS_DEG = 1.0
# And it must explain the patterns: a residual of so many times that of photon noise, or of this
# share of the one with the probe refined.
EXPLAINS, MUCH = 1.5, 0.75


def axes_between(given_px: NDArray[np.float64], found_px: NDArray[np.float64]) -> ScanAxes:
    """The axes of given positions (M, 2), when those found (M, 2) are right."""
    return ScanAxes.of(affine_between(found_px, given_px))


def standard_errors(
    given_px: NDArray[np.float64], found_px: NDArray[np.float64]
) -> tuple[float, float]:
    """Of a rotation in degrees and of a scale: what displacements that have nothing to do with the
    axes, of the size of those that are left, make by chance."""
    left = given_px - axes_between(given_px, found_px).applied(found_px)
    left = left - left.mean(axis=0)
    spread = float(np.sqrt((left**2).mean()))
    extent = float(((found_px - found_px.mean(axis=0)) ** 2).sum(axis=0).min())
    scale = spread / np.sqrt(max(extent, 1e-12))
    return float(np.rad2deg(scale)), float(scale)


def corrected_axes(
    given_px: NDArray[np.float64], found_px: NDArray[np.float64]
) -> tuple[ScanAxes, Finding | None]:
    """The axes of the given positions (M, 2) against those that a refinement found (M, 2), and a
    finding when they differ by more than noise."""
    axes = axes_between(given_px, found_px)
    angle, scale = standard_errors(given_px, found_px)
    least = max(SAID_DEG, ERRORS * angle), max(SAID, ERRORS * scale)
    if not differs(axes, *least):
        return axes, None
    return axes, finding(AXES, "mended", f"{in_words(axes)}: corrected.", **asdict(axes))


def differs(axes: ScanAxes, degrees: float, share: float) -> bool:
    """Whether the axes are turned by more than so many degrees, or scaled or sheared by more than
    this share."""
    stretched = max(abs(axes.scale_y), abs(axes.scale_x), abs(axes.shear))
    return abs(axes.rotation_deg) > degrees or stretched > share


def in_words(axes: ScanAxes) -> str:
    """``the scan axes are turned by 3.0 degrees, scaled by ... against the detector``."""
    return (
        f"the scan axes are turned by {axes.rotation_deg:.2f} degrees (from y towards x), scaled "
        f"by {100 * axes.scale_y:.2f} % and {100 * axes.scale_x:.2f} % (y, x) and sheared by "
        f"{100 * axes.shear:.2f} % against the detector"
    )


def estimate_axes(
    scan: Scan,
    found: Reconstruction,
    backend: BackendName,
    execution: Execution,
    no_mend: Collection[str] = (),
) -> tuple[Scan, Reconstruction]:
    """Look whether the scan axes are turned, scaled or sheared.

    Where the equations for an affine map ask for one, some patterns around the middle are refined
    from the object of ``found``, with a map of their positions or with the probe. When the map is
    large and explains the patterns better, that is a WARNING and a finding (level "doubt") of both
    scan and result, which are else returned as they are. Positions are not changed. Where a beam
    that changed explains still more, that is said of the result instead; and nothing is where
    another cause is one that axes make up for, which the verdict names.
    """
    fit = found.fit
    assert fit is not None  # every verb states it
    if AXES in chosen_names(no_mend):
        return scan, found
    count = max(FEWEST, min(MOST, PIXELS // scan.N**2))
    middle = np.median(scan.positions_px, axis=0)
    distance = np.abs(scan.positions_px - middle).max(axis=1)
    chosen = np.sort(np.argsort(distance, kind="stable")[:count])
    part = prepare(replace(scan.select(chosen), probe=found.probe, object=None))
    start = Canvas(
        found.object / np.complex64(part.object_scale), found.weight, found.origin_px, found.losses
    )
    known = [effect.chosen(chosen) for effect in effects_of(found)]
    effects = tuple(in_network_units(known, part).values())
    variance = part.expected_misfit * max(fit.residual / fit.expected, 1.0) / 4
    asked, gain = _asked_for(part, start, variance, effects)
    if gain < GAIN or not differs(asked, WORTH * DOUBT_DEG, WORTH * DOUBT):
        return scan, found
    trial = partial(_refined, get_ops(backend, execution), part, start, effects=effects)
    seen = max(fit.structure, 0.0)
    free = was_refined(found, "refine_probe")
    other = _believed(trial, part, noise_of_some(fit, part, chosen), seen, free)
    if other is None or not differs(other.axes, DOUBT_DEG, DOUBT):
        return scan, found
    used = replace(scan, probe=found.probe, object=None)
    if before_axes(get_ops(backend, execution), used, found):
        return scan, found
    drift = steady_drift(used, found)
    if drift is not None and drift[1] / drift[0] < other.residual / other.as_given:
        return scan, found
    if BeamCurrent.name not in chosen_names(no_mend):
        beam = unsteady_beam(get_ops(backend, execution), used, effects_of(found))
        if beam is not None:
            return scan, with_doubted_beam(found, *beam)
    focus = _may_be_focus(trial, scan, other)
    also = ", or the probe is out of focus" if other.alike or focus else ""
    remedy = (
        "the probe was found from these patterns, which do not tell which"
        if focus
        else "refine with the option refine_positions to correct that"
    )
    doubt = finding(
        AXES,
        "note" if focus else "doubt",
        f"{in_words(other.axes)}{also}: with other axes some patterns around the middle leave a "
        f"residual of {other.residual:.4g}, as they are {other.as_given:.4g}; {remedy}.",
        **asdict(other.axes),
        residual=other.residual,
        residual_as_given=other.as_given,
        residual_with_probe_refined=other.with_probe,
    )
    log.log(logging.INFO if focus else logging.WARNING, "%s: %s", scan.name, doubt.message)
    return (
        replace(scan, provenance=with_findings(scan.provenance, [doubt])),
        replace(found, provenance=with_findings(found.provenance, [doubt])),
    )


def _may_be_focus(trial: Callable[..., tuple[float, ScanAxes]], scan: Scan, other: _Other) -> bool:
    """Whether other axes may as well be the focus, or the astigmatism, of a probe that was found
    from the patterns, since it leaves no more once it is refined: smooth objects do not tell."""
    from_nothing = any(f.name == FROM_NOTHING for f in recorded_findings(scan.provenance))
    if not from_nothing or abs(other.axes.rotation_deg) > NO_FOCUS_DEG:
        return False
    probe, _ = trial(free_probe=True, free_axes=False, passes=LONG)
    return probe <= ALIKE * other.at_rest


class _Other(NamedTuple):
    """Axes other than the given ones, and what some patterns leave with them, after a longer trial,
    as given, and with the probe refined in place; alike : whether the probe may be the reason as
    well."""

    axes: ScanAxes
    residual: float
    at_rest: float
    as_given: float
    with_probe: float
    alike: bool


def noise_of_some(fit: Misfit, part: PreparedScan, chosen: NDArray[np.int64]) -> float:
    """The relative misfit that noise alone gives the ``chosen`` patterns of a fit, which are
    ``part``.

    Their mean pattern gives too much where fringes are dark: it has light at all pixels, and the
    root of few counts scatters less than that of many.
    """
    weight = fit.counts[chosen]
    own = float(np.nansum(weight * fit.expected_per_pattern[chosen]) / max(weight.sum(), 1e-12))
    return min(own, part.expected_misfit)


def _believed(
    trial: Callable[..., tuple[float, ScanAxes]],
    part: PreparedScan,
    noise: float,
    structure: float,
    refined: bool = False,
) -> _Other | None:
    """Axes that explain a part of a scan better than the given ones, and than another probe;
    ``noise`` is the residual that noise alone gives it, ``structure`` that of no object beyond it.
    A probe that was ``refined`` may not be at rest.

    Residuals are compared as likelihoods: one unit of -2 log L is a quarter of a photon. A refined
    probe follows the noise, and counts less by twice its numbers (Akaike, IEEE Trans. Autom.
    Control 19, 716, 1974).
    """
    unit = part.likelihood_unit
    penalty = 2 * 2 * part.probe.size * unit

    def gains(before: float, after: float) -> bool:
        least = max(LIKELIER * unit, OF_STRUCTURE * structure)
        return before - after > max(least, OF_EXCESS * (before - noise))

    given, _ = trial(free_probe=False, free_axes=False)
    residual, _ = trial(free_probe=False, free_axes=True)
    if not gains(given, residual):
        return None
    probe, _ = trial(free_probe=True, free_axes=False)
    free_probe = refined or residual > ALIKE * (probe + penalty)
    if free_probe:
        # The probe is wrong. Are the axes as well? Until the probe is found they help it along.
        probe, _ = trial(free_probe=True, free_axes=False, passes=LONG)
        residual, _ = trial(free_probe=True, free_axes=True, passes=LONG)
        if not gains(probe, residual):
            return None
    if residual > max(EXPLAINS * noise, MUCH * probe):
        return None
    alike = not free_probe and given - probe - penalty > SHARED * (given - residual)
    at_rest, axes = trial(free_probe=free_probe, free_axes=True, passes=LONG)
    return _Other(axes, residual, at_rest, given, probe, alike)


def _asked_for(
    part: PreparedScan, start: Canvas, variance: float, effects: tuple[Effect, ...] = ()
) -> tuple[ScanAxes, float]:
    """The axes that the patterns ask for, and by how many times the noise of a degree of freedom
    they would lower the misfit; ``variance`` is that of the moduli.

    Without a framework, which would build graphs for it.
    """
    xp = NumpyOps()
    with xp.running():
        problem, origin = scan_problem(xp, part, 1, LIMIT_BYTES)
        canvas = xp.asarray(start.on(problem.shape, origin))
        equations = equations_of(Descent(problem, canvas, effects=effects))
    step = likeliest_step(equations, part.expected_misfit / 4)
    if step is None:
        return ScanAxes(), 0.0
    change = 2 * step
    gain = float(change @ equations.matrix @ change) / (2 * variance)
    mended = np.eye(2) + change.reshape(2, 2)
    return ScanAxes.of(np.asarray(np.linalg.inv(mended), np.float64)), gain


def _refined(
    xp: Ops,
    part: PreparedScan,
    start: Canvas,
    *,
    free_probe: bool,
    free_axes: bool,
    passes: int = PASSES,
    effects: tuple[Effect, ...] = (),
) -> tuple[float, ScanAxes]:
    """Residual and axes of a part of a scan after some passes."""
    options: dict[str, Any] = {"passes": passes, "positions_from": 1, "stagnation": 0.0}
    config = PhysicsConfig(refine_probe=free_probe, refine_positions=free_axes, **options)
    solved = PhysicsSolver(xp, config, LIMIT_BYTES, False, effects).solve(part, start)
    axes = axes_between(part.scan.positions_px, solved.positions_px)
    return float(solved.canvas.losses[-1]), axes
