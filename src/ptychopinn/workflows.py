"""The two verbs of the product, independent of backend and command line: train and reconstruct."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.backends.base import Progress, Silent
from ptychopinn.backends.options import Execution
from ptychopinn.backends.selector import BackendName, choose, get_backend
from ptychopinn.bundle import Bundle, Manifest, check_weights, load_bundle, save_bundle
from ptychopinn.config import Config, validated
from ptychopinn.errors import InputError
from ptychopinn.evaluation.misfit import Misfit, misfit
from ptychopinn.networks.registry import describe, family
from ptychopinn.physics.scaling import reconcile_probe
from ptychopinn.preparation import PreparedScan, mean_counts, prepare
from ptychopinn.probe_check import ProbeCheck, check_probe
from ptychopinn.result import Reconstruction
from ptychopinn.scan import Scan
from ptychopinn.training.history import metrics_at_best
from ptychopinn.training.run import backend_of_run

log = logging.getLogger(__name__)

# Package -> names under which it may be installed.
RECORDED: Mapping[str, tuple[str, ...]] = {
    "ptychopinn": ("ptychopinn",),
    "numpy": ("numpy",),
    "torch": ("torch",),
    "lightning": ("lightning",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "keras": ("keras",),
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
        """Write the bundle ``wts.h5.zip`` (see :func:`ptychopinn.bundle.save_bundle`)."""
        save_bundle(self.bundle, path, force=force)


def train(
    scans: Scan | Sequence[Scan],
    config: Config | None = None,
    *,
    backend: BackendName | None = None,
    directory: str | Path | None = None,
    execution: Execution | None = None,
    resume: bool = False,
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
    probe_check : refuse a probe that does not fit the data (see :mod:`ptychopinn.probe_check`); a
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
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        outcome = computing.train(
            prepared,
            config,
            execution,
            Path(temporary if directory is None else directory),
            resume=resume,
            progress=Silent() if progress is None else progress,
        )
    seconds = time.perf_counter() - start
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
        },
        metrics=dict(metrics_at_best(outcome.history)),
    )
    bundle = Bundle(manifest, outcome.weights, outcome.probe)
    return TrainedModel(bundle, outcome.history, seconds, outcome.stopped_by)


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
    probe, factor = reconcile_probe(bundle.probe, mean_counts(scan), scan.mask)
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
) -> Reconstruction:
    """Reconstruct every pattern of a scan with a trained model.

    The object is in the units of the scan's probe; one global factor makes the modelled counts
    equal the measured ones. When the model refined a probe in training, that one is used, unless
    ``keep_probe`` is set. Any ``backend`` can use a model, whichever trained it.

    Raises
    ------
    InputError
        When the model does not fit the scan, or its file is not a valid bundle.
    """
    return reconstruct_with_report(
        model, scan, backend=backend, execution=execution, keep_probe=keep_probe
    ).result


def reconstruct_with_report(
    model: TrainedModel | Bundle | str | Path,
    scan: Scan,
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    keep_probe: bool = False,
) -> ReconstructionReport:
    """Like :func:`reconstruct`, with the misfit and the timings.

    ``keep_probe`` uses the probe of the scan even when the model refined one of its own.
    """
    if isinstance(model, TrainedModel):
        model = model.bundle
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    config = config_of(bundle)
    backend, execution = choose(backend, execution)
    computing = get_backend(backend)
    start = time.perf_counter()
    if config.training.probe_trainable and not keep_probe:
        scan = _with_refined_probe(scan, bundle)
    prepared = prepare(scan)
    canvas = computing.reconstruct(config, bundle.weights, prepared, execution)
    network_s = time.perf_counter() - start
    result = Reconstruction(
        object=canvas.object * np.complex64(prepared.object_scale),
        origin_px=canvas.origin_px,
        weight=canvas.weight,
        probe=scan.probe,
        positions_px=scan.positions_px,
        pixel_size_m=scan.pixel_size_m,
        energy_eV=scan.energy_eV,
        distance_m=scan.distance_m,
        losses=canvas.losses,
        name=scan.name,
    )
    start = time.perf_counter()
    fit = misfit(result, scan)
    provenance: dict[str, Any] = {
        "model": bundle.manifest.model_dump(mode="json"),
        "scan": {"name": scan.name, "patterns": scan.M, "N": scan.N, **dict(scan.provenance)},
        "backend": backend,
        "versions": package_versions(),
        "global_scale": fit.scale,
        "fit": fit.summary(),
    }
    result = replace(result, object=result.object * np.complex64(fit.scale), provenance=provenance)
    seconds = {"network": network_s, "misfit": time.perf_counter() - start}
    return ReconstructionReport(result, fit, seconds, backend)
