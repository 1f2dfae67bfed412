"""Is a fit good, doubtful or poor, and what is the likely cause? Pure functions of its numbers.

The thresholds were calibrated on simulated scans with and without faults
(``benchmarks/verdicts.py``) and on measured ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ptychopinn.evaluation import causes
from ptychopinn.evaluation.causes import CAUSES, Likely, listed
from ptychopinn.evaluation.signs import Signs
from ptychopinn.physics.noise import POOR_EXCESS

Verdict = Literal["good", "doubtful", "poor"]
Alternatives = Sequence[tuple[str, float]]

# What is tried on some patterns, see ptychopinn.workflows.alternatives; the first is what the
# others are compared with.
AS_IT_IS, PROBE_FREE, POSITIONS_FREE = "as it is", "the probe refined", "the positions refined"
MORE_MODES = "the probe refined with two more modes"
# A probe that begins as another one than that which was given.
WIDTH = "a probe "
# The first again, gone on with where another seems better.
LONGER = "as it is, after as many passes again"
SPREAD, LIT = "a point spread fitted", "a background fitted"
SHIFTED = "a shift of each pattern fitted"
# No trial: what the object of few patterns gains beyond that of all by following noise.
FOLLOWED = "noise that a fit of so few follows"
# Words of trials of their own, which list another way only where the patterns show it beyond noise:
# as the axes are, and what begins so, other ones; the same of the geometry.
AXES_GIVEN, OTHER_AXES = "the scan axes as they are", "the scan axes are "
TURNED_AS_GIVEN, TURNED = "the orientation as given", "the orientation with "
IN_STEP, SLIPPED = "each pattern at its position", "each pattern from about number "
THIN, THICK = "a thin sample", "two slices of the sample, about "
STILL, MOVING = "no way during an exposure", "a way during an exposure of "
HALTED, GROWING = "factors of the beam as they were fitted", "factors that would still grow"
AS_DRAWN, WASHED = "patterns drawn from the result", "the measured patterns, washed out "
COUNTED, UNCOUNTED = "counts that vary as photons do", "few counts that vary more"
APART, HELD = "patterns with noise of their own", "patterns that hold a part of the one before"
IN_ONE, PUT_BACK = "the detector as it is", "a part of the detector put back, "
AS_READ, RESTORED = "counts as they were read", "counts with what is lost of the brightest, "
ON_ITS_OWN, TOGETHER = "pixels that read each for itself", "pixels of a line that read together"
AXIS_GIVEN, OTHER_UNIT = "both axes as given", "the positions along "
AS_FOUND, FINISHED = "as it was found", "with its probe, from nothing"
ALIKE, UNLIKE = "patterns that follow each other", "patterns side by side"
AT_HOME, ELSEWHERE = "all patterns at their positions", "at other positions patterns "
IN_PLACE, ASTRAY = "patterns where they are on the detector", "patterns that move on the detector"
WITH_PHASE, WITHOUT_PHASE = "a probe with its phase", "a probe whose phase was dropped"
NARROW_BEAM, WIDE_BEAM = "a beam as wide as the patterns", "a beam that is wider than the patterns"
UNLIT, FAINTLY_LIT = "no background", "a background, by its likelihood"
STEADY, UNSTEADY = "a steady beam", "a factor of the beam for each pattern"
ONE_PROBE, CHANGING = "one probe for all patterns", "a probe whose defocus changes by "
GIVEN_PROBE, GUESSED = "a probe that was given", "a probe found from patterns that it leaves "
PROBES = {WITHOUT_PHASE: causes.PHASELESS, WIDE_BEAM: causes.TOO_WIDE, GUESSED: causes.GUESSED}
# Those that state words, those that state a share, and causes that others make up for.
WORDED: dict[str, Likely]
WORDED = {
    RESTORED: "dead-time", CHANGING: "changing-probe", PUT_BACK: "displaced-part",
    UNLIKE: "frame-order",
}  # fmt: skip
SHARED: dict[str, Likely]
SHARED = {UNCOUNTED: "clipped-counts", HELD: "afterglow", TOGETHER: "common-mode"}
SURE = (*WORDED.values(), "common-mode", "probe", "unfinished")

# A result that explains less of what the object writes into the patterns is a poor fit, whatever
# its residual; one that explains less than the second is doubtful.
POOR_EXPLAINED, GOOD_EXPLAINED = 0.3, 0.97
# Below this share a fault of single patterns or pixels would show by its shape.
GEOMETRY_EXPLAINED = 0.6
# With a smaller excess, as a share of the photon noise, the share explained is too uncertain.
SEEN_EXCESS_OF_NOISE = 0.1
# But not where so much of what there is to explain is missing, from this excess on.
LITTLE_EXPLAINED, LITTLE_EXCESS = 0.8, 0.05
# Patterns that show no structure beyond noise: so much more than noise, as a share of it and of the
# counts, is doubtful.
UNSEEN_EXCESS_OF_NOISE, UNSEEN_EXCESS = 0.02, 0.001
# The share of faint structure that is to be explained.
FAINT_EXPLAINED = 0.8
# The mean pattern holds so much of the excess only when the detector, or the probe, is wrong.
SYSTEMATIC = 0.7
# A fault that the residual shows by its shape matters when this share of the structure, or of the
# noise, is missing.
LEAST_MISSING, LEAST_EXCESS_OF_NOISE = 0.01, 0.1
# Measured patterns leave systematic residuals that no other geometry or probe lowers: where that
# was tried, so much of the structure may be missing, at so many times the photon noise.
TRIED_EXPLAINED, TRIED_EXCESS_OF_NOISE = 0.7, 3.5
# Below this share alternatives are tried, and one that is better makes the fit doubtful.
TRIED_BELOW = 0.99
# An alternative is better when it leaves this share of the excess or less.
BETTER = 0.6
# Few numbers that leave this many times what a free probe does: a background 1.9 at most of a ring
# of light, 7 and more of wrong probes.
AS_GOOD = 3.0
# More modes of the probe, when they leave no more than this share of the photon noise beyond it.
NOTHING_LEFT = 0.2
# A factor per pattern: scatter beyond noise, and its share of the excess.
CURRENT_SPREAD, CURRENT_SHARE = 0.04, 0.4
# The same of some patterns that have other counts than the rest, however they scatter.
UNEVEN_SHARE = 0.6
# The share of the excess that few pixels, or few patterns, hold.
PIXEL_SHARE, PATTERN_SHARE = 0.35, 0.5
# A part of the detector that counts more: what it adds to the residual, as a share of the noise
# above which a picture suffers, and of the excess below which something else is wrong.
STEP_OF_NOISE, STEP_SHARE = 0.05, 0.3
# Background: counts of the mean pattern above the model in the dark, as a share of all counts.
BACKGROUND_SHARE, BACKGROUND_SIGMA = 0.016, 8.0


@dataclass(frozen=True)
class Judgement:
    """verdict : "good", "doubtful" or "poor".  likely : name of the likeliest cause, a key of
    :data:`ptychopinn.evaluation.causes.CAUSES`; None for a good fit.  cause : the sentence."""

    verdict: Verdict
    likely: Likely | None = None
    cause: str | None = None


def judge(signs: Signs, alternatives: Alternatives = ()) -> Judgement:
    """The verdict, and for a fit that is not good the likeliest cause.

    Parameters
    ----------
    signs : see :func:`ptychopinn.evaluation.signs.signs_of`.
    alternatives : (words, residual on some patterns) of what was tried; the first one, or the one
        called ``AS_IT_IS``, is what the others are compared with. Words that begin as
        ``THICK``, ``MOVING``, ``OTHER_AXES``, ``OTHER_UNIT``, ``TURNED``, ``SLIPPED``, ``UNLIKE``,
        ``ASTRAY``, ``FINISHED``, ``UNSTEADY``, ``WASHED``, ``UNCOUNTED``, ``HELD``,
        ``FAINTLY_LIT``, ``ELSEWHERE``, ``TOGETHER``, ``GROWING``, ``RESTORED``, ``PUT_BACK``,
        ``WIDE_BEAM``, ``GUESSED`` or ``WITHOUT_PHASE`` need no comparison; others are geometries.

    Poor: a residual of more than 0.05 beyond that of noise, or less than 0.3 explained (NaN: none).
    """
    excess, explained = signs.excess, signs.explained
    shown, alternatives = _shown(alternatives)
    better = shown or _better(signs, alternatives)
    told = signs.residual < 1  # What a model without light leaves; one that is worse tells nothing.
    found = _signature(signs) if told else None
    if found and found[0] == "patterns" and shown and shown[0] in ("beam-current", "pattern-shift"):
        found = shown
    sure = shown is not None and shown[0] in SURE
    if sure:
        found = shown  # whatever makes up for a part of it
    changed = found is not None and found[0] == "part-of-scan"
    if changed and better and (shown or better[0] == "pattern-shift"):
        # What changed is known.
        found = better
    systematic = told and signs.systematic >= SYSTEMATIC and _matters(signs)
    little = explained < LITTLE_EXPLAINED and excess > LITTLE_EXCESS * signs.expected
    seen = little or excess > SEEN_EXCESS_OF_NOISE * signs.expected
    verdict: Verdict = "good"
    if not excess <= POOR_EXCESS or explained < POOR_EXPLAINED:
        verdict = "poor"
    elif signs.alone:
        return Judgement("doubtful", "alone", _sentence("alone", {}))
    elif (
        found is not None
        or shown is not None
        or systematic
        or (seen and explained < GOOD_EXPLAINED)
        or _unseen(signs)
        or (seen and better is not None and better[0] != "unfinished" and explained < TRIED_BELOW)
    ):
        tolerable = (
            len(alternatives) > 1
            and better is None
            and found is None
            and not systematic
            and explained >= TRIED_EXPLAINED
            and excess <= TRIED_EXCESS_OF_NOISE * signs.expected
        )
        verdict = "good" if tolerable else "doubtful"
    if verdict == "good":
        return Judgement("good")
    uneven = _uneven(signs) if told and not sure else None
    if signs.clump and found is not None and found[0] == "pixels" and not signs.quiet:
        found = None
    some = _some_pixels(signs) if systematic and not signs.clump else None
    likely, numbers = uneven or found or better or some or _general(signs)
    return Judgement(verdict, likely, _sentence(likely, numbers))


def _unseen(signs: Signs) -> bool:
    """Whether patterns that show no structure are yet farther off than noise."""
    if np.isfinite(signs.explained):
        return False
    least = max(UNSEEN_EXCESS_OF_NOISE * signs.expected, UNSEEN_EXCESS)
    # Of many photons faint structure is seen as well as any.
    clear = signs.excess > TRIED_EXCESS_OF_NOISE * signs.expected
    enough = GOOD_EXPLAINED if clear else FAINT_EXPLAINED
    return signs.excess > least or signs.faint < enough


Found = tuple[Likely, dict[str, Any]]


def _signature(signs: Signs) -> Found | None:
    """A fault that the residual shows by its shape."""
    share = signs.background
    if share >= BACKGROUND_SHARE and signs.background_sigma >= BACKGROUND_SIGMA:
        how = f"in the dark {share:.1%} of all counts, spread over the detector, are not explained"
        return "background", {"how": how}
    uneven = _uneven(signs)
    if uneven and _of_step(signs) >= STEP_OF_NOISE * signs.expected:
        return uneven
    if signs.empty:
        return "patterns", {"patterns": listed(signs.empty), "how": causes.EMPTY}
    if signs.quiet:
        return "pixels", {"pixels": listed(signs.quiet), "how": causes.QUIET}
    if not _matters(signs):
        return None
    if signs.uneven_share >= UNEVEN_SHARE:
        made = min(signs.uneven_share, 1.0)
        how = f"a factor for each pattern takes {made:.0%} of what is not explained away"
        return "beam-current", {"how": how}
    if signs.pixels_share >= PIXEL_SHARE and (pixels := _some_pixels(signs)):
        return pixels
    if signs.current >= CURRENT_SPREAD and signs.current_share >= CURRENT_SHARE:
        how = (
            f"measured over modelled counts scatter by {signs.current:.1%} from pattern to pattern"
        )
        return "beam-current", {"how": how}
    if signs.change is not None:
        parts = {"number": signs.change, "before": signs.before, "after": signs.after}
        return "part-of-scan", parts
    if signs.patterns and signs.patterns_share >= PATTERN_SHARE:
        how = f"hold {min(signs.patterns_share, 1.0):.0%} of what is not explained"
        return "patterns", {"patterns": listed(signs.patterns), "how": how}
    return None


def _of_step(signs: Signs) -> float:
    """The residual of two halves of a detector that count by that step more, and less."""
    return 0.0 if signs.step is None else (signs.step.step / 4) ** 2


def _uneven(signs: Signs) -> Found | None:
    """A part of the detector that counts more than the rest, whatever else seems better: that makes
    up for it."""
    if signs.step is None or _of_step(signs) < STEP_SHARE * signs.excess:
        return None
    axis, place, (first, last), step = signs.step
    along, across = ("x", "y") if axis == "column" else ("y", "x")
    where = f"from {axis} {along} = {place} on, between {across} = {first} and {last - 1},"
    how = f"{where} by {abs(np.expm1(step)):.1%} {'more' if step > 0 else 'less'} than before it"
    return "detector-gain", {"how": how}


def _shown(alternatives: Alternatives) -> tuple[Found | None, Alternatives]:
    """A thick sample, a moving exposure, another orientation or other scan axes that the patterns
    show, and what else was tried."""
    known, rest = dict(alternatives), list(alternatives)
    found: Found | None = None
    trials = (
        (THIN, THICK), (STILL, MOVING), (AXES_GIVEN, OTHER_AXES), (TURNED_AS_GIVEN, TURNED),
        (IN_STEP, SLIPPED), (AXIS_GIVEN, OTHER_UNIT), (IN_PLACE, ASTRAY), (ALIKE, UNLIKE),
        (STEADY, UNSTEADY), (AS_DRAWN, WASHED), (HALTED, GROWING), (UNLIT, FAINTLY_LIT),
        (COUNTED, UNCOUNTED), (APART, HELD), (AS_FOUND, FINISHED), (IN_ONE, PUT_BACK),
        (AT_HOME, ELSEWHERE), (ON_ITS_OWN, TOGETHER), (WITH_PHASE, WITHOUT_PHASE),
        (AS_READ, RESTORED), (NARROW_BEAM, WIDE_BEAM), (GIVEN_PROBE, GUESSED), (ONE_PROBE, CHANGING)
    )  # fmt: skip
    for as_given, prefix in trials:
        others = [words for words in known if words.startswith(prefix)]
        rest = [(w, left) for w, left in rest if w != as_given and w not in others]
        if as_given not in known or not others:
            continue
        numbers = {"better": known[others[0]], "given": known[as_given]}
        if prefix == MOVING:
            found = "moving-exposure", {**numbers, "words": others[0].removeprefix(MOVING)}
        elif prefix == THICK:
            words = "about " + others[0].removeprefix(THICK)
            found = "thick-sample", {**numbers, "words": words}
        elif prefix == WASHED:
            drawn, measured = known[as_given], known[others[0]]
            words = others[0].removeprefix(WASHED)
            found = "washed-out", {"words": words, "better": drawn, "given": measured}
        elif prefix in SHARED:
            found = SHARED[prefix], {"share": known[others[0]]}
        elif prefix in PROBES:
            found = "probe", {"how": PROBES[prefix].format(known[others[0]])}
        elif prefix in WORDED:
            found = WORDED[prefix], {**numbers, "words": others[0].removeprefix(prefix)}
        elif prefix == UNSTEADY:
            found = "beam-current", {"how": causes.FITTED.format(**numbers)}
        elif prefix == GROWING:
            found = "beam-current", {"how": causes.GROWING}
        elif prefix == FAINTLY_LIT:
            found = "background", {"how": causes.LIKELIER.format(**numbers)}
        elif prefix == SLIPPED:
            found = "frame-slip", {**numbers, "words": others[0]}
        elif prefix == ELSEWHERE:
            found = (
                "patterns",
                {"patterns": others[0].removeprefix(ELSEWHERE), "how": causes.ELSEWHERE},
            )
        elif prefix == FINISHED:
            found = "unfinished", numbers
        elif prefix == ASTRAY:
            found = "pattern-shift", numbers
        elif prefix == OTHER_UNIT:
            found = "axis-unit", {**numbers, "words": others[0]}
        elif prefix == OTHER_AXES:
            found = "positions", {**numbers, "how": f"{others[0]}, and with others"}
        else:
            how = "with {} some patterns are likelier (a residual of {:.4g}) than as given ({:.4g})"
            words = others[0].removeprefix(TURNED)
            how = how.format(words, numbers["better"], numbers["given"])
            found = "geometry-or-probe", {"how": how}
    return found, rest


def _matters(signs: Signs) -> bool:
    """Whether so much is missing that its shape can tell why."""
    missing = 1 - signs.explained
    if not np.isfinite(missing):
        faint = 1 - signs.faint if np.isfinite(signs.faint) else 0.0
        missing = 1.0 if _unseen(signs) else faint
    enough = signs.excess >= LEAST_EXCESS_OF_NOISE * signs.expected
    return bool(missing >= LEAST_MISSING and enough)


def _some_pixels(signs: Signs) -> Found | None:
    if not signs.pixels:
        return None
    how = f"hold {min(signs.pixels_share, 1.0):.0%} of what is not explained"
    return "pixels", {"pixels": listed(signs.pixels), "how": how}


def _better(signs: Signs, alternatives: Alternatives) -> Found | None:
    """The alternative that leaves far less than what was given, if there is one.

    A trial of few passes may only have been quicker than the others, as with modes that are free to
    make up for an object that is not finished yet. Where nothing is wrong with what was given it
    catches up when it goes on, and a fault is one that more passes do not remove: so no alternative
    is better that leaves no less than what was given does after as many passes again.
    """
    if len(alternatives) < 2:
        return None
    known = dict(alternatives)
    given = known.pop(AS_IT_IS, None)
    if given is None:
        given = known.pop(alternatives[0][0])
    floor, followed = signs.expected, known.pop(FOLLOWED, 0.0)
    longer = known.pop(LONGER, np.inf)
    spread, modes = known.pop(SPREAD, np.inf), known.pop(MORE_MODES, np.inf)
    # A spread makes up for a part of what else blurs fringes, and more numbers always fit better:
    # they are the cause when nothing is left.
    if spread - floor <= NOTHING_LEFT * floor:
        known[SPREAD] = spread
    least = BETTER * (min(known.values(), default=given) - floor)
    if modes - floor <= min(least, NOTHING_LEFT * floor):
        known[MORE_MODES] = modes
    words, best = min(known.items(), key=lambda item: item[1], default=("", np.inf))
    # A free probe makes up for these, of far fewer numbers; they for little of a wrong probe.
    enough = min(BETTER * (given - floor), AS_GOOD * max(best - floor, NOTHING_LEFT * floor))
    few = [way for way in (LIT, SPREAD) if known.get(way, np.inf) - floor <= enough]
    likelier = min(few, key=known.__getitem__, default="")
    if words == PROBE_FREE and known.get(likelier, np.inf) < longer:
        words, best = likelier, known[likelier]
    if longer <= best:
        given = min(given, longer)
    if best - floor <= BETTER * (given - floor) and best < given - 0.1 * floor:
        numbers = {"words": words, "better": best, "given": given}
        likely: Likely
        names: dict[str, Likely] = {
            PROBE_FREE: "probe", POSITIONS_FREE: "positions", MORE_MODES: "modes",
            SPREAD: "point-spread", LIT: "background", SHIFTED: "pattern-shift",
        }  # fmt: skip
        likely = "probe" if words.startswith(WIDTH) else names.get(words, "geometry")
        how = {"background": causes.FITTED, "probe": causes.REFINED}.get(
            likely, "with the positions refined"
        )
        numbers["how"] = how.format(**numbers)
        return likely, numbers
    alone = given + followed
    if alone - floor <= BETTER * signs.excess and alone < signs.residual - 0.1 * floor:
        return "unfinished", {"better": given}
    return None


def _general(signs: Signs) -> Found:
    share = signs.explained if np.isfinite(signs.explained) else signs.faint
    if not share >= GEOMETRY_EXPLAINED:
        share = max(share, 0.0) if np.isfinite(share) else 0.0
        how = f"only {share:.0%} of the structure in the patterns is explained"
        return "geometry-or-probe", {"how": how}
    return "unknown", {"missing": 1 - share}


def _sentence(likely: Likely, numbers: dict[str, Any]) -> str:
    cause = CAUSES[likely]
    return f"{cause.words.format(**numbers)}; {cause.remedy}."
