"""Is the sample thick? Tried with two slices on some patterns, a few of which are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.ops.base import Ops
from ptychopinn.physics.effects import Effect
from ptychopinn.physics.propagators import HC
from ptychopinn.physics.slices import Slices
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.workflows.effect_trials import Trials
from ptychopinn.workflows.left_out import gain_of
from ptychopinn.workflows.slicing import found_spacing

# Patterns around the middle and how few do, of how many one is left out, and passes.
WINDOW, FEWEST, LEFT_OUT, PASSES = 100, 49, 6, 40
# It is believed when patterns that were left out keep this share of their excess, or less.
BELIEVED = 0.5


class Thickness(NamedTuple):
    """spacing_m : of two slices.  thin, thick : the residual (median) of patterns that were left
    out, as a thin sample and with the slices."""

    spacing_m: float
    thin: float
    thick: float


def found_thickness(xp: Ops, scan: Scan, effects: Sequence[Effect] = ()) -> Thickness | None:
    """What two slices explain of patterns that were left out, where that is clearly more than a
    thin sample does; None elsewhere, and where the scan does not say pixel size and energy.

    Parameters
    ----------
    scan : with the probe and the positions of a result.
    effects : what is known of beam and detector, in the units of the scan.
    """
    pixel, energy = scan.pixel_size_m, scan.energy_eV
    if pixel is None or energy is None or scan.M < FEWEST:
        return None
    window = min(WINDOW, scan.M)
    trials = Trials(xp, scan, PhysicsConfig(), effects, window, window // LEFT_OUT)
    part, expected = trials.part, trials.part.expected_misfit
    own = tuple(effect.chosen(trials.used) for effect in trials.known)
    wavelength = HC / energy
    try:
        spacing = found_spacing(xp, part, 2, pixel, wavelength, own, fine=False)
    except InputError:
        # No distance is better than all others, as for a thin sample.
        return None
    slices = Slices.of(2, spacing, pixel, wavelength)
    thin = trials.further(None, own, trials.known, PASSES, False)
    thick = trials.further(None, (*own, slices), trials.known, PASSES, False)
    kept = gain_of(thin.misfits, thick.misfits, expected).kept
    before, after = (float(np.median(fit.misfits)) for fit in (thin, thick))
    clearly = after - expected <= BELIEVED * (before - expected) and after < before - 0.1 * expected
    return Thickness(spacing, before, after) if kept and clearly else None
