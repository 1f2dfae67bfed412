"""The verbs that make a model, independent of backend and command line: train and pretrain."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ptychopinn.checks.base import LATER, chosen_names
from ptychopinn.checks.slips import NAME as SLIP
from ptychopinn.config import Config
from ptychopinn.data.fingerprint import identity_of
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.io.models import Bundle, Manifest
from ptychopinn.networks.architecture import PatchConfig
from ptychopinn.networks.build import Weights
from ptychopinn.networks.unrolled import with_further_passes
from ptychopinn.ops.base import Ops
from ptychopinn.ops.options import Execution, NumpyExecution
from ptychopinn.ops.selector import BackendName, choose, get_ops
from ptychopinn.solvers.probe_check import ProbeCheck, probe_trial
from ptychopinn.training import pretraining, run
from ptychopinn.training.health import metrics_at_best
from ptychopinn.training.loggers import require_log
from ptychopinn.training.objective import OwnLoss, Prediction
from ptychopinn.workflows.alternatives import likely_cause
from ptychopinn.workflows.checking import in_right_geometry, leaves_much, mended
from ptychopinn.workflows.listening import Listening, stages_of
from ptychopinn.workflows.model import AnyModel, Model, open_model, package_versions
from ptychopinn.workflows.results import require_kind, require_scan

log = logging.getLogger(__name__)


def train(
    scans: Scan | Sequence[Scan],
    config: Config | None = None,
    *,
    backend: BackendName | None = None,
    directory: str | Path | None = None,
    execution: Execution | None = None,
    resume: bool = False,
    start: AnyModel | None = None,
    probe_check: bool = True,
    loss: Callable[[Ops, Prediction], Any] | None = None,
    replace_loss: bool = False,
    no_mend: Collection[str] = (),
    progress: Listening = None,
) -> Model:
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
        new network when not given. Options of the network that ``config`` does not set are its own;
        of those that are set only the number of passes may be another, a larger one.
    probe_check : refuse a probe that does not fit the data (see
        :mod:`ptychopinn.solvers.probe_check`); a trainable probe is only reported. Where it does
        not, other orientations of the scan are tried first.
    loss : a loss of your own, added to the configured terms: a real scalar, made with the
        operations ``xp`` of the framework (:class:`ptychopinn.ops.base.Ops`) from what the network
        predicts (:class:`ptychopinn.training.objective.Prediction`). The manifest of the model
        notes its name.
    no_mend : names of checks that are left out (see :func:`ptychopinn.check_scan`), or "all".
    replace_loss : let ``loss`` take the place of the configured terms.
    progress : True for a bar on stderr, or a :class:`ptychopinn.contracts.Progress` called after
        every epoch; nothing is shown when not given.

    Raises
    ------
    InputError
        When scans, configuration and probe do not fit together.
    TrainingError
        When training collapses, diverges or meets a NaN.
    """
    several = isinstance(scans, Sequence) and not isinstance(scans, str)
    chosen: list[Scan] = [*cast(Any, scans)] if several else [cast(Any, scans)]
    for scan in chosen:
        require_scan(scan, config, "train(scans, config)")
    require_kind(config, Config, "config", "write Config(training={'epochs': 20})")
    stages = stages_of(progress, "epoch", "loss")
    own = _own_loss(loss, replace_loss)
    parent = None if start is None else open_model(start)
    config = complete(_like(parent, Config() if config is None else config), chosen)
    if resume and backend is None and directory is not None:
        backend = run.backend_of_run(Path(directory))
    backend, execution = choose(backend, execution, training=True)
    xp = get_ops(backend, execution)
    if directory is not None:
        # Known before the scans are looked at, which takes seconds.
        require_log(xp.execution.logger, Path(directory))
    identities: list[Any] = [identity_of(scan) for scan in chosen]
    judged = [_check(mended(scan, no_mend), config, probe_check, no_mend) for scan in chosen]
    prepared, checks = [p for p, _ in judged], [check for _, check in judged]
    begin = None if parent is None else _start_of(parent, config)
    begun = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as temporary,
        stages(config.training.epochs) as listener,
    ):
        outcome = run.train(
            xp,
            prepared,
            config,
            Path(temporary if directory is None else directory),
            resume=resume,
            start=begin,
            own_loss=own,
            progress=listener,
        )
    seconds = time.perf_counter() - begun
    assert backend != "numpy"  # choose() has refused it
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
            "scan_fingerprints": identities,
            "further_trained": outcome.parent is not None,
            **({} if own is None else own.record),
            **_lineage(outcome.parent),
        },
        metrics=dict(metrics_at_best(outcome.history)),
    )
    bundle = Bundle(manifest, outcome.weights, outcome.probe)
    return Model(bundle, outcome.history, seconds, outcome.stopped_by)


def pretrain(
    config: Config,
    scans: int,
    *,
    backend: BackendName | None = None,
    directory: str | Path | None = None,
    execution: Execution | None = None,
    resume: bool = False,
    start: AnyModel | None = None,
    photographs: str | Path | None = None,
    progress: Listening = None,
) -> Model:
    """Train a network on simulated scans of every kind, with their known objects: a canvas network,
    or a patch network that sees the probe (``probe_input="channels"``), which is for one N.

    Each of the ``scans`` is drawn on the fly and seen once (see
    :mod:`ptychopinn.simulation.variety`). The model serves every backend.

    Parameters
    ----------
    config : the network, and how it is optimised; a hundred scans count as an epoch.
    scans : how many, from the start of the run.
    backend, execution, resume, start, progress : as in :func:`train`.
    directory : where checkpoints and logs go; nowhere when not given.
    photographs : folder of pictures that objects are cut from, beside those of the package.

    Raises
    ------
    InputError
        When it is a patch network that does not see the probe or knows no N, ``start`` is of
        another architecture, or there is nothing to resume.
    TrainingError
        When the loss is not finite, or the memory does not suffice.
    """
    folder = None if directory is None else Path(directory)
    pictures = None if photographs is None else Path(photographs)
    if resume and backend is None and folder is not None:
        backend = run.backend_of_run(folder)
    backend, execution = choose(backend, execution, training=True)
    parent = None if start is None else open_model(start)
    config = _like(parent, config)
    begin = None if parent is None else _start_of(parent, config)
    begun = time.perf_counter()
    stages = stages_of(progress, "epoch", "loss")
    with stages(math.ceil(scans / pretraining.REPORT)) as listener:
        outcome = pretraining.pretrain(
            get_ops(backend, execution),
            config,
            scans,
            folder,
            resume=resume,
            start=begin,
            photographs=pictures,
            progress=listener,
        )
    seconds = time.perf_counter() - begun
    assert backend != "numpy"  # choose() has refused it
    manifest = Manifest(
        backend=backend,
        config=config.model_dump(mode="json"),
        versions=package_versions(),
        seed=config.training.seed,
        statistics={
            "simulated_scans": outcome.scans,
            **_lineage(outcome.parent),
        },
        metrics={name: points[-1][1] for name, points in outcome.history.items() if points},
    )
    # Every bundle holds a probe; this network was trained with a new one in every scan.
    n = config.model.N if isinstance(config.model, PatchConfig) else None
    probe = pretraining.drawn_scan(config.training.seed, None, 0, n).scan.probe
    bundle = Bundle(manifest, outcome.weights, probe)
    return Model(bundle, outcome.history, seconds, outcome.stopped_by)


def _own_loss(function: Any, replaces: bool) -> OwnLoss | None:
    if function is None and replaces:
        raise InputError(
            "replace_loss needs a loss that takes the place of the configured terms, received "
            "none; give loss as well."
        )
    if function is not None and not callable(function):
        raise InputError(
            f"loss must be a function of the operations and the prediction, received "
            f"{shown(function)}; the weights of the usual terms are in the configuration."
        )
    return None if function is None else OwnLoss(function, replaces)


def _lineage(parent: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the manifest of a model says of the one that it was trained from, back to the first."""
    return {} if parent is None else {"parent": dict(parent)}


def _like(parent: Model | None, config: Config) -> Config:
    """The configuration with the network of the model to start from, but for what was given."""
    own = config.model
    if parent is None or own.architecture != parent.config.model.architecture:
        return config
    given = own.model_dump(include={*own.model_fields_set, "mode"})
    return config.model_copy(update={"model": parent.config.model.model_copy(update=given)})


def _start_of(model: Model, config: Config) -> run.Start:
    """A model to train further as a network with these options, of which the number of passes may
    be larger."""
    weights: Weights | None = model.weights
    if model.config.model.describe() != config.model.describe():
        weights = with_further_passes(model.weights, model.config.model, config.model)
    if weights is None:
        raise InputError(
            "a model is trained further with its own network, received other options of it than "
            "more iterations; leave those out, or leave out the option start."
        )
    said = {"created", "seed", "statistics"}
    return run.Start(weights, model.manifest.model_dump(mode="json", include=said))


def complete(config: Config, scans: Sequence[Scan]) -> Config:
    """Fill in what follows from the data (N), and check that the scans belong together."""
    if not scans:
        raise InputError("training needs at least one scan, received none; give a scan file.")
    sizes = sorted({scan.N for scan in scans})
    if len(sizes) > 1:
        raise InputError(
            f"all training scans must have the same N, received {sizes}; crop or bin them alike."
        )
    return config.model_copy(update={"model": config.model.for_patterns(sizes[0])})


def _check(
    scan: Scan,
    config: Config,
    refuse: bool,
    no_mend: Collection[str],
) -> tuple[PreparedScan, ProbeCheck]:
    """A scan with its scales, turned or put in step where that is due, and whether its probe
    fits."""
    prepared = prepare(scan)
    trial = probe_trial(prepared)
    # TensorFlow takes its threads once for a process: they are those of the training.
    apart = NumpyExecution()
    if refuse:
        # Of frames that were lost far from the middle nothing is seen there.
        seen = leaves_much(trial.check.residual, trial.check.expected)
        others = set() if seen else {name for name in LATER if name != SLIP}
        turned = in_right_geometry(scan, "numpy", apart, chosen_names(no_mend) | others)
        if turned is not scan:
            prepared = prepare(turned)
            trial = probe_trial(prepared)
    result, cause = trial.check, None
    if leaves_much(result.residual, result.expected):
        cause = likely_cause(trial, "numpy", apart, no_mend)
    # What helps against it is said for results.
    likely = "" if cause is None else f", likely because {cause.rpartition(';')[0]}"
    inexact = "probe or positions are not exact" if cause is None else "the scan is not exact"
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
            f"plain physics steps leave a residual of {result.residual:.3f} where photon noise "
            f"alone gives {result.expected:.3f}{likely}; correct order, sign and unit of the "
            "positions if it is right, else give a better one with the option probe, refine it "
            "with probe_trainable=True, or train all the same with probe_check=False."
        )
    if result.verdict != "good" or cause is not None:
        log.warning(
            "%s FIT of plain physics steps to '%s': a residual of %.4f where photon noise alone "
            "gives %.4f%s; %s, and neither will be the model",
            "POOR" if result.verdict == "poor" else "DOUBTFUL",
            prepared.scan.name,
            result.residual,
            result.expected,
            likely,
            inexact,
        )
    return prepared, result
