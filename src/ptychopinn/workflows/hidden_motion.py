"""Did the sample move while a pattern was recorded, where a refined probe has taken that up?

Such a probe is washed out along the way itself, so that the result shows nothing beyond noise.
Short refinements of some neighbouring patterns are compared, all with the probe free: without a
way, and with ways along the scan.

Let D be -2 log L of the truth under the best model of a kind. The patterns that were refined have D
less the number of unknowns that followed their noise, and as many others D plus that number.
Without a way a model has more contrast to follow noise with, and so the first seem to speak for it
and the second against it; the mean of both gains is that of D (Akaike, IEEE Trans. Autom. Control
19, 716, 1974, takes the number of unknowns in place of other patterns).

A way changes patterns by its square, so that a true one of length L gains as
L^4 - (l^2 - L^2)^2: any shorter length gains as well, the share of its own square at least.
Iterations that merely come to rest elsewhere with one length do not. Across its direction a true
way gains little; what merely ends a trial sooner, or makes up for a beam that is not coherent,
gains there as well.

Where patterns are more washed out than the model of a result along a direction, but not along this
one only, as where an object or a probe has taken up a part, the same trials tell, of more patterns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.physics.moving_exposure import MovingExposure
from ptychopinn.probes import with_modes
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.workflows.effect_trials import Fit, Trials
from ptychopinn.workflows.exposure import across
from ptychopinn.workflows.left_out import SURE

# Patterns of a trial, of at most 64 pixels and of more, how many of them are left out, and the
# fewest of these; and its passes.
SIDE, WINDOW, LARGE, LEFT_OUT, FEWEST, PASSES = 64, 56, 36, 12, 6, 12
# Those where a direction is told, which are few results.
WIDE, WIDE_LARGE = 144, 100
# Across its direction a way gains at most this share: what also gains there was only quicker, or is
# a beam that is not coherent.
ACROSS = 0.6
# Modes that are added to the probe in place of a way, and how many times as much as that they gain
# where the beam is not coherent: 1.8 and 7.5 there, 1.1 at most where a sample moved.
MODES, INCOHERENT = 2, 1.4
# Where a trial with a way leaves more than noise both go on for so many times the passes, and this
# share of its gain must be left: elsewhere it only came sooner to where the other comes, too.
LATER, LASTS = 3, 0.5
# Ways that are tried, as shares of the side of a pattern: the first, and those that follow on it
# where it gains anything.
FIRST, NEXT = 1 / 16, (1 / 32, 3 / 32, 1 / 8)
ALONG = "scan"
# A shorter length gains as much as it must, and one across as little, within so many standard
# errors.
WITHIN = 2.0
# A sample moves on during an exposure where the next position is beside the last one: the median
# step is at most so many times the median distance of nearest positions.
BESIDE = 2.0


def hidden_motion(
    xp: Ops,
    scan: Scan,
    effects: Sequence[Effect],
    told: str | None = None,
    within: float = WITHIN,
    passes: int = PASSES,
) -> tuple[str, float, float, float] | None:
    """The direction and the length (pixels) of a way during an exposure that patterns ask for
    although a probe has taken it up, and the residuals without and with it; None where there is
    none. They are those of patterns that were left out.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result whose residual is that of
        noise.
    effects : what the result knows of beam and detector, in counts.
    told : the direction along which the result is washed out, where it is.
    within : so many standard errors are allowed for the gain across a way.
    passes : of each trial.
    """
    if told is None and not _goes_on(scan.positions_px):
        return None
    sizes = (WINDOW, LARGE) if told is None else (WIDE, WIDE_LARGE)
    window = sizes[scan.N > SIDE]
    trials = Trials(xp, scan, PhysicsConfig(refine_probe=True), effects, window, LEFT_OUT)
    if len(trials.left) < FEWEST:
        return None
    name = ALONG if told is None else told
    unit = trials.ways[name]
    own = tuple(effect.chosen(trials.used) for effect in trials.known)

    def fitted(share: float, along: Values = unit) -> Fit:
        way = MovingExposure(share * scan.N * along)
        here = (*own, way.chosen(trials.used))
        return trials.further(None, here, (*trials.known, way), passes, True)

    still = fitted(0.0)

    def gain(fit: Fit, still: Fit = still) -> tuple[float, float]:
        """Relative, of the mean of used and left out patterns, and its standard error."""
        ratios = np.log(still.misfits / fit.misfits)
        used = np.log(still.canvas.losses[-1] / fit.canvas.losses[-1])
        return float(used + ratios.mean()) / 2, float(ratios.std(ddof=1) / np.sqrt(4 * len(ratios)))

    found = {FIRST: fitted(FIRST)}
    if gain(found[FIRST])[0] <= 0:
        return None
    found |= {share: fitted(share) for share in NEXT}
    share = max(found, key=lambda one: gain(found[one])[0])
    mean, error = gain(found[share])
    shorter = max((one for one in found if one < share), default=share)
    less, uncertain = gain(found[shorter])
    if less <= 0 or less + WITHIN * uncertain < (shorter / share) ** 2 * mean:
        return None
    given, moving = (float(fit.misfits.mean()) for fit in (still, found[share]))
    if mean <= SURE * error or moving >= given:
        return None
    beside, uncertain = gain(fitted(share, across(unit)))
    if beside - within * uncertain > ACROSS * mean:
        return None
    # Copies of a probe make up for a part of a beam that is not coherent, whose modes gain more.
    several = with_modes(trials.part.probe, len(trials.part.probe) + MODES)
    more, _ = gain(trials.further(None, own, trials.known, passes, True, several))
    if more > INCOHERENT * mean:
        return None
    if found[share].canvas.losses[-1] > trials.part.expected_misfit:
        # Both are still far from their end.
        later = [
            trials.further(fit, fit.effects, fit.whole, LATER * passes, True)
            for fit in (found[share], still)
        ]
        if gain(*later)[0] < LASTS * mean:
            return None
    return name, share * scan.N, given, moving


def _goes_on(positions_px: Values) -> bool:
    """Whether positions (M, 2) follow each other along lines."""
    from scipy.spatial import cKDTree

    steps = np.hypot(*np.diff(positions_px, axis=0).T)
    nearest = cKDTree(positions_px).query(positions_px, 2)[0][:, 1]
    return bool(np.median(steps) <= BESIDE * np.median(nearest))
