"""Which effects of beam, sample and detector a scan has, chosen by patterns that were left out.

Where a refinement leaves more than photon noise, some neighbouring patterns are refined without a
few of them. From what is found, each effect is tried in a short run, and the same is gone on with
as it is; an effect is kept when the patterns that were left out, which none of the runs has seen,
are then explained better by clearly more than they scatter. Others are tried on top of the best.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ptychopinn.config import RefineConfig
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.data.trials import RECORD, EffectTrial
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.verdict import SEEN_EXCESS_OF_NOISE
from ptychopinn.machine.interruption import Interrupted, StopFlag
from ptychopinn.ops.base import Ops
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import Effect
from ptychopinn.physics.slices import Slices
from ptychopinn.physics.varying_probe import VaryingProbe
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.workflows.before_axes import within_noise
from ptychopinn.workflows.beyond_probe import with_background
from ptychopinn.workflows.effect_candidates import LONG, Candidate, Candidates, Untried
from ptychopinn.workflows.effect_trials import Fit, Trials
from ptychopinn.workflows.left_out import gain_of
from ptychopinn.workflows.model_terms import Modes, passes_with, terms_of, written

log = logging.getLogger(__name__)

# Patterns that a scan must have, and that can be left out.
LEAST, LEAST_LEFT_OUT = 64, 8
# What explains so much of the structure leaves nothing that is worth a trial.
EXPLAINED = 0.9995
# Trials end where the patterns that are used are explained to so many times the photon noise.
NEAR_NOISE = 1 + SEEN_EXCESS_OF_NOISE
# Effects at most.
MOST = 3
# Of several effects that are kept the first is taken, as long as no other one is better by so many
# standard errors: they are in the order of their number of unknowns.
BETTER = 2.0
# An effect that leaves this share of the excess or less is followed before others are looked for.
HARDLY = 0.2
# Passes with an effect that is kept before others are tried on top.
SETTLED = 24
# Share of the misfit at photon noise that must be gained, at least.
LEAST_GAIN = 0.05
# Why nothing is tried where nothing is left to be gained.
NEAR_THERE = "the patterns that choose are explained nearly to photon noise"
NEAR = "the patterns are explained to within photon noise"
# Terms that have a probe that is refined.
OF_PROBE = ("opr", "modes")
# Effects with which no uncertainty is stated.
NO_UNCERTAINTY = (VaryingProbe.name, Slices.name)


@dataclass(frozen=True)
class Choice:
    """options : of the refinement, for what was kept.  modes : of the probe, where more were kept.
    terms : of the model.  trials : what was tried, in that order.  untried : why nothing was.
    seconds : that this took."""

    options: Mapping[str, Any] = field(default_factory=dict)
    modes: int | None = None
    terms: tuple[str, ...] = ()
    trials: tuple[EffectTrial, ...] = ()
    untried: str = ""
    seconds: float = 0.0


def chosen_model(
    xp: Ops,
    scan: Scan,
    config: PhysicsConfig,
    fit: Misfit,
    effects: Sequence[Effect] = (),
    *,
    without: Collection[str] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> Choice:
    """The effects that patterns which were left out gain from.

    Parameters
    ----------
    xp : the operations of a framework.
    scan : the patterns, with the probe and the positions to begin with.
    config : of the refinement; an effect whose option is set is not tried.
    fit : of a refinement that knows none but those that it always follows.
    effects : what is known of beam and detector, in counts.
    without : names of effects that are not tried.
    stopped : whether to end before the next trial.
    """

    if scan.M < LEAST:
        return _untried(f"that takes {LEAST} patterns, received {scan.M}", logging.WARNING)
    explained = within_noise(fit) or fit.explained >= EXPLAINED
    # What was followed by a test of its own is judged by what was left out as well.
    beam = any(effect.name == BeamCurrent.name and effect.changes for effect in effects)
    if explained and not beam:
        return _untried(NEAR)
    others = [effect for effect in effects if effect.name != BeamCurrent.name]
    trials = Trials(xp, scan, config, others)
    if len(trials.left) < LEAST_LEFT_OUT:
        return _untried(
            f"that takes {LEAST_LEFT_OUT} patterns whose places others cover, received "
            f"{len(trials.left)}",
            logging.WARNING,
        )
    search = _Search(trials, Candidates(trials, others, without), stopped, beam)
    if not explained:
        choice = search.choice()
        return choice if choice.trials else replace(choice, untried=NEAR_THERE)
    alone = search.beam_current_alone()
    return alone if alone.trials else _untried(NEAR)


def _untried(why: str, level: int = logging.INFO) -> Choice:
    log.log(level, "no effect is tried: %s", why)
    return Choice(untried=why)


def with_choice(
    result: Reconstruction,
    choice: Choice,
    config: RefineConfig,
    modes: Modes,
    again: Callable[..., Reconstruction],
    stop: StopFlag,
) -> tuple[Reconstruction, RefineConfig]:
    """The result with what was tried, made ``again`` where an effect was kept, and its options.

    ``again`` takes the arguments ``config`` and ``modes`` of a refinement. What explains the
    patterns worse than ``result``, or was stopped before its first pass was over, is not taken.
    """
    assert isinstance(config, PhysicsConfig) and result.fit is not None
    best, used = result, config
    if choice.options or choice.modes is not None:
        said = {name: getattr(config, name) for name in config.model_fields_set}
        if "passes" not in said:
            said["passes"] = passes_with(choice.terms, config.passes)
        options = PhysicsConfig(**{**said, **choice.options})
        log.info("refining again with %s", " and ".join(choice.terms) or "none of them")
        try:
            found = again(config=options, modes=choice.modes or modes)
        except Interrupted:
            if stop.signal is None:
                raise
            found = result
        assert found.fit is not None
        # A factor for each pattern that nothing is gained from explains those patterns better.
        dropped = not choice.terms
        if found is not result and (dropped or found.fit.residual < result.fit.residual):
            best, used = found, options
        elif found is not result:
            log.warning(
                "what some patterns gain from (%s) leaves %.4g of all of them, without it %.4g: "
                "left off",
                " and ".join(choice.terms), found.fit.residual, result.fit.residual,
            )  # fmt: skip
    trials = choice.trials
    if best is result:
        trials = tuple(_without_choice(trial, result.effects) for trial in trials)
    seconds = {**best.seconds, "effects": choice.seconds}
    if best is not result:
        seconds["first refinement"] = sum(result.seconds.values())
    terms = () if best is result else choice.terms
    return _recorded(replace(best, seconds=seconds), terms, trials, choice.untried), used


def also_background(
    result: Reconstruction,
    followed: RefineConfig,
    asked: RefineConfig,
    go_on: Callable[[Reconstruction, RefineConfig], Reconstruction],
) -> Reconstruction:
    """The result with a background beside what was chosen, where the dark pixels show one and that
    is still open: one that is weak hides near the noise of the patterns that choose.

    followed : options of the result.  asked : those that were given.  go_on : makes further
        iterations with these options, and gives the result as it is where they are no better.
    """
    assert result.fit is not None  # every verb states it
    tried = [one for one in result.provenance[RECORD]["tried"] if one["effect"] == Background.name]
    refused = any((one["gain"] or 0.0) <= 0 for one in tried)
    if refused or getattr(asked, "background", False) is not None:
        return result
    shown = with_background(followed.model_copy(update={"background": None}), result.fit)
    further = result if shown is None or Background.name in result.effects else go_on(result, shown)
    if further is result:
        return result
    record = dict(result.provenance[RECORD])
    record["chosen"] += f"+{Background.name}"
    return replace(further, provenance={**further.provenance, RECORD: record})


def none_tried(result: Reconstruction) -> Reconstruction:
    """A result within photon noise, with the record that nothing was tried for that reason."""
    return _recorded(result, (), (), NEAR)


def _recorded(
    result: Reconstruction, chosen: Sequence[str], trials: Sequence[EffectTrial], untried: str
) -> Reconstruction:
    """The result with these terms and what it knows beside them, what was tried, or why nothing
    was."""
    names = {term.partition(":")[0] for term in chosen}
    others = [term for term in terms_of(result) if term.partition(":")[0] not in names]
    terms = [*chosen, *others]
    stages = result.provenance.get("stages", ())
    moved = bool(stages) and stages[-1].get("refine_probe")
    if moved and not {term.partition(":")[0] for term in terms} & {"probe", *OF_PROBE}:
        terms.append("probe")
    record: dict[str, Any] = {
        "chosen": written(result.propagation, terms),
        "tried": [trial.as_json() for trial in trials],
        **({"untried": untried} if untried else {}),
    }
    return replace(result, provenance={**result.provenance, RECORD: record})


def _without_choice(trial: EffectTrial, followed: Collection[str]) -> EffectTrial:
    """A trial where nothing was chosen, and these effects are followed by tests of their own."""
    if trial.effect in followed:
        return replace(trial, kept=True, note="followed by a test of its own")
    return replace(trial, kept=False)


class _Search:
    """What is chosen among the candidates."""

    def __init__(
        self, trials: Trials, candidates: Candidates, stopped: Callable[[], bool], beam: bool
    ) -> None:
        self.of, self.candidates, self.stopped = trials, candidates, stopped
        # Whether a beam current is followed without a choice, by a test of its own.
        self.beam = beam
        self.expected = trials.part.expected_misfit
        # Names of effects that were tried, and that were believed in some round.
        self.looked_at: set[str] = set()
        self.believed: set[str] = set()

    def choice(self) -> Choice:
        """What is kept, beginning with nothing but what is known."""
        trials: list[EffectTrial] = []
        kept: list[Candidate] = []
        current = self.of.begun()
        while len(kept) < MOST and self._goes_on(current, kept):
            best, found = self._round(current, kept)
            trials += found
            if best is None:
                break
            kept.append(best)
            # What is left after a few passes may be what they have not found yet.
            current = self.of.gone_on(best.fit, passes=SETTLED)
        if kept:
            trials += [
                EffectTrial(name, None, None, False, "nothing is left to explain")
                for name in LONG
                if name not in self.looked_at and name in self.candidates.possible
            ]
        for tried in trials:
            log.info("%s: %s", tried.effect, tried.in_words)
        options: dict[str, Any] = {}
        if kept or (self.beam and BeamCurrent.name in self.looked_at):
            # Neither is followed by a test of its own then.
            by_themselves = {"beam_current": BeamCurrent.name, "background": Background.name}
            options = {
                option: False
                for option, name in by_themselves.items()
                if name not in self.candidates.skipped
            }
        for trial in kept:
            options.update(trial.options)
        modes = options.pop("modes", None)
        # More modes take the place of fewer.
        terms = {trial.name: trial.term for trial in kept}
        return Choice(options, modes, tuple(terms.values()), tuple(trials))

    def beam_current_alone(self) -> Choice:
        """What is gained from the beam current, which was followed by a test of its own."""
        for name, make in self.candidates.on_top_of(self.of.begun(), ()):
            if name == BeamCurrent.name:
                return Choice(trials=(self._tried(make)[1],))
        return Choice()

    def _goes_on(self, current: Fit, kept: Sequence[Candidate]) -> bool:
        """Whether there is something to be gained on top of what was kept."""
        return not self.stopped() and (not self._near_noise(current) or self._beam_is_open(kept))

    def _beam_is_open(self, kept: Sequence[Candidate]) -> bool:
        """Whether the beam current was believed, and another effect was taken: with so many numbers
        that one may follow the patterns of both, and the object suffers."""
        there = {trial.name for trial in kept}
        return BeamCurrent.name in self.believed and BeamCurrent.name not in there

    def _near_noise(self, fit: Fit) -> bool:
        return bool(fit.canvas.losses[-1] <= NEAR_NOISE * self.expected)

    def _tried(
        self, make: Callable[[], Candidate], name: str = BeamCurrent.name, beside: str = ""
    ) -> tuple[Candidate | None, EffectTrial]:
        """An effect after its trial if it is believed, and what is to be said of it."""
        try:
            trial = make()
        except Untried as why:
            return None, EffectTrial(name, None, None, False, str(why))
        gain = gain_of(trial.base.misfits, trial.fit.misfits, self.expected, LEAST_GAIN)
        said = EffectTrial(trial.term, gain.gain, gain.error, False, beside)
        return trial if gain.kept else None, said

    def _round(
        self, current: Fit, kept: Sequence[Candidate]
    ) -> tuple[Candidate | None, list[EffectTrial]]:
        """The best effect on top of ``current``, and what was tried. Those that take long are left
        for the next round where another one explains nearly everything."""
        there = {trial.name for trial in kept}
        beside = f"beside {' and '.join(trial.term for trial in kept)}" if kept else ""
        believed: list[Candidate] = []
        said: list[EffectTrial] = []
        for name, make in self.candidates.on_top_of(current, there):
            if self.stopped():
                break
            if self._near_noise(current) and name != BeamCurrent.name:
                continue
            if name in LONG and (self._nearly_all(believed) or not self._worth_long(name, kept)):
                continue
            self.looked_at.add(name)
            trial, words = self._tried(make, name, beside)
            said.append(words)
            if trial is not None:
                believed.append(trial)
        self.believed |= {trial.name for trial in believed}
        best = _first_of_the_best(believed)
        if best is not None:
            others = {trial.term for trial in believed} - {best.term}
            said = [
                replace(one, note=_joined(one.note, f"{best.term} gains more"))
                if one.effect in others
                else replace(one, kept=one.effect == best.term)
                for one in said
            ]
        return best, said

    def _nearly_all(self, believed: Sequence[Candidate]) -> bool:
        """Whether one of these leaves hardly anything of what was not explained."""
        before = [trial.base.canvas.losses[-1] - self.expected for trial in believed]
        after = [trial.fit.canvas.losses[-1] - self.expected for trial in believed]
        return any(left <= HARDLY * given for left, given in zip(after, before, strict=True))

    def _worth_long(self, name: str, kept: Sequence[Candidate]) -> bool:
        """Whether an effect that takes long to try was not tried yet, or believed before."""
        return not kept or name not in self.looked_at or name in self.believed


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _first_of_the_best(trials: Sequence[Candidate]) -> Candidate | None:
    """Of the trials that are believed, the first that none is clearly better than."""
    if not trials:
        return None
    best = min(trials, key=lambda trial: trial.fit.score)
    for trial in trials:
        ratios = np.log(trial.fit.misfits) - np.log(best.fit.misfits)
        if ratios.mean() <= BETTER * ratios.std(ddof=1) / np.sqrt(len(ratios)):
            return trial
    return best
