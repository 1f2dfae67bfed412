"""Does the detector lose photons where they are many, as one that is dead after each of them?

Of n photons such a detector reads about n - t n^2. An object, and a free probe, make up for a part
of that, but not for all: the brightest readings lie below the model, the more so the brighter they
are. Whether that is so is seen on a result; counts that are corrected for it then leave less.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.ops.base import Ops
from ptychopinn.physics.background import Background
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.physics.point_spread import PointSpread
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.exposure import modelled_counts
from ptychopinn.workflows.pattern_centres import likely_shifts

PASSES, LOOKED_AT = 16, 144
# Readings fall behind by so many standard deviations, the brightest by this share at least, which
# makes this share of the excess: 0.03 where they do so because of a background. In all patterns
# alike: the mean over them is so many times its scatter (rms), 0.3 of a thick sample.
SIGMA, LOST, SHARE, ALIKE = 20.0, 0.05, 0.1, 0.5
# Corrected counts are believed when they raise the likelihood (-2 log L) by so much.
LIKELIER = 40.0
# No reading is corrected by more than this factor.
MOST = 10.0


class DeadTime(NamedTuple):
    """lost : the share of the brightest reading that is missing, at least.  given, corrected : the
    residual of some patterns around the middle as they are, and with their counts corrected."""

    lost: float
    given: float
    corrected: float


def dead_time(xp: Ops, scan: Scan, result: Reconstruction, free_probe: bool) -> DeadTime | None:
    """What corrected counts leave, where bright readings lie below the model and that explains them
    better; None elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result whose residual is more than
        noise.
    free_probe : whether the probe was refined, and so has made up for a part of it.
    """
    # Saturated readings say nothing, and noise of reading hides how photons are counted.
    assert result.fit is not None  # every verb states it
    if scan.M < FEWEST or scan.saturation is not None or result.fit.noise.readout > 0:
        return None
    lost = lost_by_brightest(scan, result, free_probe)
    if lost is None:
        return None
    numbers = neighbours(scan)
    chosen = replace(scan.select(numbers), object=None)
    part = prepare(chosen)
    here = in_network_units([effect.chosen(numbers) for effect in effects_of(result)], part)
    counts = np.asarray(chosen.diffraction, np.float64)
    kept = 1 - lost * counts / counts[:, chosen.good_pixels].max()
    fuller = (counts / np.maximum(kept, 1 / MOST)).astype(np.float32)

    def left(patterns: Values, *further: Effect) -> float:
        # The noise is that of the counts as they were read.
        used = replace(part, scan=replace(chosen, diffraction=patterns))
        config = PhysicsConfig(passes=PASSES, stagnation=0.0, refine_probe=free_probe)
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=(*here.values(), *further))
        return float(solver.solve(used).canvas.losses[-1])

    given, corrected = left(np.asarray(chosen.diffraction)), left(fuller)
    if given - corrected <= LIKELIER * part.likelihood_unit:
        return None
    # These take away from the bright as well, and give to the dark.
    others: list[Effect] = [
        PointSpread(np.zeros(1), free=True),
        Background.none(chosen.positions_px, scan.N),
    ]
    if scan.propagator.measures_momentum:
        others.append(likely_shifts(chosen))
    others = [one for one in others if one.name not in here]
    if any(left(np.asarray(chosen.diffraction), one) <= corrected for one in others):
        return None
    return DeadTime(lost, given, corrected)


def lost_by_brightest(scan: Scan, result: Reconstruction, by_pixel: bool) -> float | None:
    """The share by which the brightest modelled readings fall behind, where all do as the square of
    their counts; None elsewhere.

    With counts I, their model J and its variance V, h = J^2 less what a factor of all counts makes
    of it, a loss t J^2 lowers -2 log L by z^2,

        z = sum h (I - J) / V / sqrt(sum h^2 / V),  t = -sum h (I - J) / V / sum h^2 / V.

    by_pixel : whether h is less what a factor of each pixel makes, which a refined probe may have
        taken up.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    numbers, good = neighbours(scan, LOOKED_AT), scan.good_pixels
    counts = np.asarray(scan.diffraction[numbers], np.float64)[:, good]
    model = np.maximum(modelled_counts(result, numbers)[:, good], 0)
    photon, top = fit.noise.photon, float(model.max())
    weight = 1 / np.maximum(model, 0.25 * photon)
    square = model**2 / top
    over = 0 if by_pixel else None
    whole = np.maximum((weight * model**2).sum(axis=over), 1e-300)
    change = square - model * ((weight * model * square).sum(axis=over) / whole)
    score = (weight * change * (counts - model)).sum(axis=1)
    length = max(float((weight * change**2).sum()), 1e-300)
    lost, gain = -float(score.sum()) / length, float(score.sum()) ** 2 / length
    z = np.sqrt(gain / (photon * max(fit.residual / fit.expected, 1.0)))
    # A photon has a quarter of its counts in the residual.
    share = gain / (4 * float(fit.counts[numbers].sum()) * max(fit.excess, 1e-12))
    alike = -float(score.mean()) / max(float(np.sqrt((score**2).mean())), 1e-300)
    clear = z >= SIGMA and lost >= LOST and share >= SHARE and alike >= ALIKE
    return lost if clear else None
