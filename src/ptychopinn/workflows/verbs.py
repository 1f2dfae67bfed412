"""The verbs of the product, independent of backend and command line: train, reconstruct, refine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ptychopinn.config import RefineConfig
from ptychopinn.contracts import SILENT, Canvas, Progress, Solved, Solver
from ptychopinn.data.fingerprint import difference, fingerprint, recorded
from ptychopinn.data.normalization import PreparedScan, mean_counts, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.evaluation.misfit import Misfit, misfit
from ptychopinn.evaluation.uncertainty import NETWORK_FACTOR, REFINED_FACTOR, with_uncertainty
from ptychopinn.io.models import Bundle
from ptychopinn.machine.interruption import Interrupted, StopFlag, Stopped
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, choose, get_ops
from ptychopinn.physics.scaling import reconcile_probe
from ptychopinn.solvers import ptychi
from ptychopinn.solvers.configs import PhysicsConfig, PtychiConfig
from ptychopinn.solvers.network import network_solver
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.models import (
    PRETRAINED,
    TrainedModel,
    config_of,
    open_model,
    package_versions,
)
from ptychopinn.workflows.train import complete, pretrain, train

__all__ = [
    "PRETRAINED",
    "ReconstructionReport",
    "TrainedModel",
    "complete",
    "config_of",
    "open_model",
    "package_versions",
    "pretrain",
    "reconstruct",
    "reconstruct_with_report",
    "refine",
    "train",
]

log = logging.getLogger(__name__)

Further = Literal["auto", "always", "never"]

# Passes of the refinement that follows when the given probe does not fit: enough for a picture,
# the command refine goes on from there.
QUICK_PASSES = 14

# Progress of a stage that makes at most so many passes.
Stages = Callable[[int], AbstractContextManager[Progress]]


def network_passes(bundle: Bundle) -> int:
    """How many passes over all patterns the network of a model makes."""
    return config_of(bundle).model.passes


def _with_refined_probe(scan: Scan, bundle: Bundle) -> Scan:
    """The scan with the probe that was refined in training, scaled to the counts of the scan."""
    if bundle.probe.shape[-1] != scan.N:
        raise InputError(
            f"the model refined a probe of N = {bundle.probe.shape[-1]}, received a scan with N = "
            f"{scan.N}; give the probe of this scan with --probe FILE:KEY."
        )
    probe, factor = reconcile_probe(bundle.probe, mean_counts(scan), scan.mask, scan.propagator)
    log.info(
        "using the probe refined in training, scaled by %.4g to the counts of this scan", factor
    )
    return replace(scan, probe=probe)


@dataclass(frozen=True, eq=False)
class ReconstructionReport:
    """A reconstruction, how well it explains the patterns, how long each stage took (s), and who
    computed it."""

    result: Reconstruction
    misfit: Misfit
    seconds: Mapping[str, float]
    backend: BackendName


def reconstruct(
    model: TrainedModel | Bundle | str | Path,
    scan: Scan,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    keep_probe: bool = False,
    uncertainty: bool = False,
    refine: Further | None = None,
) -> Reconstruction:
    """Reconstruct every pattern of a scan with a trained model.

    The object is in the units of the scan's probe; one global factor makes the modelled counts
    equal the measured ones. Any ``backend`` can use a model, whichever trained it.

    Parameters
    ----------
    model : ``"pretrained"`` comes with the package and suits scans that nobody trained on.
    scan : the measured patterns.
    keep_probe : use the probe of the scan even when the model refined one in training.
    uncertainty : state how far the result may be off (see :mod:`ptychopinn.evaluation.uncertainty`).
    refine : physics iterations after the network. ``"auto"`` refines object and probe from the
        start when the probe of the scan does not fit the data, and says so; ``"always"`` goes on
        from the network's object; ``"never"`` leaves it. By default as the commands do: auto with
        the model ``"pretrained"`` (``ptychopinn reconstruct``), never with any other
        (``ptychopinn infer``).

    Raises
    ------
    InputError
        When the model does not fit the scan, or its file is not a valid bundle.
    """
    return reconstruct_with_report(
        model,
        scan,
        backend=backend,
        execution=execution,
        keep_probe=keep_probe,
        uncertainty=uncertainty,
        refine=refine,
    ).result


def reconstruct_with_report(
    model: TrainedModel | Bundle | str | Path,
    scan: Scan,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    keep_probe: bool = False,
    uncertainty: bool = False,
    refine: Further | None = None,
    progress: Stages | None = None,
    stop: StopFlag | None = None,
) -> ReconstructionReport:
    """Like :func:`reconstruct`, with the misfit and the time of every stage.

    ``progress`` is called with the number of passes of every stage that begins. With an installed
    ``stop``, a signal that comes once the network is done leaves out what else was due: an
    uncertainty, and passes of a refinement that was not yet better than the network.
    """
    if refine is None:
        shipped = isinstance(model, str | Path) and str(model) == PRETRAINED
        refine = "auto" if shipped else "never"
    elif refine not in get_args(Further):
        raise InputError(
            f"refine must be one of {', '.join(get_args(Further))}, received {shown(refine)}; "
            "correct it."
        )
    stop = StopFlag() if stop is None else stop
    progress = (lambda passes: nullcontext(SILENT)) if progress is None else progress
    bundle = open_model(model)
    backend, execution = choose(backend, execution)
    with progress(network_passes(bundle)) as bar:
        report = _network(bundle, scan, backend, execution, keep_probe, bar)
    stop.gentle = True
    start, config = None, RefineConfig()
    if refine == "always" and stop.signal is None:
        start = report.result
    elif refine == "auto" and not report.misfit.fits_probe and stop.signal is None:
        log.info(
            "the probe of the scan leaves a residual of %.4f where photon noise alone gives %.4f: "
            "refining object and probe from the start",
            report.misfit.residual,
            report.misfit.expected,
        )
        config = RefineConfig(passes=QUICK_PASSES, refine_probe=True)
    else:
        if uncertainty:
            # The probe is that of all patterns.
            alike = partial(
                reconstruct, bundle, backend=backend, execution=execution, keep_probe=True
            )
            used = replace(scan, probe=report.result.probe)
            report = _with_uncertainty(stop, report, used, alike, NETWORK_FACTOR)
        return report
    with progress(config.passes) as bar:
        try:
            further = _refine(
                scan,
                start,
                config,
                backend=backend,
                execution=execution,
                uncertainty=uncertainty,
                progress=bar,
                stop=stop,
            )
        except Interrupted:
            # Before its first pass was finished.
            if stop.signal is None:
                raise
            return report
    stages = [*report.seconds, *further.seconds]
    spent = {s: report.seconds.get(s, 0.0) + further.seconds.get(s, 0.0) for s in stages}
    # After a few passes only it may still be worse than what the network found.
    better = stop.signal is None or further.misfit.residual < report.misfit.residual
    return replace(further if better else report, seconds=spent)


def _network(
    bundle: Bundle,
    scan: Scan,
    backend: BackendName,
    execution: Execution,
    keep_probe: bool,
    progress: Progress,
) -> ReconstructionReport:
    """What the network alone gives."""
    config = config_of(bundle)
    start = time.perf_counter()
    if config.training.probe_trainable and not keep_probe:
        scan = _with_refined_probe(scan, bundle)
    prepared = prepare(scan)
    limit = execution.inference_batch_mib << 20
    solver = network_solver(get_ops(backend, execution), config.model, bundle.weights, limit)
    canvas = solver.solve(prepared, None, progress).canvas
    seconds = {"network": time.perf_counter() - start}
    stage: dict[str, Any] = {
        "stage": "network",
        "architecture": config.model.architecture,
        "corrections": list(canvas.corrections),
    }
    origin = {"model": bundle.manifest.model_dump(mode="json")}
    identity = prepared.fingerprint
    return _reported(canvas, prepared, scan, seconds, backend, [stage], origin, identity)


def refine(
    scan: Scan,
    start: Reconstruction | None = None,
    config: RefineConfig | None = None,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    uncertainty: bool = False,
    progress: Progress = SILENT,
    stop: StopFlag | None = None,
) -> ReconstructionReport:
    """Iterations on the object and, if asked for, the probe and the positions.

    They are plain physics steps, or those of pty-chi with ``config.engine = "ptychi"``.

    Parameters
    ----------
    scan : the measured patterns.
    start : a reconstruction of this scan to continue, with its probe and positions; an empty
        object when not given.
    config : what is refined and when it ends; the object alone, until nothing improves, when not
        given.
    uncertainty : state how far the result may be off (see :mod:`ptychopinn.evaluation.uncertainty`); its
        factor was determined for plain physics steps, and only they offer it.
    stop : when it is installed, a signal that comes once a pass is finished ends the iterations
        after the present update, and what they have found by then is the result, without an
        uncertainty. Which signal it was is in ``stop.signal``.

    Raises
    ------
    InputError
        When ``start`` does not belong to the scan, or pty-chi is asked for and not installed or not
        able to do what the other arguments say.
    TrainingError
        When the iterations of pty-chi diverge.
    Interrupted
        When ``stop`` is set before a pass was finished.
    """
    stop = StopFlag() if stop is None else stop
    config = RefineConfig() if config is None else config
    by: dict[str, Any] = {"engine": config.engine}
    if isinstance(config, PtychiConfig):
        execution = ptychi.execution_for(backend, execution, uncertainty)
        ptychi.require()
        by = ptychi.stage(config)
    backend, execution = choose(backend, execution)
    begun = time.perf_counter()
    stages: list[Any] = []
    identity = fingerprint(scan)
    if start is not None:
        scan = _continued(scan, start, identity)
        stages = list(start.provenance.get("stages", ()))
    prepared = prepare(scan)
    canvas = None
    if start is not None:
        canvas = Canvas(
            object=start.object / np.complex64(prepared.object_scale),
            weight=start.weight,
            origin_px=start.origin_px,
            losses=start.losses,
        )
    solver: Solver
    if isinstance(config, PtychiConfig):
        solver = ptychi.PtychiSolver(config, execution)
    else:
        assert isinstance(config, PhysicsConfig)  # there are two engines
        limit = execution.inference_batch_mib << 20
        solver = PhysicsSolver(get_ops(backend, execution), config, limit)
    refined = _until_stopped(solver, prepared, canvas, progress, stop)
    if config.refine_probe:
        probe = refined.probe / np.float32(prepared.input_scale * prepared.object_scale)
        scan = replace(scan, probe=probe)
    scan = replace(scan, positions_px=refined.positions_px)
    seconds = {"refinement": time.perf_counter() - begun}
    stage = {
        "stage": "refinement",
        **by,
        "passes": refined.passes,
        **config.model_dump(mode="json", include={"refine_probe", "refine_positions"}),
    }
    stages.append(stage)
    report = _reported(refined.canvas, prepared, scan, seconds, backend, stages, {}, identity)
    if not uncertainty:
        return report
    # Probe and positions are those of all patterns.
    alone = config.model_copy(update={"refine_probe": False, "refine_positions": False})
    return _with_uncertainty(
        stop,
        report,
        scan,
        lambda half: refine(half, None, alone, backend=backend, execution=execution).result,
        REFINED_FACTOR,
    )


class _Stopping:
    """A progress that stops the solver when a signal has come."""

    def __init__(self, progress: Progress, stop: StopFlag) -> None:
        self._progress, self._stop = progress, stop

    def epoch(self, number: int, steps: int) -> None:
        self._progress.epoch(number, steps)

    def step(self, loss: float, patterns_per_s: float) -> None:
        self._progress.step(loss, patterns_per_s)
        self._stop.check()

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        self._progress.epoch_done(number, metrics)


def _until_stopped(
    solver: Solver,
    scan: PreparedScan,
    start: Canvas | None,
    progress: Progress,
    stop: StopFlag,
) -> Solved:
    """What the solver finds until it ends, or until ``stop`` is set."""
    last = None
    try:
        for step in solver.run(scan, start, _Stopping(progress, stop)):
            last = step
            # From now on there is something to save.
            stop.gentle = True
            if stop.signal is not None:
                break
    except Stopped:
        pass
    if last is None:
        raise Interrupted(stop.signal or 0)
    return last.result()


# For reconstruct, where an argument has the same name.
_refine = refine


def _with_uncertainty(
    stop: StopFlag,
    report: ReconstructionReport,
    scan: Scan,
    run: Callable[[Scan], Reconstruction],
    factor: float,
) -> ReconstructionReport:
    """The report with an uncertainty, or as it is when ``stop`` is or gets set."""
    begun = time.perf_counter()
    try:
        try:
            stop.gentle = False
            if stop.signal is not None:
                raise Interrupted(stop.signal)
            log.info("the uncertainty: the same from two halves of the patterns")
            result = with_uncertainty(report.result, scan, run, factor)
        finally:
            stop.gentle = True
    except Interrupted:
        stop.gentle = True
        if stop.signal is None:
            # Another one was in charge.
            raise
        return report
    seconds = {**report.seconds, "uncertainty": time.perf_counter() - begun}
    return replace(report, result=result, seconds=seconds)


def _continued(scan: Scan, start: Reconstruction, identity: str) -> Scan:
    """The scan with the probe and the positions of an earlier result of it."""
    known, file = recorded(start.provenance)
    if start.positions_px.shape != scan.positions_px.shape or start.probe.shape[-1] != scan.N:
        raise InputError(
            f"a result is refined with its own scan, received one of {len(start.positions_px)} "
            f"patterns with N = {start.probe.shape[-1]} and a scan of {scan.M} with N = {scan.N}; "
            "give the scan it was made from."
        )
    other = None if known is None else difference(known, identity)
    if other is not None:
        whose = "the scan it was made from" if file is None else f"'{file}', it was made from"
        raise InputError(
            f"a result is refined with its own scan, received '{scan.name}', whose {other} are not "
            f"those of {whose}; give that one with --scan SCAN, read with the same --units and "
            "--photons."
        )
    return replace(scan, probe=start.probe, positions_px=start.positions_px)


def _reported(
    canvas: Canvas,
    prepared: PreparedScan,
    scan: Scan,
    seconds: dict[str, float],
    backend: BackendName,
    stages: list[Any],
    origin: Mapping[str, Any],
    identity: str,
) -> ReconstructionReport:
    """A canvas in network units as a result in the units of the scan, with its misfit.

    ``identity`` is the fingerprint of the scan as it was given.
    """
    result = Reconstruction(
        object=canvas.object * np.complex64(prepared.object_scale),
        origin_px=canvas.origin_px,
        weight=canvas.weight,
        probe=scan.probe,
        positions_px=scan.positions_px,
        pixel_size_m=scan.pixel_size_m,
        energy_eV=scan.energy_eV,
        distance_m=scan.distance_m,
        propagation=scan.propagation,
        focus_distance_m=scan.focus_distance_m,
        losses=canvas.losses,
        name=scan.name,
    )
    start = time.perf_counter()
    fit = misfit(result, scan)
    provenance: dict[str, Any] = {
        **origin,
        "stages": stages,
        "scan": {
            "name": scan.name,
            "patterns": scan.M,
            "N": scan.N,
            **dict(scan.provenance),
            "fingerprint": identity,
        },
        "backend": backend,
        "versions": package_versions(),
        "global_scale": fit.scale,
        "fit": fit.summary(),
    }
    result = replace(result, object=result.object * np.complex64(fit.scale), provenance=provenance)
    seconds["misfit"] = time.perf_counter() - start
    return ReconstructionReport(result, fit, seconds, backend)
