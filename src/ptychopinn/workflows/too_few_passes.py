"""Does a refinement lack nothing but passes? Asked before anything else is blamed.

In the first passes the momentum is large and the object far from its end: what that leaves looks
like a beam that flickers, like patterns that move on the detector, or like counts that are lost.
"""

from __future__ import annotations

import numpy as np

from ptychopinn.checks.trial_fits import FEWEST, neighbours
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.verdict import GOOD_EXPLAINED, SEEN_EXCESS_OF_NOISE
from ptychopinn.ops.base import Ops
from ptychopinn.workflows.before_axes import within_noise
from ptychopinn.workflows.other_causes import freedom
from ptychopinn.workflows.unfinished import gone_on, of_network

# More passes leave this share of what some patterns had beyond noise, or noise alone.
ENDED = 0.1
# The excess of these patterns as a share of that of all: otherwise others are at fault.
TYPICAL = 0.5


def left_too_early(xp: Ops, scan: Scan, result: Reconstruction) -> float | None:
    """The residual that a refinement would have after more passes, where these make its object
    explain some patterns within noise, or nearly; None elsewhere.

    Parameters
    ----------
    xp : the operations of a framework.
    scan : the patterns, with the probe and the positions of the result.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    refined = result.slices is None and not of_network(result)
    if not refined or scan.M < FEWEST or fit.verdict == "good" or within_noise(fit):
        return None
    numbers = neighbours(scan)
    beyond = fit.per_pattern[numbers] - fit.expected_per_pattern[numbers]
    excess = float(np.nansum(fit.counts[numbers] * beyond) / max(fit.counts[numbers].sum(), 1e-12))
    if excess < TYPICAL * fit.excess:
        return None
    further = gone_on(xp, scan, result, numbers).fit
    assert further is not None
    # Few patterns leave their object more freedom to follow noise.
    followed = further.expected * max(freedom(scan.select(numbers)) - freedom(scan), 0.0)
    left = max(further.excess + followed, 0.0)
    ended = left <= max(ENDED * excess, SEEN_EXCESS_OF_NOISE * further.expected)
    return fit.expected + left if ended and further.explained >= GOOD_EXPLAINED else None
