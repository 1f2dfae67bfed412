"""What else some patterns may have: probe, positions, light, beam or sample, tried from nothing.

Every trial is (words, residual); :mod:`ptychopinn.evaluation.verdict` knows what the words mean.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

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

    def run(part: PreparedScan, start: Canvas | None, *further: Effect, **free: Any) -> Canvas:
        config = PhysicsConfig(passes=PASSES, stagnation=0.0, **free)
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=(*here.values(), *further))
        return solver.solve(part, start).canvas

    def left(part: PreparedScan, *further: Effect, **free: Any) -> float:
        return float(run(part, None, *further, **free).losses[-1])

    given = run(part, None)
    free_probe = left(part, refine_probe=True)
    found = [
        (AS_IT_IS, float(given.losses[-1])),
        (PROBE_FREE, free_probe + followed(part)),
        (POSITIONS_FREE, left(part, refine_positions=True)),
    ]
    least, noise = min(free_probe, *(residual for _, residual in found)), part.expected_misfit
    found.append((FOLLOWED, noise * max(freedom(chosen) - freedom(scan), 0.0)))
    if found[0][1] > NEAR_NOISE * noise and Background.name not in known:
        # An object, or a probe, that makes up for a part of it hides it from the eye; a free probe
        # may make up for nearly all.
        found.append((LIT, left(part, Background.none(chosen.positions_px, scan.N))))
        least = min(least, found[-1][1])
    if found[0][1] > NEAR_NOISE * noise and PointSpread.name not in known:
        found.append((SPREAD, left(part, PointSpread(np.zeros(1), free=True))))
        # What it leaves of another blur, as that of more modes, would keep that from being tried.
        if found[-1][1] - noise <= NOTHING_LEFT * noise:
            least = min(least, found[-1][1])
    # A free probe may make up for a part of it in a few patterns, and the noise of a mean pattern
    # is too large where fringes are dark.
    floor = noise if fit is None else noise_of_some(fit, part, numbers)
    far = scan.propagator.measures_momentum
    if far and found[0][1] > NEAR_NOISE * floor and PatternShift.name not in known:
        found.append((SHIFTED, left(part, likely_shifts(chosen))))
        least = min(least, found[-1][1])
    told = least - noise <= BETTER * (found[0][1] - noise)
    if least > NEAR_NOISE * noise and not told:
        modes = prepare(replace(chosen, probe=with_modes(scan.probe, len(scan.probe) + 2)))
        found.append((MORE_MODES, left(modes, refine_probe=True)))
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
    if quickest - noise <= BETTER * (found[0][1] - noise):
        found.append((LONGER, float(run(part, given).losses[-1])))
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
