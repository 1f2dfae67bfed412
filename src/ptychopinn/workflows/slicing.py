"""The slices of a thick sample: what a refinement is told of them, and what it begins with."""

from __future__ import annotations

import numpy as np

from ptychopinn.contracts import Canvas
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.ops.base import Ops
from ptychopinn.physics.effects import Effect
from ptychopinn.physics.propagators import HC
from ptychopinn.physics.slices import Slices
from ptychopinn.solvers.configs import PhysicsConfig


def slices_for(
    config: PhysicsConfig, prepared: PreparedScan, known: Effect | None, xp: Ops
) -> Slices | None:
    """The slices that a refinement is asked for, or that are ``known`` of its start; None for a
    thin sample.

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
    if config.refine_positions:
        raise InputError(
            "slices need positions that stay, received refine_positions; refine the positions "
            "first, with one slice."
        )
    if spacing is None and before is not None and before.slices == count:
        return before
    scan = prepared.scan
    pixel, wavelength = scan.pixel_size_m, config.wavelength_m
    if wavelength is None and scan.energy_eV is not None:
        wavelength = HC / scan.energy_eV
    missing = [
        name for name, v in (("pixel size", pixel), ("photon energy", wavelength)) if v is None
    ]
    if pixel is None or wavelength is None:
        raise InputError(
            f"slices need the pixel size and the wavelength, received a scan without "
            f"{' and '.join(missing)}; write it with them, or give the option wavelength_m."
        )
    if spacing is None:
        raise NotImplementedError
    return Slices.of(count, spacing, pixel, wavelength)


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
