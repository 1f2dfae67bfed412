"""The slices of a thick sample: what a refinement is told of them, and what it begins with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np

from ptychopinn.checks.trial_fits import neighbours
from ptychopinn.contracts import Canvas
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.ops.base import Ops
from ptychopinn.physics.effects import Effect
from ptychopinn.physics.propagators import wavelength_of
from ptychopinn.physics.slices import Slices
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

# Passes of a trial at first, and of those that decide; memory; and the factor from one distance to
# the next that is tried.
PASSES, SETTLED, LIMIT_BYTES, STEP = 10, 40, 512 << 20, 2.0

log = logging.getLogger(__name__)


def slices_for(
    config: PhysicsConfig,
    prepared: PreparedScan,
    known: Effect | None,
    effects: Sequence[Effect],
    xp: Ops,
) -> Slices | None:
    """The slices that a refinement is asked for, or that are ``known`` of its start; None for a
    thin sample. ``effects`` are what is known beside, while their spacing is looked for.

    Raises
    ------
    InputError
        When an option does not go with them, or a number that they need is missing.
    """
    count, spacing = config.slices, config.slice_spacing_m
    before = known if isinstance(known, Slices) else None
    if count is None and before is not None:
        count = before.slices
    if count is None or count == 1:
        if spacing is not None:
            raise InputError(
                "a slice spacing needs at least 2 slices, received none or 1; give the option "
                "slices, or leave the spacing out."
            )
        return None
    if spacing is None and before is not None and before.slices == count:
        return before
    pixel, wavelength = lengths_of(config, prepared.scan)
    if spacing is None:
        moving = config.refine_positions
        spacing = found_spacing(xp, prepared, count, pixel, wavelength, effects, moving)
        log.info("the slices are %.3g m apart, as the patterns show", spacing)
    return Slices.of(count, spacing, pixel, wavelength)


def lengths_of(config: PhysicsConfig, scan: Scan) -> tuple[float, float]:
    """Pixel size and wavelength in metres, which slices need.

    Raises
    ------
    InputError
        When neither scan nor options say one of them.
    """
    pixel, wavelength = scan.pixel_size_m, config.wavelength_m
    if wavelength is None and scan.energy_eV is not None:
        wavelength = wavelength_of(scan.energy_eV)
    missing = [
        name for name, v in (("pixel size", pixel), ("photon energy", wavelength)) if v is None
    ]
    if pixel is None or wavelength is None:
        raise InputError(
            f"slices need the pixel size and the wavelength, received a scan without "
            f"{' and '.join(missing)}; write it with them"
            f"{', or give the option wavelength_m' if wavelength is None and pixel else ''}."
        )
    return pixel, wavelength


def found_spacing(
    xp: Ops,
    prepared: PreparedScan,
    count: int,
    pixel_size_m: float,
    wavelength_m: float,
    effects: Sequence[Effect] = (),
    refine_positions: bool = False,
    fine: bool = True,
) -> float:
    """The distance between ``count`` slices, in metres, with which some patterns around the middle
    are explained best after a few passes.

    What counts is a = distance * wavelength / pixel^2, the blur that a slice has on the next one in
    squares of pixels. The misfit has one sharp minimum in it. Positions that are not exact are
    refined in each trial. Without ``fine`` it is known to a factor of two.

    Raises
    ------
    InputError
        When no distance is better than all others, as for a thin sample.
    """
    numbers = neighbours(prepared.scan)
    part = prepare(replace(prepared.scan.select(numbers), object=None))
    brighter = (part.input_scale / prepared.input_scale) ** 2
    here = tuple(effect.chosen(numbers).scaled(brighter) for effect in effects)
    unit = pixel_size_m**2 / wavelength_m

    @cache
    def left(power: float, passes: int = PASSES) -> float:
        thick = Slices.of(count, unit * STEP**power, pixel_size_m, wavelength_m)
        config = PhysicsConfig(passes=passes, stagnation=0.0, refine_positions=refine_positions)
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=(*here, thick))
        return float(np.nanmin([step.misfit for step in solver.run(part)]))

    # From a blur that hardly shows to one by which waves leave the array.
    widest = np.log(2 * part.scan.N / (count - 1)) / np.log(STEP)
    tried = [float(power) for power in range(1, int(widest) + 1)]
    best = min(tried, key=left)
    if best in (tried[0], tried[-1]):
        side = "below" if best == tried[0] else "above"
        raise InputError(
            f"the patterns must show how far the slices are apart, received some that are best "
            f"explained {side} {unit * STEP**best:.3g} m; give the option slice_spacing_m, or use "
            "one slice."
        )
    if not fine:
        return float(unit * STEP**best)
    # Wider blurs are found sooner: which one is right shows later.
    settled = partial(left, passes=SETTLED)
    for finer in (0.5, 0.25):
        best = min((best - finer, best, best + finer), key=settled)
    three = [best - 0.25, best, best + 0.25]
    a, b, _ = np.polyfit(three, np.log([settled(power) for power in three]), 2)
    if a > 0:
        best = float(np.clip(-b / (2 * a), three[0], three[-1]))
    return float(unit * STEP**best)


def canvas_from(start: Reconstruction, prepared: PreparedScan, count: int) -> Canvas | None:
    """The object of ``start`` in network units, to go on with; None where it has another number of
    slices than ``count``, unless that is 1."""
    if count > 1 and (start.slices is None or len(start.slices) != count):
        return None
    field = start.object if count == 1 or start.slices is None else start.slices
    share = np.complex64(
        prepared.object_scale if count == 1 else prepared.object_scale ** (1 / count)
    )
    return Canvas(
        object=field / share,
        weight=start.weight,
        origin_px=start.origin_px,
        losses=start.losses,
    )
