"""Iterations on one scan: to their end (:func:`refine`), or pass by pass (:func:`iterate`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from typing import Literal

from ptychopinn.checks.base import AXES, LATER, chosen_names
from ptychopinn.config import RefineConfig
from ptychopinn.contracts import Follows, Progress, Step
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.evaluation.uncertainty import REFINED_FACTOR
from ptychopinn.machine.interruption import Interrupted, StopFlag
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import EFFECTS
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.alternatives import judged, within_noise
from ptychopinn.workflows.beyond_probe import (
    follows_other,
    keeps_background,
    require_meaning,
    with_background,
)
from ptychopinn.workflows.checking import in_right_geometry
from ptychopinn.workflows.each_pass import Iteration
from ptychopinn.workflows.going_on import lit_by_itself, passes_of, until_finished
from ptychopinn.workflows.growing_modes import asked_modes, grown_modes
from ptychopinn.workflows.listening import Listening, Stages, stages_of
from ptychopinn.workflows.model_choice import (
    NO_UNCERTAINTY,
    Choice,
    also_background,
    chosen_model,
    with_choice,
)
from ptychopinn.workflows.model_terms import AUTO, with_model, with_record
from ptychopinn.workflows.refinement_work import Work, work_for
from ptychopinn.workflows.results import require_refinable, with_uncertainty
from ptychopinn.workflows.stopping import operations_of, until_stopped

log = logging.getLogger(__name__)


def refine(
    scan: Scan,
    start: Reconstruction | None = None,
    config: RefineConfig | None = None,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    modes: int | Literal["auto"] | None = None,
    model: str | None = None,
    uncertainty: bool = False,
    no_mend: Collection[str] = (),
    progress: Listening = None,
    stop: StopFlag | None = None,
) -> Reconstruction:
    """Iterations on the object and, if asked for, the probe and the positions.

    They are plain physics steps, or those of pty-chi with ``config.engine = "ptychi"``.

    Parameters
    ----------
    scan : the measured patterns.
    start : a reconstruction of this scan to continue, with its probe and positions; an empty
        object when not given.
    config : what is refined and when it ends; the object alone, until nothing improves, when not
        given. Where it does not say how many ``passes``, and the object would still change after
        them, up to four times as many are made.
    modes : so many incoherent modes of the probe, those that are added start weak; ``"auto"`` adds
        them while patterns that were left out gain from it. The probe is refined with either.
    model : which effects of beam, sample and detector are followed: ``"auto"`` tries them and keeps
        those that patterns which were left out gain from (``result.effects_tried``), terms such as
        ``"far-field+background+opr:3"`` set them by hand and are a short way of writing options.
    uncertainty : state how far the result may be off (see
        :mod:`ptychopinn.evaluation.uncertainty`); its factor was determined for plain physics
        steps, and only they offer it.
    no_mend : names of checks that are left out (see :func:`ptychopinn.check_scan`), or "all". What
        was mended for ``start`` is mended again, and no more.
    progress : True for a bar on stderr, or a :class:`ptychopinn.contracts.Progress` called
        after every pass; nothing is shown when not given.
    stop : when it is installed, a signal that comes once a pass is finished ends the iterations
        after the present update, and what they have found by then is the result, without an
        uncertainty. Which signal it was is in ``stop.signal``.

    Raises
    ------
    InputError
        When ``start`` does not belong to the scan, a check finds a fault in it, or pty-chi is asked
        for and not installed or not able to do what the other arguments say.
    TrainingError
        When the iterations of pty-chi diverge.
    Interrupted
        When ``stop`` is set before a pass was finished.
    """
    result = refined(
        scan, start, config, backend=backend, execution=execution, modes=modes, model=model,
        uncertainty=uncertainty, no_mend=no_mend, progress=progress, stop=stop,
    )  # fmt: skip
    return said(scan, result)


def said(scan: Scan, result: Reconstruction) -> Reconstruction:
    """The result, once it is said what was fitted of beam, detector and axes."""
    assert result.fit is not None  # every verb states it
    sure = result.fit.verdict == "good"
    for found in result.findings:
        if found.name in (AXES, *EFFECTS) and found.level == "mended":
            words = found.message.rstrip(".")
            more = "" if sure else "; the fit is not good, and that may make up for another fault"
            log.warning("%s: %s%s.", scan.name, words, more)
    return result


def refined(
    scan: Scan,
    start: Reconstruction | None = None,
    config: RefineConfig | None = None,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    modes: int | Literal["auto"] | None = None,
    model: str | None = None,
    uncertainty: bool = False,
    no_mend: Collection[str] = (),
    progress: Listening = None,
    stop: StopFlag | None = None,
) -> Reconstruction:
    """As :func:`refine`, which may be a part of something longer: what was fitted is not said."""
    require_refinable(scan, config, start, "refine(scan, start, config)")
    stop = StopFlag() if stop is None else stop
    if model is not None:
        config, modes = with_model(model, scan, config, modes)
    auto = model == AUTO
    given_modes = modes
    require_meaning(config, modes, auto, start)
    if modes is not None:
        scan, start, config = asked_modes(scan, start, config, modes)
    work = work_for(scan, start, config, backend, execution, no_mend, uncertainty)
    with stages_of(progress)(work.config.passes) as listener:
        solved = until_stopped(work.solver, work.prepared, work.canvas, listener, stop)
    result = work.result(solved)
    assert result.fit is not None  # every verb states it
    shown = None if auto else with_background(work.config, result.fit)
    if shown is not None and stop.signal is None:
        log.info("the patterns show a background: %d passes more with it, at most", shown.passes)
        result = _unless_worse(scan, result, shown, work, stages_of(progress), stop)
    assert result.fit is not None
    if start is None and stop.signal is None:
        turned = in_right_geometry(work.scan, work.backend, work.execution, no_mend, result.fit)
        if turned is not work.scan:
            again = partial(
                refined, turned, None, config, backend=backend, execution=execution,
                modes=given_modes, no_mend="all", progress=progress, stop=stop,
            )  # fmt: skip
            if auto:
                result = with_record(again(model=model, uncertainty=uncertainty), model)
                return judged(result, turned, work.backend, work.execution, no_mend, LATER)
            # From here on it is gone on with as any other.
            result, scan, work, modes = again(), turned, replace(work, scan=turned), None
    if modes == "auto" and stop.signal is None:
        result = _with_grown_modes(scan, result, work, stages_of(progress), stop)
    onwards = partial(
        refined, scan, backend=backend, execution=execution, progress=progress, stop=stop
    )
    followed = work.config
    if not auto and "passes" not in followed.model_fields_set:
        xp, unjudged = operations_of(work.solver), partial(onwards, no_mend="all")
        longer = until_finished(xp, work.scan, result, followed, unjudged, stop, no_mend)
        if longer is not result:
            followed = followed.model_copy(update={"passes": passes_of(longer, start)})
        result = longer
    if stop.signal is None:
        looked_at = {*LATER} - chosen_names(no_mend) if start is None else set[str]()
        result = judged(result, work.scan, work.backend, work.execution, no_mend, looked_at)
    if auto and stop.signal is None:
        again = partial(
            refined, scan, start, backend=backend, execution=execution, no_mend=no_mend,
            progress=progress, stop=stop,
        )  # fmt: skip
        choice = _choice(result, work, no_mend, uncertainty, stop)
        result, followed = with_choice(result, choice, followed, given_modes, again, stop)
        go_on = partial(_unless_worse, scan, before=work, stages=stages_of(progress), stop=stop)
        further = (
            also_background(result, followed, work.config, go_on) if stop.signal is None else result
        )
        if further is not result:
            result = judged(further, work.scan, work.backend, work.execution, no_mend, looked_at)
    elif not auto:
        with_it = partial(onwards, no_mend=no_mend)
        result = lit_by_itself(result, work.config, with_it, stop, no_mend)
    result = with_record(result, model)
    if not uncertainty:
        return result
    # Probe and positions are those of all patterns.
    known = {"background": Background.name in result.effects}
    alone = followed.model_copy(update={"refine_probe": False, "refine_positions": False, **known})
    given = replace(work.scan, probe=result.probe, positions_px=result.positions_px)
    return with_uncertainty(
        stop,
        result,
        given,
        lambda half: refined(
            half, None, alone, backend=work.backend, execution=work.execution, no_mend="all"
        ),
        REFINED_FACTOR,
        from_nothing=True,
    )


def _unless_worse(
    scan: Scan,
    result: Reconstruction,
    shown: RefineConfig,
    before: Work,
    stages: Stages,
    stop: StopFlag,
) -> Reconstruction:
    """The result after further iterations that follow a background, where they show it."""
    # Factors of the beam that were found without it hold a part of it.
    known = {name: found for name, found in result.effects.items() if name != BeamCurrent.name}
    started = replace(result, effects=known)
    work = work_for(scan, started, shown, before.backend, before.execution, ())
    try:
        with stages(work.config.passes) as listener:
            solved = until_stopped(
                work.solver, work.prepared, work.canvas, listener, stop,
                lambda step: follows_other(result, step, work.prepared),
            )  # fmt: skip
    except Interrupted:
        if stop.signal is None:
            raise
        return result
    further = work.result(solved)
    return further if keeps_background(result, further) else result


def _choice(
    result: Reconstruction,
    work: Work,
    no_mend: Collection[str],
    uncertainty: bool,
    stop: StopFlag,
) -> Choice:
    """The effects to follow beside those of a result, as its own patterns tell."""
    assert isinstance(work.solver, PhysicsSolver) and isinstance(work.config, PhysicsConfig)
    assert result.fit is not None  # every verb states it
    scan = replace(work.scan, probe=result.probe, positions_px=result.positions_px)
    begun = time.perf_counter()
    # All checks of a scan may be left out, and yet a model be asked for.
    without = {*no_mend, *(NO_UNCERTAINTY if uncertainty else ())}
    choice = chosen_model(
        work.solver.xp, scan, work.config, result.fit, effects_of(result), without=without,
        stopped=lambda: stop.signal is not None,
    )  # fmt: skip
    return replace(choice, seconds=time.perf_counter() - begun)


def _with_grown_modes(
    scan: Scan, result: Reconstruction, before: Work, stages: Stages, stop: StopFlag
) -> Reconstruction:
    """The result after further iterations with more modes, where patterns gain from them."""
    assert result.fit is not None  # every verb states it
    if within_noise(result.fit):
        log.info("no modes are tried: the patterns are explained to within photon noise")
        return result
    work = work_for(scan, result, before.config, before.backend, before.execution, ())
    solver, prepared, canvas = work.solver, work.prepared, work.canvas
    assert isinstance(solver, PhysicsSolver) and canvas is not None  # not of pty-chi
    grown = grown_modes(solver.xp, prepared, canvas, solver.effects, solver.limit)
    tried = {"modes_tried": [asdict(trial) for trial in grown.trials]}
    if not any(trial.kept for trial in grown.trials):
        return replace(result, provenance={**result.provenance, **tried})
    begun = replace(prepared, probe=grown.probe)
    try:
        with stages(work.config.passes) as listener:
            solved = until_stopped(solver, begun, grown.canvas, listener, stop)
    except Interrupted:
        if stop.signal is None:
            raise
        return result
    found = work.result(solved)
    assert found.fit is not None
    powers = found.probe_mode_powers
    log.info("%d modes of the probe: %s", len(powers), ", ".join(f"{p:.1%}" for p in powers))
    return replace(found, provenance={**found.provenance, **tried})


def iterate(
    scan: Scan,
    config: RefineConfig | None = None,
    start: Reconstruction | None = None,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    no_mend: Collection[str] = (),
    progress: Listening = None,
) -> Iterator[Iteration]:
    """The passes of :func:`refine` one by one: ``for step in iterate(scan): ...``.

    Each step has a number, a misfit and ``step.result()``; leaving the loop stops the iterations.
    The arguments are those of :func:`refine`. No other geometry, probe or axes are tried for the
    verdict on such a result, which comes from its residual alone.

    Raises
    ------
    InputError
        As :func:`refine`, at once; and when the result of a step is asked for after the next one.
    """
    require_refinable(scan, config, start, "iterate(scan, config, start)")
    require_meaning(config, start=start)
    # Not part of the generator: what is wrong is said here and not at the first pass.
    work = work_for(scan, start, config, backend, execution, no_mend)
    return _iterations(work, stages_of(progress)(work.config.passes))


def _iterations(work: Work, opened: AbstractContextManager[Progress]) -> Iterator[Iteration]:
    latest = 0

    def result_of(step: Step) -> Reconstruction:
        if step.number != latest:
            raise InputError(
                f"the result of a pass must be taken before the next one, received pass "
                f"{step.number} after pass {latest}; call result() inside the loop."
            )
        return work.result(step.result())

    with opened as listener, operations_of(work.solver).together():
        for step in work.solver.run(work.prepared, work.canvas, listener):
            latest = step.number
            if isinstance(listener, Follows):
                listener.found(step)
            yield Iteration(step.number, step.misfit, partial(result_of, step))
