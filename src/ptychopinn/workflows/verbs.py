"""The verbs of the product, independent of backend and command line: train, reconstruct, refine."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.config import Config, RefineConfig, validated
from ptychopinn.contracts import Canvas, Progress, Silent, Solver
from ptychopinn.data.normalization import PreparedScan, mean_counts, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation.misfit import Misfit, misfit
from ptychopinn.evaluation.uncertainty import NETWORK_FACTOR, REFINED_FACTOR, with_uncertainty
from ptychopinn.io.models import (
    BUNDLE_NAME,
    Bundle,
    Manifest,
    check_weights,
    load_bundle,
    save_bundle,
)
from ptychopinn.networks.registry import describe, family
from ptychopinn.networks.weights import Weights
from ptychopinn.ops.options import Execution, TorchExecution
from ptychopinn.ops.selector import BackendName, choose, get_ops
from ptychopinn.physics.scaling import reconcile_probe
from ptychopinn.solvers import ptychi
from ptychopinn.solvers.network import network_solver
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.solvers.probe_check import ProbeCheck, check_probe
from ptychopinn.training.history import metrics_at_best
from ptychopinn.training.run import backend_of_run

log = logging.getLogger(__name__)

# Name of the model that comes with the package.
PRETRAINED = "pretrained"

# Package -> names under which it may be installed.
RECORDED: Mapping[str, tuple[str, ...]] = {
    "ptychopinn": ("ptychopinn",),
    "numpy": ("numpy",),
    "torch": ("torch",),
    "lightning": ("lightning",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "keras": ("keras",),
    "ptychi": ("ptychi",),
}


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that shape a result."""
    found = {}
    for name, distributions in RECORDED.items():
        for distribution in distributions:
            try:
                found[name] = version(distribution)
            except PackageNotFoundError:
                continue
    return found


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model and how it came about.

    Attributes
    ----------
    bundle : Bundle
    history : metric name -> (epoch, value) pairs
    seconds : wall time of the training
    stopped_by : number of the signal that ended training early, or None
    """

    bundle: Bundle
    history: Mapping[str, Sequence[tuple[int, float]]]
    seconds: float
    stopped_by: int | None = None

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the bundle ``wts.h5.zip`` (see :func:`ptychopinn.io.models.save_bundle`)."""
        save_bundle(self.bundle, path, force=force)


def train(
    scans: Scan | Sequence[Scan],
    config: Config | None = None,
    *,
    backend: BackendName | None = None,
    directory: str | Path | None = None,
    execution: Execution | None = None,
    resume: bool = False,
    start: TrainedModel | Bundle | str | Path | None = None,
    probe_check: bool = True,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a network on one or more scans, without ground truth unless ``mode`` is supervised.

    Parameters
    ----------
    scans : the scans; all of one N.
    config : everything that determines the result; the default recipe when not given.
    backend : who computes; what is installed when not given, PyTorch if both are, and on resuming
        the one of the run.
    directory : where checkpoints and logs go; a temporary folder when not given.
    execution : options of that backend only.
    resume : continue from the last checkpoint in ``directory``.
    start : train this model further, ``"pretrained"`` for the one that comes with the package; a
        new network when not given. The options of its network must be those of ``config``.
    probe_check : refuse a probe that does not fit the data (see :mod:`ptychopinn.solvers.probe_check`); a
        trainable probe is only reported.

    Raises
    ------
    InputError
        When scans, configuration and probe do not fit together.
    TrainingError
        When training collapses, diverges or meets a NaN.
    """
    chosen = [scans] if isinstance(scans, Scan) else list(scans)
    config = complete(Config() if config is None else config, chosen)
    if resume and backend is None and directory is not None:
        backend = backend_of_run(Path(directory))
    backend, execution = choose(backend, execution, training=True)
    computing = get_backend(backend)
    prepared = [prepare(scan) for scan in chosen]
    checks = [_check(p, config, probe_check) for p in prepared]
    weights = None if start is None else _weights_for(start, config)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        outcome = computing.train(
            prepared,
            config,
            execution,
            Path(temporary if directory is None else directory),
            resume=resume,
            start=weights,
            progress=Silent() if progress is None else progress,
        )
    seconds = time.perf_counter() - begun
    first = prepared[0]
    manifest = Manifest(
        backend=backend,
        config=config.model_dump(mode="json"),
        versions=package_versions(),
        seed=config.training.seed,
        statistics={
            "N": first.scan.N,
            "patterns": sum(scan.M for scan in chosen),
            "mean_counts": first.counts,
            "input_scale": first.input_scale,
            "probe_residual": checks[0].residual,
            "probe_residual_expected": checks[0].expected,
            "scans": [scan.name for scan in chosen],
            "further_trained": start is not None,
        },
        metrics=dict(metrics_at_best(outcome.history)),
    )
    bundle = Bundle(manifest, outcome.weights, outcome.probe)
    return TrainedModel(bundle, outcome.history, seconds, outcome.stopped_by)


def pretrain(
    config: Config,
    steps: int,
    *,
    start: TrainedModel | Bundle | str | Path | None = None,
    execution: TorchExecution | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a canvas network on simulated scans of every kind, with their known objects.

    Each of the ``steps`` scans is drawn on the fly and seen once (see
    :mod:`ptychopinn.simulation.variety`). PyTorch does it; the model serves every backend.

    Raises
    ------
    InputError
        When the architecture is no canvas network, or ``start`` is of another one.
    """
    if family(config.model) != "canvas":
        raise InputError(
            f"pretraining needs a canvas network, received the architecture "
            f"{config.model.architecture}; use --architecture unrolled."
        )
    weights = None if start is None else _weights_for(start, config)
    choose("pytorch", execution)
    from ptychopinn.backends.pytorch.pretraining import DrawnScans
    from ptychopinn.backends.pytorch.pretraining import pretrain as run

    begun = time.perf_counter()
    trained, history, stopped_by = run(
        config,
        steps,
        TorchExecution() if execution is None else execution,
        start=weights,
        progress=Silent() if progress is None else progress,
    )
    manifest = Manifest(
        backend="pytorch",
        config=config.model_dump(mode="json"),
        versions=package_versions(),
        seed=config.training.seed,
        statistics={"simulated_scans": steps},
        metrics={name: points[-1][1] for name, points in history.items() if points},
    )
    # Every bundle holds a probe; this network was trained with a new one in every scan.
    probe = DrawnScans(config.training.seed, 1)[0].scan.probe
    bundle = Bundle(manifest, trained, probe)
    return TrainedModel(bundle, history, time.perf_counter() - begun, stopped_by)


def _weights_for(start: TrainedModel | Bundle | str | Path, config: Config) -> Weights:
    """The weights of a model for a network with these options."""
    bundle = open_model(start)
    if describe(config_of(bundle).model) != describe(config.model):
        raise InputError(
            "a model is trained further with its own network, received other options of it; leave "
            "those out, or start without --from."
        )
    return bundle.weights


def complete(config: Config, scans: Sequence[Scan]) -> Config:
    """Fill in what follows from the data (N), and check that the scans belong together."""
    if not scans:
        raise InputError("training needs at least one scan, received none; give a scan file.")
    sizes = sorted({scan.N for scan in scans})
    if len(sizes) > 1:
        raise InputError(
            f"all training scans must have the same N, received {sizes}; crop or bin them alike."
        )
    model = config.model
    if family(model) == "canvas":
        return config
    if model.N is not None and sizes[0] != model.N:
        raise InputError(
            f"the option N must be the pattern size of the scan, received {model.N} for "
            f"patterns of {sizes[0]}; leave N out."
        )
    return config.model_copy(update={"model": model.model_copy(update={"N": sizes[0]})})


def _check(prepared: PreparedScan, config: Config, refuse: bool) -> ProbeCheck:
    result = check_probe(prepared)
    log.info(
        "probe of '%s': plain physics steps leave a residual of %.4f; photon noise alone gives "
        "%.4f",
        prepared.scan.name,
        result.residual,
        result.expected,
    )
    if not result.fits and refuse and not config.training.probe_trainable:
        raise InputError(
            f"the probe must fit the data, received one of '{prepared.scan.name}' with which even "
            f"plain "
            f"physics steps leave a residual of {result.residual:.3f} where photon noise alone "
            f"gives "
            f"{result.expected:.3f}; give a better one with --probe FILE:KEY, refine it with "
            "--probe-trainable, or train all the same with --no-probe-check."
        )
    return result


def config_of(bundle: Bundle) -> Config:
    """The configuration a bundle was trained with; its weights are checked against it."""
    config = validated(Config, bundle.manifest.config)
    shapes = describe(config.model).parameter_shapes()
    check_weights(bundle.weights, {name: (shape, np.float32) for name, shape in shapes.items()})
    return config


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


def open_model(model: TrainedModel | Bundle | str | Path) -> Bundle:
    """The bundle of a model; ``"pretrained"`` is the one that comes with the package.

    Raises
    ------
    InputError
        When the file is not a valid bundle.
    """
    if isinstance(model, TrainedModel):
        return model.bundle
    if isinstance(model, Bundle):
        return model
    if str(model) == PRETRAINED:
        with as_file(files("ptychopinn") / "pretrained" / BUNDLE_NAME) as path:
            return load_bundle(path)
    return load_bundle(model)


def reconstruct(
    model: TrainedModel | Bundle | str | Path,
    scan: Scan,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    keep_probe: bool = False,
    uncertainty: bool = False,
) -> Reconstruction:
    """Reconstruct every pattern of a scan with a trained model.

    The object is in the units of the scan's probe; one global factor makes the modelled counts
    equal the measured ones. When the model refined a probe in training, that one is used, unless
    ``keep_probe`` is set. Any ``backend`` can use a model, whichever trained it. The model
    ``"pretrained"`` comes with the package and suits scans that nobody trained on. With
    ``uncertainty`` the result states how far it may be off (see :mod:`ptychopinn.evaluation.uncertainty`).

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
    ).result


def reconstruct_with_report(
    model: TrainedModel | Bundle | str | Path,
    scan: Scan,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    keep_probe: bool = False,
    uncertainty: bool = False,
) -> ReconstructionReport:
    """Like :func:`reconstruct`, with the misfit and the timings.

    ``keep_probe`` uses the probe of the scan even when the model refined one of its own.
    """
    bundle = open_model(model)
    config = config_of(bundle)
    backend, execution = choose(backend, execution)
    start = time.perf_counter()
    if config.training.probe_trainable and not keep_probe:
        scan = _with_refined_probe(scan, bundle)
    prepared = prepare(scan)
    solver = network_solver(get_ops(backend, execution), config.model, bundle.weights, execution)
    canvas = solver.solve(prepared).canvas
    seconds = {"network": time.perf_counter() - start}
    stage: dict[str, Any] = {
        "stage": "network",
        "architecture": config.model.architecture,
        "corrections": list(canvas.corrections),
    }
    origin = {"model": bundle.manifest.model_dump(mode="json")}
    report = _reported(canvas, prepared, scan, seconds, backend, [stage], origin)
    if not uncertainty:
        return report
    return _with_uncertainty(
        report,
        scan,
        lambda half: reconstruct(
            bundle, half, backend=backend, execution=execution, keep_probe=True
        ),
        NETWORK_FACTOR,
    )


def refine(
    scan: Scan,
    start: Reconstruction | None = None,
    config: RefineConfig | None = None,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    uncertainty: bool = False,
    progress: Progress | None = None,
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

    Raises
    ------
    InputError
        When ``start`` does not belong to the scan, or pty-chi is asked for and not installed or not
        able to do what the other arguments say.
    TrainingError
        When the iterations of pty-chi diverge.
    """
    config = RefineConfig() if config is None else config
    by: dict[str, Any] = {"engine": config.engine}
    if config.engine == "ptychi":
        execution = ptychi.execution_for(backend, execution, uncertainty)
        ptychi.require()
        by = ptychi.stage(config)
    backend, execution = choose(backend, execution)
    begun = time.perf_counter()
    stages: list[Any] = []
    if start is not None:
        scan = _continued(scan, start)
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
    if config.engine == "ptychi":
        solver = ptychi.PtychiSolver(config, execution)
    else:
        limit = execution.inference_batch_mib << 20
        solver = PhysicsSolver(get_ops(backend, execution), config, limit)
    refined = solver.solve(prepared, canvas, progress)
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
    report = _reported(refined.canvas, prepared, scan, seconds, backend, [*stages, stage], {})
    if not uncertainty:
        return report
    # Probe and positions are those of all patterns.
    alone = config.model_copy(update={"refine_probe": False, "refine_positions": False})
    return _with_uncertainty(
        report,
        scan,
        lambda half: refine(half, None, alone, backend=backend, execution=execution).result,
        REFINED_FACTOR,
    )


def _with_uncertainty(
    report: ReconstructionReport,
    scan: Scan,
    run: Callable[[Scan], Reconstruction],
    factor: float,
) -> ReconstructionReport:
    begun = time.perf_counter()
    result = with_uncertainty(report.result, scan, run, factor)
    seconds = {**report.seconds, "uncertainty": time.perf_counter() - begun}
    return replace(report, result=result, seconds=seconds)


def _continued(scan: Scan, start: Reconstruction) -> Scan:
    """The scan with the probe and the positions of an earlier result of it."""
    if start.positions_px.shape != scan.positions_px.shape or start.probe.shape[-1] != scan.N:
        raise InputError(
            f"a result is refined with its own scan, received one of {len(start.positions_px)} "
            f"patterns with N = {start.probe.shape[-1]} and a scan of {scan.M} with N = {scan.N}; "
            "give the scan it was made from."
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
) -> ReconstructionReport:
    """A canvas in network units as a result in the units of the scan, with its misfit."""
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
        "scan": {"name": scan.name, "patterns": scan.M, "N": scan.N, **dict(scan.provenance)},
        "backend": backend,
        "versions": package_versions(),
        "global_scale": fit.scale,
        "fit": fit.summary(),
    }
    result = replace(result, object=result.object * np.complex64(fit.scale), provenance=provenance)
    seconds["misfit"] = time.perf_counter() - start
    return ReconstructionReport(result, fit, seconds, backend)
