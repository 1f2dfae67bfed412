"""Scan axes that are not those of the detector: what a refinement found, and a cheap look."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import AXES, chosen_names, finding
from ptychopinn.contracts import Canvas
from ptychopinn.data.findings import Finding, with_findings
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, get_ops
from ptychopinn.physics.axes import ScanAxes, affine_between
from ptychopinn.solvers.affine import equations_of, likeliest_step
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.solvers.problem import scan_problem

log = logging.getLogger(__name__)

# What a refinement corrected is said from here on (degrees; parts of one) when it is also so many
# times its standard error.
SAID_DEG, SAID, ERRORS = 0.1, 1e-3, 4.0
# The cheap look: so many patterns around the middle, or pixels of them, so many passes, and from
# where on it is said.
FEWEST, MOST, PIXELS = 49, 121, 121 * 64**2
PASSES, LIMIT_BYTES = 8, 512 << 20
DOUBT_DEG, DOUBT = 0.5, 5e-3
# It is taken when the residual exceeds that of photon noise by this factor, and goes on when a
# single step asks for this share of what is said.
NOT_AT_NOISE, WORTH = 1.1, 0.25
# The affine map is believed when it leaves this share of the residual, or less, that is left with
# the probe refined in its place: a probe out of focus looks much like scaled axes. A map with the
# probe as it is counts as the simpler one up to the second number. Where both explain the patterns
# as well as the third number says, and the patterns ask for one of them, both are named.
BELIEVED, SIMPLER, ALIKE, ASKED = 0.93, 1.03, 1.02, 0.9
# And it must explain the patterns: a residual of so many times that of photon noise, or of this
# share of the one with the probe refined.
EXPLAINS, MUCH = 1.5, 0.6


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
    """Look whether turned, scaled or sheared scan axes are why a result is not at the noise.

    Some patterns around the middle are refined from the object of ``found``, with an affine map of
    their positions or with the probe. When the map is large and leaves a clearly smaller residual,
    that is a WARNING and a finding (level "doubt") of both scan and result, which are else returned
    as they are. Positions are not changed.
    """
    fit = found.fit
    assert fit is not None  # every verb states it
    if AXES in chosen_names(no_mend) or fit.residual <= NOT_AT_NOISE * fit.expected:
        return scan, found
    count = max(FEWEST, min(MOST, PIXELS // scan.N**2))
    middle = np.median(scan.positions_px, axis=0)
    distance = np.abs(scan.positions_px - middle).max(axis=1)
    chosen = np.sort(np.argsort(distance, kind="stable")[:count])
    part = prepare(replace(scan.select(chosen), probe=found.probe, object=None))
    start = Canvas(
        found.object / np.complex64(part.object_scale), found.weight, found.origin_px, found.losses
    )
    xp = get_ops(backend, execution)
    if not differs(_first_step(xp, part, start), WORTH * DOUBT_DEG, WORTH * DOUBT):
        return scan, found
    trial = partial(_refined, xp, part, start)
    residual, axes = trial(free_probe=False, free_axes=True)
    other, _ = trial(free_probe=True, free_axes=False)
    alike = False
    if residual > BELIEVED * other:
        both, with_probe = trial(free_probe=True, free_axes=True)
        if both <= BELIEVED * other:
            if residual > SIMPLER * both:
                residual, axes = both, with_probe
        else:
            alike = residual <= ALIKE * min(other, both)
            if not alike or residual > ASKED * trial(free_probe=False, free_axes=False)[0]:
                return scan, found
    explains = residual <= max(EXPLAINS * part.expected_misfit, MUCH * other)
    if not (explains and differs(axes, DOUBT_DEG, DOUBT)):
        return scan, found
    also = ", or the probe is out of focus" if alike else ""
    doubt = finding(
        AXES,
        "doubt",
        f"{in_words(axes)}{also}: with other axes some patterns around the middle leave a residual "
        f"of {residual:.3g}, and {other:.3g} with the probe refined in place; refine "
        "with the option refine_positions to correct that.",
        **asdict(axes),
        residual=residual,
        residual_with_probe_refined=other,
    )
    log.warning("%s: %s", scan.name, doubt.message)
    return (
        replace(scan, provenance=with_findings(scan.provenance, [doubt])),
        replace(found, provenance=with_findings(found.provenance, [doubt])),
    )


def _first_step(xp: Ops, part: PreparedScan, start: Canvas) -> ScanAxes:
    """What a single step asks for."""
    with xp.running():
        problem, origin = scan_problem(xp, part, 1, LIMIT_BYTES)
        state = Descent(problem, xp.asarray(start.on(problem.shape, origin)))
        step = likeliest_step(equations_of(state), part.expected_misfit / 4)
    if step is None:
        return ScanAxes()
    mended = np.eye(2) + 2 * step.reshape(2, 2)
    return ScanAxes.of(np.asarray(np.linalg.inv(mended), np.float64))


def _refined(
    xp: Ops, part: PreparedScan, start: Canvas, *, free_probe: bool, free_axes: bool
) -> tuple[float, ScanAxes]:
    """Residual and axes of a part of a scan after some passes."""
    options: dict[str, Any] = {"passes": PASSES, "positions_from": 1, "stagnation": 0.0}
    config = PhysicsConfig(refine_probe=free_probe, refine_positions=free_axes, **options)
    solved = PhysicsSolver(xp, config, LIMIT_BYTES, False).solve(part, start)
    axes = axes_between(part.scan.positions_px, solved.positions_px)
    return float(solved.canvas.losses[-1]), axes
