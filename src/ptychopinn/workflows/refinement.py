"""Iterations on one scan: to their end (:func:`refine`), or pass by pass (:func:`iterate`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import AXES, LATER, chosen_names
from ptychopinn.checks.replay import mended_like
from ptychopinn.config import RefineConfig
from ptychopinn.contracts import Canvas, Follows, Progress, Solved, Solver, Step
from ptychopinn.data.findings import with_findings
from ptychopinn.data.fingerprint import identity_of
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation.misfit import effects_of
from ptychopinn.evaluation.uncertainty import REFINED_FACTOR
from ptychopinn.machine.interruption import Interrupted, StopFlag
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, choose, get_ops
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import EFFECTS, Effect, slices_of
from ptychopinn.probes import orthogonalised
from ptychopinn.solvers import ptychi
from ptychopinn.solvers.configs import PhysicsConfig, PtychiConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.alternatives import judged, within_noise
from ptychopinn.workflows.beyond_probe import (
    effects_for,
    keeps_background,
    require_meaning,
    require_one_probe_and_slice,
    with_background,
    with_free_probe,
)
from ptychopinn.workflows.checking import in_right_geometry, mended
from ptychopinn.workflows.each_pass import Iteration
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
from ptychopinn.workflows.results import continued, reported, require_refinable, with_uncertainty
from ptychopinn.workflows.scan_axes import corrected_axes
from ptychopinn.workflows.slicing import canvas_from
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
        given.
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
    require_refinable(scan, config, start, "refine(scan, start, config)")
    stop = StopFlag() if stop is None else stop
    if model is not None:
        config, modes = with_model(model, scan, config, modes)
    auto = model == AUTO
    given_modes = modes
    require_meaning(config, modes, auto, start)
    if modes is not None:
        scan, start, config = asked_modes(scan, start, config, modes)
    work = _work(scan, start, config, backend, execution, no_mend, uncertainty)
    with stages_of(progress)(work.config.passes) as listener:
        solved = until_stopped(work.solver, work.prepared, work.canvas, listener, stop)
    result = work.result(solved)
    assert result.fit is not None  # every verb states it
    shown = None if auto else with_background(work.config, result.fit)
    if shown is not None and stop.signal is None:
        result = _unless_worse(scan, result, shown, work, stages_of(progress), stop)
    assert result.fit is not None
    if start is None and stop.signal is None:
        turned = in_right_geometry(work.scan, work.backend, work.execution, no_mend, result.fit)
        if turned is not work.scan:
            result = refine(
                turned, None, config, backend=backend, execution=execution, modes=given_modes,
                model=model if auto else None, uncertainty=uncertainty, no_mend="all",
                progress=progress, stop=stop,
            )  # fmt: skip
            result = with_record(result, model)
            return judged(result, turned, work.backend, work.execution, no_mend, LATER)
    for found in result.findings:
        if found.name in (AXES, *EFFECTS) and found.level == "mended":
            log.warning("%s: %s", scan.name, found.message)
    if modes == "auto" and stop.signal is None:
        result = _with_grown_modes(scan, result, work, stages_of(progress), stop)
    if stop.signal is None:
        looked_at = {*LATER} - chosen_names(no_mend) if start is None else set[str]()
        result = judged(result, work.scan, work.backend, work.execution, no_mend, looked_at)
    followed = work.config
    if auto and stop.signal is None:
        again = partial(
            refine, scan, start, backend=backend, execution=execution, no_mend=no_mend,
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
        lambda half: refine(
            half, None, alone, backend=work.backend, execution=work.execution, no_mend="all"
        ),
        REFINED_FACTOR,
        from_nothing=True,
    )


def _unless_worse(
    scan: Scan,
    result: Reconstruction,
    shown: RefineConfig,
    before: _Work,
    stages: Stages,
    stop: StopFlag,
) -> Reconstruction:
    """The result after further iterations that follow a background, where they show it."""
    # Factors of the beam that were found without it hold a part of it.
    known = {name: found for name, found in result.effects.items() if name != BeamCurrent.name}
    started = replace(result, effects=known)
    work = _work(scan, started, shown, before.backend, before.execution, ())
    try:
        with stages(work.config.passes) as listener:
            solved = until_stopped(work.solver, work.prepared, work.canvas, listener, stop)
    except Interrupted:
        if stop.signal is None:
            raise
        return result
    further = work.result(solved)
    return further if keeps_background(result, further) else result


def _choice(
    result: Reconstruction,
    work: _Work,
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
    scan: Scan, result: Reconstruction, before: _Work, stages: Stages, stop: StopFlag
) -> Reconstruction:
    """The result after further iterations with more modes, where patterns gain from them."""
    assert result.fit is not None  # every verb states it
    if within_noise(result.fit):
        log.info("no modes are tried: the patterns are explained to within photon noise")
        return result
    work = _work(scan, result, before.config, before.backend, before.execution, ())
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
    work = _work(scan, start, config, backend, execution, no_mend)
    return _iterations(work, stages_of(progress)(work.config.passes))


def _iterations(work: _Work, opened: AbstractContextManager[Progress]) -> Iterator[Iteration]:
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


@dataclass(frozen=True, eq=False)
class _Work:
    """A solver with what it works on, and what its results say of their origin; ``given_px`` (M, 2)
    are the positions before any refinement."""

    solver: Solver
    config: RefineConfig
    scan: Scan
    prepared: PreparedScan
    canvas: Canvas | None
    given_px: NDArray[np.float64]
    backend: BackendName
    execution: Execution
    stages: tuple[Any, ...]
    by: Mapping[str, Any]
    identity: str
    begun: float

    def result(self, solved: Solved) -> Reconstruction:
        """What was found, in the units of the scan."""
        scan, prepared = self.scan, self.prepared
        if self.config.refine_probe:
            probe = solved.probe / np.float32(prepared.input_scale * prepared.object_scale)
            scan = replace(scan, probe=orthogonalised(probe))
        # An object in the file is not where moved positions are.
        scan = replace(scan, positions_px=solved.positions_px, object=None)
        axes, found = None, None
        if self.config.refine_positions:
            axes, found = corrected_axes(self.given_px, solved.positions_px)
            if found is not None:
                scan = replace(scan, provenance=with_findings(scan.provenance, [found]))
        seconds = {"refinement": time.perf_counter() - self.begun}
        stage = {
            "stage": "refinement",
            **self.by,
            "passes": solved.passes,
            **self.config.model_dump(mode="json", include={"refine_probe", "refine_positions"}),
            "effects": [effect.name for effect in solved.effects if effect.changes],
            **({} if axes is None else {"scan_axes": asdict(axes)}),
        }
        stages = [*self.stages, stage]
        return reported(
            solved.canvas, prepared, scan, seconds, self.backend, stages, {}, self.identity,
            solved.effects, solved.position_covariance,
        )  # fmt: skip


def _work(
    scan: Scan,
    start: Reconstruction | None,
    config: RefineConfig | None,
    backend: BackendName | None,
    execution: Execution | None,
    no_mend: Collection[str],
    uncertainty: bool = False,
) -> _Work:
    """Check the arguments of :func:`refine` and prepare what they say."""
    config = RefineConfig() if config is None else config
    by: dict[str, Any] = {"engine": config.engine}
    if isinstance(config, PtychiConfig):
        execution = ptychi.execution_for(backend, execution, uncertainty)
        ptychi.require()
        by = ptychi.stage(config)
    if uncertainty:
        require_one_probe_and_slice(config, start)
    follows = isinstance(config, PhysicsConfig) and config.eigenprobes is not None
    if follows:
        config = with_free_probe(config, "eigenprobes")
    backend, execution = choose(backend, execution)
    begun = time.perf_counter()
    stages: tuple[Any, ...] = ()
    identity = identity_of(scan)
    scan = mended(scan, no_mend) if start is None else mended_like(scan, start.findings)
    given_px = scan.positions_px
    if start is not None:
        scan = continued(scan, start, identity)
        stages = tuple(start.provenance.get("stages", ()))
    prepared = prepare(scan)
    solver: Solver
    effects: tuple[Effect, ...] = ()
    if isinstance(config, PtychiConfig):
        solver = ptychi.PtychiSolver(config, execution)
    else:
        assert isinstance(config, PhysicsConfig)  # there are two engines
        limit, xp = execution.inference_batch_mib << 20, get_ops(backend, execution)
        effects = effects_for(config, prepared, start, xp)
        solver = PhysicsSolver(xp, config, limit, effects=effects)
    canvas = None if start is None else canvas_from(start, prepared, slices_of(effects))
    return _Work(
        solver, config, scan, prepared, canvas, given_px, backend, execution, stages, by, identity,
        begun,
    )  # fmt: skip
