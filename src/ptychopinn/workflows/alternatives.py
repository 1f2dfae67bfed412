"""Would something else explain the patterns better? Tried on a few, where a fit leaves much.

From an empty object, some neighbouring patterns are refined with the probe and the positions of the
result, then with the probe free, then with the positions free. What lowers the residual is the
likely cause. Other scan axes are looked for in any case, and the orientation and a frame offset
where the fit is so poor that the verbs look for them too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from ptychopinn.checks.base import ALTERNATIVES, AXES, LATER, TWIN, chosen_names
from ptychopinn.checks.likelier import likelier_orientation
from ptychopinn.checks.upright import right_geometry
from ptychopinn.data.findings import AFTERGLOW, CLIPPED, FLAT_PROBE, FROM_NOTHING
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.evaluation.signs import signs_of
from ptychopinn.evaluation.verdict import (
    ALIKE,
    APART,
    AS_DRAWN,
    AS_FOUND,
    ASTRAY,
    AXIS_GIVEN,
    COUNTED,
    FAINTLY_LIT,
    FINISHED,
    GIVEN_PROBE,
    GOOD_EXPLAINED,
    GUESSED,
    HELD,
    IN_PLACE,
    ON_ITS_OWN,
    OTHER_UNIT,
    STEADY,
    TOGETHER,
    TRIED_BELOW,
    TRIED_EXCESS_OF_NOISE,
    TURNED,
    TURNED_AS_GIVEN,
    UNCOUNTED,
    UNLIKE,
    UNLIT,
    UNSTEADY,
    WASHED,
    WITH_PHASE,
    WITHOUT_PHASE,
    judge,
)
from ptychopinn.ops.base import Ops
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, get_ops
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.moving_exposure import MovingExposure
from ptychopinn.physics.pattern_shift import PatternShift
from ptychopinn.solvers.probe_check import Trial
from ptychopinn.workflows.before_axes import (
    SHOWN,
    before_axes,
    misplaced_patterns,
    within_noise,
)
from ptychopinn.workflows.checking import suspicious
from ptychopinn.workflows.common_mode import common_mode
from ptychopinn.workflows.found_before import (
    other_axes,
    other_geometry,
    slipped_frames,
    stated_share,
)
from ptychopinn.workflows.hidden_shifts import (
    hidden_shifts,
    jumped_shifts,
    lasting,
    ordered_shifts,
)
from ptychopinn.workflows.likeness import unlike_neighbours
from ptychopinn.workflows.moving_sample import moved_beyond_noise, moved_within_noise
from ptychopinn.workflows.other_causes import WAYS, tried
from ptychopinn.workflows.other_widths import other_widths
from ptychopinn.workflows.own_draws import washed_beyond_draws
from ptychopinn.workflows.results import reported, was_refined
from ptychopinn.workflows.scan_axes import estimate_axes
from ptychopinn.workflows.too_few_passes import left_too_early
from ptychopinn.workflows.twin_image import with_twin
from ptychopinn.workflows.uneven_axes import even_axes, even_axes_within_noise
from ptychopinn.workflows.unfinished import PROBE, behind
from ptychopinn.workflows.unsteady_beam import (
    doubted_beam,
    far_from_rest,
    growing_factors,
    unsteady_beam,
)
from ptychopinn.workflows.weak_background import weak_background

log = logging.getLogger(__name__)

# Where photon noise is a larger share of the counts residuals alone do not tell an orientation.
FEW_PHOTONS = 0.1
# Where it is a larger share than this a network follows so much of it that washed-out fringes do
# not show, and draws from its result, which take longer than itself, are worth their time.
# Above the second share those of a sample at rest differ as much from what was measured.
FOLLOWED_BY_NETWORKS, DRAWS_TELL = 0.02, 0.5
# What counts that are missing look like.
MAKE_UP = ("probe", "modes", "point-spread", "unfinished", "geometry-or-probe", "unknown")
# What a probe that was found from the patterns may leave beyond noise, as a share of that: measured
# stars 0.8, probes that were wrong (8 to 14 dB) 1.9 to 3.3 times the noise.
GUESSED_EXCESS_OF_NOISE = 1.0
# Causes that may hide a wrong orientation.
MAY_HIDE = ("geometry-or-probe", "unknown", "probe", "positions")


def judged(
    result: Reconstruction,
    scan: Scan,
    backend: BackendName,
    execution: Execution,
    no_mend: Collection[str] = (),
    looked_at: Collection[str] = (),
    again: Callable[[Scan], Reconstruction] | None = None,
) -> Reconstruction:
    """The result with a verdict that knows what else was tried, where its fit leaves much.

    Parameters
    ----------
    scan : the patterns that the result was made from, as they were mended.
    no_mend : names of checks that are left out, or "all".
    looked_at : names of checks that were made before, whatever they found.
    again : of a network, the same one for other patterns, with the probe of the result.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    left_out = chosen_names(no_mend)
    if TWIN not in left_out:
        result = with_twin(result, scan)
    if ALTERNATIVES in left_out or len(result.positions_px) != scan.M:
        return result
    if worth_a_trial(fit):
        # It may take longer than the result.
        log.info(
            "a residual of %.4g is left where photon noise alone gives %.4g: looking for the cause",
            fit.residual,
            fit.expected,
        )
    used = replace(scan, probe=result.probe, positions_px=result.positions_px, object=None)
    xp = get_ops(backend, execution)
    glow = stated_share(result.findings, AFTERGLOW)
    if glow is not None:
        return _with_alternatives(result, [(APART, 0.0), (HELD, glow)])
    alike = unlike_neighbours(used, result)
    if alike is not None:
        found = [(ALIKE, alike.following), (UNLIKE, alike.nearest)]
        return _with_alternatives(result, found)
    phaseless = stated_share(result.findings, FLAT_PROBE, "likeness")
    if phaseless is not None and not (fit.verdict == "good" and was_refined(result, PROBE)):
        return _with_alternatives(result, [(WITH_PHASE, 1.0), (WITHOUT_PHASE, phaseless)])
    if not within_noise(fit) and not (fit.verdict == "good" and fit.explained >= TRIED_BELOW):
        shared = common_mode(used, result)
        if shared is not None:
            return _with_alternatives(result, [(ON_ITS_OWN, 0.0), (TOGETHER, shared)])
    further = left_too_early(xp, used, result)
    if further is not None:
        return _with_alternatives(result, [(AS_FOUND, fit.residual), (FINISHED, further)])
    before = before_axes(xp, used, result, scan.probe)
    if before:
        return _with_alternatives(result, before)
    found = []
    # Axes are tried with a thin object only.
    if result.slices is None and not was_refined(result, "refine_positions"):
        known = other_axes(result.findings)
        if not known and AXES not in looked_at and fit.likely not in SHOWN:
            _, result = estimate_axes(used, result, backend, execution, no_mend)
            known = other_axes(result.findings)
        if known and AXES not in left_out:
            # Axes that are stretched by far are only begun to be found.
            known = min(known, _other_unit(xp, scan, result), key=_least)
        found += known
    found += slipped_frames(result.findings, ("doubt",))
    beam = doubted_beam(result.findings)
    open_beam = BeamCurrent.name not in left_out and not found and not beam
    if open_beam and (fit.likely == "patterns" or worth_a_trial(fit)):
        residuals = unsteady_beam(xp, used, effects_of(result))
        beam = [] if residuals is None else list(zip((STEADY, UNSTEADY), residuals, strict=True))
    # Where much is missing something else is, whatever factors do.
    rest = within_noise(fit) or not fit.explained < GOOD_EXPLAINED
    if BeamCurrent.name not in left_out and not found and not beam and rest:
        beam = growing_factors(result)
    if beam:
        return _with_alternatives(result, [*found, *beam])
    noisy = fit.verdict == "good" and within_noise(fit)
    if worth_a_trial(fit):
        found += tried(xp, used, effects_of(result), left_out, fit)
        if AXES not in left_out and fit.judged(found).likely in (None, *MAY_HIDE):
            found += _other_unit(xp, scan, result)
        # A probe that was refined from one of another width comes to rest far from both; one that
        # was found from the patterns began with the width that they have.
        begun = replace(used, probe=scan.probe)
        refined = was_refined(result, PROBE) and result.slices is None and not _guessed(result)
        if refined and suspicious(fit) and fit.judged(found).likely in (None, *MAY_HIDE):
            found += other_widths(xp, begun, effects_of(result))
        # Only where nothing else is left: it takes as long as all the others.
        # Fringes that a wrong orientation washes out look like a background.
        untold = fit.judged(found).likely in (*MAY_HIDE, Background.name)
        if untold and suspicious(fit) and not set(LATER) & set(looked_at):
            others = right_geometry(xp, used)[1]
            found += other_geometry(others) + slipped_frames(others, ("doubt", "mended"))
        noisy = fit.expected > FEW_PHOTONS and fit.judged(found).likely in MAY_HIDE
    if noisy and not fit.explained >= TRIED_BELOW:
        other = likelier_orientation(xp, replace(scan, object=None))
        if other is not None:
            words, residual, given = other
            found += [(TURNED_AS_GIVEN, given), (TURNED + words, residual)]
    quiet = fit.verdict == "good" and not worth_a_trial(fit)
    if not found and quiet and Background.name not in left_out:
        glowing = weak_background(xp, used, result)
        found = [] if glowing is None else list(zip((UNLIT, FAINTLY_LIT), glowing, strict=True))
    if not found and within_noise(fit) and PatternShift.name not in left_out:
        shifted = hidden_shifts(xp, used, result)
        found = [] if shifted is None else list(zip((IN_PLACE, ASTRAY), shifted, strict=True))
    so_far = fit.judged(found)
    clear = so_far.verdict == "good" and fit.explained >= GOOD_EXPLAINED and not within_noise(fit)
    # Patterns at the border of two parts that lie apart look like ones that do not belong there.
    untold = so_far.likely in ("unknown", "patterns")
    if (clear or untold) and PatternShift.name not in left_out:
        shifted = lasting(xp, used, result, ordered_shifts)
        found += [] if shifted is None else list(zip((IN_PLACE, ASTRAY), shifted, strict=True))
    if fit.judged(found).verdict == "good":
        found += behind(xp, used, result, found)
        so_far = fit.judged(found)
    tolerated = so_far.verdict == "good" and fit.explained < GOOD_EXPLAINED
    near = fit.excess <= TRIED_EXCESS_OF_NOISE * fit.expected or fit.explained < TRIED_BELOW
    more = so_far.verdict == "good" and near and not within_noise(fit)
    if more and MovingExposure.name not in left_out:
        moved = moved_beyond_noise(xp, used, result)
        if moved:
            # Patterns that are washed out ask for shifts too, and a trial tells more than they.
            found = [one for one in found if one[0] not in (IN_PLACE, ASTRAY)] + moved
            tolerated = False
    open_shift = (tolerated and not within_noise(fit)) or so_far.likely == "unfinished"
    if open_shift and PatternShift.name not in left_out:
        shifted = lasting(xp, used, result, jumped_shifts)
        found += [] if shifted is None else list(zip((IN_PLACE, ASTRAY), shifted, strict=True))
    if not found and fit.verdict == "good" and BeamCurrent.name not in left_out:
        found = far_from_rest(result)
    if not found and within_noise(fit) and AXES not in left_out and result.slices is None:
        found = _other_unit(xp, scan, result, in_noise=True)
    if not found and within_noise(fit) and fit.expected > FOLLOWED_BY_NETWORKS:
        found = misplaced_patterns(used, result)
    if not found and MovingExposure.name not in left_out:
        quiet = fit.verdict == "good" and within_noise(fit)
        free = was_refined(result, PROBE)
        found = moved_within_noise(xp, used, result, free, _guessed(result)) if quiet else []
        unseen = quiet and FOLLOWED_BY_NETWORKS < fit.expected < DRAWS_TELL
        if not found and again is not None and unseen:
            found = _washed_out_beyond_draws(used, result, again)
    found += _clipped(result, found)
    found += guessed_probe(result, found)
    if not found:
        return result
    return _with_alternatives(result, found)


def guessed_probe(
    result: Reconstruction, found: Sequence[tuple[str, float]]
) -> list[tuple[str, float]]:
    """A probe that was found from the patterns alone, as an alternative, where no cause is known of
    what is not explained: whatever else is tried begins with that probe, or with an object that
    belongs to it, so that it tells nothing if nothing is better."""
    assert result.fit is not None
    fit = result.fit.judged([*result.fit.alternatives, *found])
    untold = fit.verdict == "good" or fit.likely == "unknown"
    seen = fit.excess > GUESSED_EXCESS_OF_NOISE * fit.expected and fit.explained < GOOD_EXPLAINED
    if not (untold and seen and _guessed(result)):
        return []
    return [(GIVEN_PROBE, 0.0), (GUESSED, 1 - fit.explained)]


def _guessed(result: Reconstruction) -> bool:
    """Whether the probe was found from the patterns."""
    return any(one.name == FROM_NOTHING for one in result.findings)


def _clipped(result: Reconstruction, found: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Counts that are missing, as alternatives, where the look at the scan found that and no other
    cause is clear: what was tried makes up for a part of them."""
    assert result.fit is not None
    fit = result.fit.judged([*result.fit.alternatives, *found])
    if fit.verdict == "good" or fit.likely not in MAKE_UP:
        return []
    share = stated_share(result.findings, CLIPPED)
    return [] if share is None else [(COUNTED, 0.0), (UNCOUNTED, share)]


def _with_alternatives(
    result: Reconstruction, found: Sequence[tuple[str, float]]
) -> Reconstruction:
    """The result judged again, with what was found beside what it knows."""
    assert result.fit is not None
    fit = result.fit.judged([*result.fit.alternatives, *found])
    return replace(result, fit=fit, provenance={**result.provenance, "fit": fit.summary()})


def likely_cause(
    trial: Trial, backend: BackendName, execution: Execution, no_mend: Collection[str] = ()
) -> str | None:
    """Why the patterns of a check of the probe are not explained: the sentence of the verdict on
    them; None for a good fit, or one that a few more steps would make good. Their geometry has been
    looked at before."""
    part = trial.part
    made = reported(trial.canvas, part, part.scan, {}, backend, [], {}, "")
    made = judged(made, part.scan, backend, execution, no_mend, LATER)
    assert made.fit is not None
    signs = signs_of(made.fit)
    signs = replace(signs, patterns=tuple(int(trial.numbers[k]) for k in signs.patterns))
    found = judge(signs, made.fit.alternatives)
    return None if found.likely == "unfinished" else found.cause


def worth_a_trial(fit: Misfit) -> bool:
    """Whether a fit leaves so much, and is so silent about the cause, that others are tried."""
    if fit.likely in SHOWN:
        return False
    return fit.verdict != "good" or (fit.explained < TRIED_BELOW and not within_noise(fit))


def _washed_out_beyond_draws(
    scan: Scan, result: Reconstruction, again: Callable[[Scan], Reconstruction]
) -> list[tuple[str, float]]:
    """What :func:`washed_beyond_draws` finds, as alternatives."""
    beyond = washed_beyond_draws(scan, result, again)
    if beyond is None:
        return []
    where = "in all directions" if beyond.direction is None else f"along {WAYS[beyond.direction]}"
    return [(AS_DRAWN, beyond.drawn), (WASHED + where, beyond.measured)]


def _other_unit(
    xp: Ops, scan: Scan, result: Reconstruction, in_noise: bool = False
) -> list[tuple[str, float]]:
    """Another unit of one axis, as alternatives, where the patterns show it."""
    look = even_axes_within_noise if in_noise else even_axes
    even = look(xp, scan, effects_of(result))
    if even is None:
        return []
    words, residual, given = even
    return [(AXIS_GIVEN, given), (OTHER_UNIT + words, residual)]


def _least(tried: Sequence[tuple[str, float]]) -> float:
    return min((residual for _, residual in tried), default=float("inf"))
