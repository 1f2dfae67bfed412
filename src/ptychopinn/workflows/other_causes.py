"""What else some patterns may have: probe, positions, light, beam or sample, tried from nothing.

Every trial is (words, residual); :mod:`ptychopinn.evaluation.verdict` knows what the words mean.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.contracts import Canvas
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.verdict import (
    AS_IT_IS,
    BETTER,
    FOLLOWED,
    LIT,
    LONGER,
    MORE_MODES,
    MOVING,
    NOTHING_LEFT,
    POSITIONS_FREE,
    PROBE_FREE,
    SHIFTED,
    SPREAD,
    STILL,
    THICK,
    THIN,
)
from ptychopinn.ops.base import Ops
from ptychopinn.ops.side_by_side import side_by_side
from ptychopinn.physics.background import Background
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.physics.geometry import canvas_for
from ptychopinn.physics.moving_exposure import MovingExposure
from ptychopinn.physics.pattern_shift import PatternShift
from ptychopinn.physics.point_spread import PointSpread
from ptychopinn.physics.slices import Slices
from ptychopinn.probes import with_modes
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.exposure import found_exposure, possible_directions
from ptychopinn.workflows.pattern_centres import likely_shifts
from ptychopinn.workflows.scan_axes import noise_of_some
from ptychopinn.workflows.thick_sample import found_thickness

PASSES = 16
# More modes are tried where all else leaves so many times the photon noise: below, their many
# numbers would follow it.
NEAR_NOISE = 1.1
# The directions of a way during an exposure, in words.
WAYS = {"scan": "the scan", "y": "y", "x": "x"}


@dataclass(frozen=True)
class _Fit:
    """What is fitted: these patterns, from a start or from nothing, with a further effect or
    without, and what else is free."""

    part: PreparedScan
    start: Canvas | None = None
    further: Effect | None = None
    refine_probe: bool = False
    refine_positions: bool = False


def tried(
    xp: Ops,
    scan: Scan,
    effects: Sequence[Effect] = (),
    without: Collection[str] = (),
    fit: Misfit | None = None,
) -> list[tuple[str, float]]:
    """(words, residual) on some patterns around the middle: as it is, probe free (without what it
    gains by following noise, see :func:`followed`), positions free, and a background and a point
    spread where more than noise is left.

    Where none leaves little, two more modes of the probe are tried too, an exposure during which
    the sample moves, and one that is thick. Where one is far better the first goes on for as many
    passes again.

    Parameters
    ----------
    xp : the operations of a framework.
    scan : the patterns, with the probe and the positions of the result.
    effects : what the result knows of beam and detector.
    without : names of effects that are not tried.
    fit : of the result, which knows the noise of single patterns.
    """
    if scan.M < FEWEST:
        return []
    numbers = neighbours(scan)
    chosen = scan.select(numbers)
    part = prepare(chosen)
    here = in_network_units([effect.chosen(numbers) for effect in effects], part)
    known = {*here, *without}

    def run(xp: Ops, one: _Fit) -> Canvas:
        config = PhysicsConfig(
            passes=PASSES,
            stagnation=0.0,
            refine_probe=one.refine_probe,
            refine_positions=one.refine_positions,
        )
        further = () if one.further is None else (one.further,)
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=(*here.values(), *further))
        return solver.solve(one.part, one.start).canvas

    def left(*fits: _Fit) -> list[float]:
        return [float(canvas.losses[-1]) for canvas in side_by_side(xp, run, fits)]

    first = (_Fit(part), _Fit(part, refine_probe=True), _Fit(part, refine_positions=True))
    canvases = side_by_side(xp, run, first)
    as_it_is, free_probe, free_positions = (float(canvas.losses[-1]) for canvas in canvases)
    found = [
        (AS_IT_IS, as_it_is),
        (PROBE_FREE, free_probe + followed(part)),
        (POSITIONS_FREE, free_positions),
    ]
    least, noise = min(as_it_is, free_probe, free_positions), part.expected_misfit
    found.append((FOLLOWED, noise * max(freedom(chosen) - freedom(scan), 0.0)))
    further: dict[str, Effect] = {}
    if as_it_is > NEAR_NOISE * noise and Background.name not in known:
        # An object, or a probe, that makes up for a part of it hides it from the eye; a free probe
        # may make up for nearly all.
        further[LIT] = Background.none(chosen.positions_px, scan.N)
    if as_it_is > NEAR_NOISE * noise and PointSpread.name not in known:
        further[SPREAD] = PointSpread(np.zeros(1), free=True)
    # A free probe may make up for a part of it in a few patterns, and the noise of a mean pattern
    # is too large where fringes are dark.
    floor = noise if fit is None else noise_of_some(fit, part, numbers)
    far = scan.propagator.measures_momentum
    if far and as_it_is > NEAR_NOISE * floor and PatternShift.name not in known:
        further[SHIFTED] = likely_shifts(chosen)
    with_them = left(*(_Fit(part, further=one) for one in further.values()))
    for words, residual in zip(further, with_them, strict=True):
        found.append((words, residual))
        # What a spread leaves of another blur, as that of more modes, would keep that from being
        # tried.
        if words != SPREAD or residual - noise <= NOTHING_LEFT * noise:
            least = min(least, residual)
    told = least - noise <= BETTER * (as_it_is - noise)
    if least > NEAR_NOISE * noise and not told:
        modes = prepare(replace(chosen, probe=with_modes(scan.probe, len(scan.probe) + 2)))
        found.append((MORE_MODES, left(_Fit(modes, refine_probe=True))[0]))
        if MovingExposure.name not in known:
            ways = exposures(xp, part, possible_directions(scan.positions_px), numbers, here)
            # Copies of a probe make up for a part of a beam that is not coherent.
            if ways and ways[-1][1] < found[-1][1]:
                found += ways
        # It takes as long as the others together.
        untold = found[-1][0] == MORE_MODES and found[-1][1] > NEAR_NOISE * noise
        if untold and Slices.name not in known:
            found += thickness_of(xp, scan, effects)
    # Is that better, or only quicker?
    compared = (PROBE_FREE, POSITIONS_FREE, LIT, SPREAD, SHIFTED, MORE_MODES)
    quickest = min(residual for words, residual in found if words in compared)
    if quickest - noise <= BETTER * (as_it_is - noise):
        found.append((LONGER, left(_Fit(part, start=canvases[0]))[0]))
    return found


def followed(part: PreparedScan) -> float:
    """The residual that a free probe takes away by following noise: each of its numbers that of one
    reading. Few patterns and many modes make that a good part of the noise."""
    readings = part.scan.M * int(part.scan.good_pixels.sum())
    return part.expected_misfit * min(2 * part.probe.size / readings, 1.0)


def freedom(scan: Scan) -> float:
    """Numbers of the object over readings: the share of the noise that a fit follows."""
    (height, width), _ = canvas_for(scan.positions_px, scan.N)
    return min(2 * height * width / (scan.M * int(scan.good_pixels.sum())), 1.0)


def exposures(
    xp: Ops,
    part: PreparedScan,
    directions: Mapping[str, Values],
    numbers: NDArray[np.int64],
    here: Mapping[str, Effect],
    **how: bool,
) -> list[tuple[str, float]]:
    """The sample at rest and moving, as alternatives, where the second is believed."""
    ways = {name: unit[numbers] for name, unit in directions.items()}
    exposure = found_exposure(xp, part, ways, tuple(here.values()), **how)
    return [] if exposure is None else at_rest_or_moving(*exposure)


def at_rest_or_moving(
    name: str, length: float, still: float, moving: float
) -> list[tuple[str, float]]:
    return [(STILL, still), (f"{MOVING}{length:.1f} px along {WAYS[name]}", moving)]


def thickness_of(xp: Ops, scan: Scan, effects: Sequence[Effect]) -> list[tuple[str, float]]:
    """The sample as a thin one and as two slices, as alternatives, where the second is believed."""
    thickness = found_thickness(xp, scan, effects)
    if thickness is None:
        return []
    return [(THIN, thickness.thin), (f"{THICK}{thickness.spacing_m:.2g} m", thickness.thick)]
