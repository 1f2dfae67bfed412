"""Another orientation where patterns show hardly more than noise: likelihoods tell it."""

from __future__ import annotations

from dataclasses import replace

from ptychopinn.checks.trial_fits import FEWEST, neighbours, residuals_of, trial_of
from ptychopinn.data.normalization import prepare
from ptychopinn.data.orientation import AS_GIVEN, ORIENTATIONS
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops
from ptychopinn.physics.geometry import canvas_for

PASSES = 4
# Another orientation is likelier when it raises the likelihood (-2 log L) by so much. The right one
# is above all others by several hundred; of a hundred photons all scatter by as much, so that
# several come out above the one that is given, but none of them far above the next.
LIKELIER, ABOVE_NEXT = 150.0, 100.0
# With fewer photons than this for each pixel of the object any orientation may follow noise best.
PHOTONS = 1.0


def likelier_orientation(xp: Ops, scan: Scan) -> tuple[str, float, float] | None:
    """Another orientation under which the patterns are likelier: its words, the residual of some
    patterns with it, and that as given.

    For patterns that show hardly more than noise. The residual is then that of noise in every
    orientation, but the small differences are of many photons. The probe is held, because a free
    one would follow the noise; when it is wrong, any orientation may come out best.
    """
    if scan.M < FEWEST:
        return None
    part = trial_of(scan, neighbours(scan))
    prepared = prepare(part)
    (height, width), _ = canvas_for(part.positions_px, part.N)
    if prepared.counts * part.M < PHOTONS * prepared.noise.photon * height * width:
        return None
    turned = [replace(part, positions_px=o.of_positions(part.positions_px)) for o in ORIENTATIONS]
    residuals = residuals_of(xp, turned, PASSES, free_probe=False)
    left = dict(zip(ORIENTATIONS, residuals, strict=True))
    best, following = sorted(left, key=left.__getitem__)[:2]
    gained, above = (
        (left[other] - left[best]) / prepared.likelihood_unit for other in (AS_GIVEN, following)
    )
    if gained < LIKELIER or above < ABOVE_NEXT:
        return None
    return str(best), left[best], left[AS_GIVEN]
