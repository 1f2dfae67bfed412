"""Is the near field that of another distance, or energy, or pixel? They make one number together,
wavelength times distance over the square of a pixel, and with the known probe held patterns explain
themselves at the right one only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptychopinn.checks.base import finding
from ptychopinn.checks.trial_fits import (
    FEWEST,
    beyond_noise,
    explained_by,
    neighbours,
    residuals_of,
    trial_of,
)
from ptychopinn.data.experiment import PLAUSIBLE, effective_distance
from ptychopinn.data.findings import Finding
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops

NAME = "distance"
# Powers of the step between distances that are tried, a fiftieth to ten times; then the
# least of a parabola through the best one and those beside it, each time so much nearer.
STEP, POWERS = 1.25, range(-18, 11)
NEARER = (0.04, 0.015, 0.006)
WITHIN = (STEP ** POWERS[0], STEP ** POWERS[-1])
# Passes of a trial, with the probe held.
PASSES = 8
# Another distance is believed when it leaves this share of what the given one does, beyond noise,
# and explains this share of what distinguishes the patterns; one that is this near is the same.
BELIEVED, EXPLAINS, SAME = 0.3, 0.9, 0.01


def distance(xp: Ops, scan: Scan) -> Finding | None:
    """A near field of another distance than is given."""
    if scan.M < FEWEST or scan.propagation != "near-field" or scan.distance_m is None:
        return None
    part = trial_of(scan, neighbours(scan))
    known: dict[float, float] = {}

    def left(*log_factors: float) -> list[float]:
        new = [one for one in log_factors if one not in known]
        there = (at_distance(part, float(np.exp(one))) for one in new)
        known.update(zip(new, residuals_of(xp, there, PASSES, free_probe=False), strict=True))
        return [known[one] for one in log_factors]

    powers = [power for power in POWERS if _is_possible(scan, STEP**power)]
    tried = [power * float(np.log(STEP)) for power in powers]
    if 0.0 not in tried:
        return None
    left(*tried)
    best = min(tried, key=known.__getitem__)
    k = tried.index(best)
    if not best or k in (0, len(tried) - 1):
        return None
    around = [tried[k - 1], best, tried[k + 1]]
    for step in NEARER:
        a, b, _ = np.polyfit(around, left(*around), 2)
        middle = float(np.clip(-b / (2 * a), around[0], around[-1])) if a > 0 else around[1]
        around = [middle - step, middle, middle + step]
    best = min(known, key=known.__getitem__)
    factor, least, given = float(np.exp(best)), known[best], known[0.0]
    noise = prepare(part).expected_misfit
    if abs(best) < SAME or beyond_noise(least, given, noise) > BELIEVED:
        return None
    moved = at_distance(part, factor)
    if not explained_by(moved, least) >= EXPLAINS:
        return None
    return finding(
        NAME, "mended",
        f"the near field is that of {factor:.3g} times the distance"
        f"{'' if scan.focus_distance_m is None else ' behind a parallel beam that is the same'}, "
        f"{moved.distance_m:.4g} m: so some patterns around the middle leave a residual of "
        f"{least:.4f}, as given {given:.4f}; check the distances, the energy and the size of a "
        "pixel, of which each may be what is wrong.",
        distance_factor=factor, residual=least, residual_as_given=given,
        words=f"{factor:.3g} times the distance",
    )  # fmt: skip


def at_distance(scan: Scan, factor: float) -> Scan:
    """The scan with its distance multiplied; in a cone beam that of the parallel one which gives
    the same patterns, with the pixels of the object as they are."""
    if scan.distance_m is None:
        return scan
    there = factor * effective_distance(scan.distance_m, scan.focus_distance_m)
    there = float(np.clip(there, *PLAUSIBLE["distance_m"]))
    return replace(scan, distance_m=there, focus_distance_m=None)


def _is_possible(scan: Scan, factor: float) -> bool:
    """Whether there are distances beside that many times the one that is given."""
    assert scan.distance_m is not None
    there = factor * effective_distance(scan.distance_m, scan.focus_distance_m)
    low, high = PLAUSIBLE["distance_m"]
    return low * STEP < there < high / STEP
