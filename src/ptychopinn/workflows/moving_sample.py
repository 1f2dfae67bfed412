"""Ways of the sample during an exposure that no residual shows, as alternatives of a verdict.

The few photons that are missing are at the same places in all patterns, which an object, or a probe
that was refined, makes up for.
"""

from __future__ import annotations

from ptychopinn.checks.trial_fits import FEWEST, neighbours
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.ops.base import Ops
from ptychopinn.physics.moving_exposure import MovingExposure
from ptychopinn.physics.varying_probe import VaryingProbe
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.exposure import possible_directions, washed_out
from ptychopinn.workflows.hidden_motion import PASSES, hidden_motion
from ptychopinn.workflows.other_causes import at_rest_or_moving, exposures

# Beyond noise a sample moved only where patterns are washed out across a way by this share of what
# they are along it, or less: 0.26 to 0.7 where it did, 0.9 on the measured star.
ONE_WAY = 0.8
# Passes of a trial with a probe that was found from the patterns: a way makes up for what is wrong
# with it until it is at rest, after 12 passes with 6 % of the residual, after 24 with nothing.
GUESSED_PASSES = 36
# The residual of a trial with a way is at most so many times that of the result, which explained as
# much without one: 0.9 to 1.8 times where a sample moved. Far above it a way is only quicker: 8 and
# 100 times of scans at rest.
NEAR = 4.0
# What eigenprobes of each pattern miss goes with the object of their result, which trials do not
# have; and a way that is known is not asked for.
KNOWN = {MovingExposure.name, VaryingProbe.name}


def moved_within_noise(
    xp: Ops, scan: Scan, result: Reconstruction, free: bool, guessed: bool = False
) -> list[tuple[str, float]]:
    """A way that patterns show although the residual is that of noise, as alternatives.

    A fit from nothing may follow the photons that are missing; then the result itself tells, if it
    does so along one direction only, or trials of more patterns. A probe that was refined may hide
    all of it.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of the result.
    free : whether the probe was refined.
    guessed : whether it was found from the patterns; it may be washed out itself, by an error of
        its astigmatism, so that only trials tell in which it comes to rest.
    """
    if KNOWN & set(result.effects) or scan.M < FEWEST:
        return []
    known, thin, hidden = effects_of(result), result.slices is None, None
    passes = GUESSED_PASSES if guessed else PASSES
    washed = washed_out(scan, result)
    if washed is not None:
        numbers = neighbours(scan)
        part = prepare(scan.select(numbers))
        here = in_network_units([effect.chosen(numbers) for effect in known], part)
        directions = possible_directions(scan.positions_px)
        found = exposures(xp, part, directions, numbers, here, in_noise=True, free_probe=free)
        if found:
            return found
        if washed.alone and washed.length and not guessed:
            return at_rest_or_moving(washed.name, washed.length, washed.given, washed.moving)
        hidden = hidden_motion(xp, scan, known, washed.name, passes=passes) if thin else None
    if hidden is None and free and thin:
        hidden = hidden_motion(xp, scan, known, passes=passes)
    return _near(hidden, result)


def moved_beyond_noise(xp: Ops, scan: Scan, result: Reconstruction) -> list[tuple[str, float]]:
    """The same where more than noise is left, which trials from nothing do not end at: patterns are
    washed out along one direction far more than across it. Those of a measured beam, which is not
    coherent, are nearly as much along all."""
    if KNOWN & set(result.effects) or result.slices is not None or scan.M < FEWEST:
        return []
    washed = washed_out(scan, result)
    if washed is None or not washed.alone or washed.share > ONE_WAY:
        return []
    # Gains are many standard errors here, and those of a beam that is not coherent, too.
    return _near(hidden_motion(xp, scan, effects_of(result), washed.name, within=0.0), result)


def _near(
    hidden: tuple[str, float, float, float] | None, result: Reconstruction
) -> list[tuple[str, float]]:
    """What :func:`hidden_motion` finds, as alternatives, where trials come near to the result."""
    assert result.fit is not None  # every verb states it
    if hidden is None or hidden[-1] > NEAR * result.fit.residual:
        return []
    return at_rest_or_moving(*hidden)
