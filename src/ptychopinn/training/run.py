"""A run on disk: its files, what identifies it, how it starts and is resumed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.contracts import SILENT, Progress
from ptychopinn.data.fingerprint import difference
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.errors import InputError, TrainingError, shown
from ptychopinn.machine.interruption import StopFlag
from ptychopinn.networks.build import BuiltNetwork, Weights, initial_weights
from ptychopinn.ops.base import Ops
from ptychopinn.ops.selector import BACKENDS, BackendName
from ptychopinn.training.checkpoint import Checkpoint, damaged, read_checkpoint
from ptychopinn.training.data import known_object, needs_truth
from ptychopinn.training.families import group_task
from ptychopinn.training.health import judge_result
from ptychopinn.training.loggers import Log, log_of
from ptychopinn.training.loop import CHECKPOINTS, LAST, RECORD, Loop
from ptychopinn.training.monitor import Monitor
from ptychopinn.training.objective import OwnLoss
from ptychopinn.training.tasks import Task

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Task)

METRICS = "metrics.csv"
# The options that may change on resuming.
MAY_CHANGE = {"epochs", "early_stopping", "collapse_patience"}


@dataclass(frozen=True, eq=False)
class Start:
    """A model that is trained further.

    weights : its parameters.  parent : plain data that says which model it is, for the record.
    """

    weights: Weights
    parent: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a training hands back.

    weights : parameters by the names of the network description, float32.
    history : metric -> (epoch, value) pairs, epochs counted from 1.
    stopped_by : number of the signal that ended the run early, or None.
    parent : of the model that the run started from, also when it was resumed; None for a new one.
    """

    weights: Mapping[str, NDArray[np.float32]]
    history: Mapping[str, Sequence[tuple[int, float]]]
    stopped_by: int | None
    parent: Mapping[str, Any] | None


@dataclass(frozen=True, eq=False)
class TrainingOutcome(Outcome):
    """``val_loss`` chose the weights.  probe : (P, N, N) complex64 of the first scan,
    sqrt(counts)."""

    probe: NDArray[np.complex64]


# --- what identifies a run ----------------------------------------------------------------------


def run_record(scans: Sequence[PreparedScan], own_loss: OwnLoss | None) -> dict[str, Any]:
    """What a run that is resumed must have in common with the one it continues, beside its
    options."""
    identities = []
    for prepared in scans:
        scan = prepared.scan
        digest = hashlib.sha256(f"{scan.M} {scan.N} {prepared.counts:.6g}".encode())
        for array in (scan.positions_px, scan.probe, scan.good_pixels):
            digest.update(np.ascontiguousarray(array).tobytes())
        identities.append(digest.hexdigest())
    own = {} if own_loss is None else own_loss.record
    return {"scans": identities, "fingerprints": [p.fingerprint for p in scans], **own}


def backend_of_run(folder: Path) -> BackendName | None:
    """Which backend wrote the last checkpoint in the folder of a run; None when there is none."""
    path = folder / CHECKPOINTS / LAST
    return _backend_of(path, read_checkpoint(path)) if path.exists() else None


def _backend_of(path: Path, checkpoint: Checkpoint) -> BackendName:
    for known in BACKENDS:
        if checkpoint.backend == known:
            return known
    damaged(path, ValueError(f"the unknown backend '{checkpoint.backend}'"))


def to_resume(folder: Path, backend: str) -> tuple[Path, Checkpoint, dict[str, Any]]:
    """The checkpoint to go on from in the folder of a run, where it lies, and the record of the
    run.

    Raises InputError when there is none, it is damaged, or another backend wrote it."""
    path = folder / CHECKPOINTS / LAST
    if not path.exists():
        raise InputError(
            f"resume needs a finished epoch of an earlier run, received none at '{path}'; start "
            "again with force=True instead."
        )
    checkpoint = read_checkpoint(path)
    earlier = _backend_of(path, checkpoint)
    if earlier != backend:
        raise InputError(
            f"resume continues a run with its own backend, received {backend} where it has "
            f"{earlier}: only that one can read the state of its optimiser; use the backend "
            f"{earlier}, or start a new run in another folder."
        )
    record = checkpoint.state.get(RECORD)
    config = record.get("config") if isinstance(record, dict) else None
    if not isinstance(config, dict) or not all(isinstance(v, dict) for v in config.values()):
        damaged(path, ValueError("no record of its run"))
    assert isinstance(record, dict)
    return path, checkpoint, record


def check_config(record: Mapping[str, Any], config: Config) -> None:
    """Raise InputError unless ``config`` can continue the run with this record, in which an option
    that did not exist yet has its default."""
    for section, options in config.model_dump(mode="json").items():
        known = record["config"].get(section, {})
        fields = type(getattr(config, section)).model_fields
        for name, value in options.items():
            earlier = known.get(name, fields[name].get_default(call_default_factory=True))
            if value != earlier and name not in MAY_CHANGE:
                raise InputError(
                    f"resume continues a run with its own options, received {name}={value} "
                    f"where it has {earlier}; leave that out, or start a new run in another folder."
                )


def check_same(
    scans: Sequence[PreparedScan], now: Mapping[str, Any], record: Mapping[str, Any]
) -> None:
    """Raise InputError unless the run with this record has had what :func:`run_record` says
    ``now``."""
    if record.get("own_loss") != now.get("own_loss"):
        raise InputError(
            f"resume continues a run with its own loss, received {shown(now.get('own_loss'))} "
            f"where it has {shown(record.get('own_loss'))}; give the same function."
        )
    for prepared, one, other in zip(
        scans, record.get("fingerprints", ()), now["fingerprints"], strict=False
    ):
        if one != other:
            raise InputError(
                f"resume continues a run with its own scans, received '{prepared.scan.name}', "
                f"whose {difference(str(one), other)} are others; give the same, or start a new "
                "run in another folder."
            )
    if record.get("scans") != now["scans"]:
        raise InputError(
            "resume continues a run with its own scans and probes, received others; give the "
            "same, or start a new run in another folder."
        )


def parent_of(record: Mapping[str, Any] | None, start: Start | None) -> Mapping[str, Any] | None:
    """Of the model that a run started from, which one that is resumed remembers.

    Raises InputError when it is resumed from another model."""
    given = None if start is None else dict(start.parent)
    if record is None:
        return given
    earlier: Mapping[str, Any] | None = record.get("parent")
    if given is not None and given != earlier:
        raise InputError(
            "resume continues a run from its own weights, received another model to start from; "
            "leave the option start out, or start a new run in another folder."
        )
    return earlier


def as_before(xp: Ops, record: Mapping[str, Any]) -> Ops:
    """The operations with the number of threads that the run with this record has had, on which
    the last bits of its results depend, unless another one is asked for. It is logged what becomes
    of that."""
    earlier, asked = record.get("threads"), xp.execution.threads
    if not isinstance(earlier, int) or earlier < 1 or earlier == xp.threads:
        return xp
    changed = xp.with_threads(earlier) if asked is None else None
    if changed is None:
        log.warning(
            "going on with %d threads where this run has had %d: the last digits of its results "
            "will differ from those of an uninterrupted run",
            xp.threads,
            earlier,
        )
        return xp
    log.info("going on with %d threads, as this run has had", earlier)
    return changed


# --- a training ---------------------------------------------------------------------------------


def built_network(xp: Ops, config: Config, start: Start | None = None) -> BuiltNetwork:
    """The network of the configuration with the weights of ``start``, or with new ones."""
    description = config.model.describe()
    if start is None:
        return BuiltNetwork(xp, description, initial_weights(description, config.training.seed))
    return BuiltNetwork(xp, description, start.weights)


def begun(
    xp: Ops,
    config: Config,
    task_of: Callable[[BuiltNetwork], T],
    own: Mapping[str, Any],
    check: Callable[[Mapping[str, Any]], None],
    directory: Path | None,
    *,
    resume: bool,
    start: Start | None,
    progress: Progress,
    stop: StopFlag,
) -> tuple[Loop, T]:
    """The loop of a run and its task; checkpoints, tables and logs go to ``directory``, if there is
    one.

    ``own`` is what the record of this run says beside its options; ``check`` looks at the record of
    the one that is resumed.

    Raises InputError when there is nothing to resume, or another run than this one."""
    record, earlier = None, None
    if resume:
        if directory is None:
            raise InputError(
                "resume needs the folder of the run to go on with, received none; name it."
            )
        path, earlier, record = to_resume(directory, xp.name)
        check_config(record, config)
        check(record)
        xp = as_before(xp, record)
    options = config.model_dump(mode="json")
    parent = parent_of(record, start)
    record = {"config": options, **own, "threads": xp.threads, "parent": parent}
    network = built_network(xp, config, start)
    task = task_of(network)
    engine = xp.engine(task.variables)
    network.inside = engine.inside
    kind, table, epoch_log = xp.execution.logger, None, Log()
    if directory is not None and engine.ranks.first:
        table = directory / METRICS if kind == "csv" else None
        epoch_log = log_of(kind, directory, options, resume, xp.execution.picture_every)
    monitor = Monitor(config, task.schedule(), progress, table, task.judged)
    clip, readers = config.training.gradient_clip_val, xp.execution.num_workers
    loop = Loop(task, engine, monitor, stop, clip, directory, record, epoch_log, readers)
    if earlier is not None:
        loop.resume(path, earlier)
    return loop, task


def train(
    xp: Ops,
    scans: Sequence[PreparedScan],
    config: Config,
    directory: Path,
    *,
    resume: bool = False,
    start: Start | None = None,
    own_loss: OwnLoss | None = None,
    progress: Progress = SILENT,
    stop: StopFlag | None = None,
) -> TrainingOutcome:
    """Train a network on the scans; checkpoints and logs go to ``directory``.

    Nothing is written before everything was checked and the first epoch begins. ``start`` is the
    model to begin with, a new one when not given; ``own_loss`` is one of the user; ``stop`` ends
    the run after the step in which it is set.

    Raises InputError when the configuration does not fit the scans or the machine, or there is
    nothing to resume; TrainingError when training collapses, diverges, meets a NaN or runs out of
    memory."""
    if needs_truth(config):
        for scan in scans:
            known_object(scan)
    stop = StopFlag() if stop is None else stop
    own = run_record(scans, own_loss)
    loop, task = begun(
        xp,
        config,
        lambda network: group_task(config, network, scans, own_loss),
        own,
        partial(check_same, scans, own),
        directory,
        resume=resume,
        start=start,
        progress=progress,
        stop=stop,
    )
    if config.training.epochs < loop.epoch:
        raise InputError(
            f"epochs counts from the start of a run, received {config.training.epochs} for one "
            f"that has finished {loop.epoch}; give at least {loop.epoch}."
        )
    history = loop.monitor.history
    with stop.installed(), loop.engine.running():
        loop.run()
        if history:
            loop.take_best()
            patterns_matter = config.loss.nll_weight > 0 or config.loss.mae_weight > 0
            patterns_matter &= own_loss is None or not own_loss.replaces
            judge_result(history, fatal=stop.signal is None and patterns_matter)
        elif stop.signal is not None:
            log.warning("no epoch was finished: the model is what the steps so far have made of it")
        first, probe = scans[0], scans[0].scan.probe
        if task.probes.variables:
            scale = np.float32(first.input_scale * first.object_scale)
            probe = (task.probes.field(0) / scale).astype(np.complex64)
        weights = task.network.export_weights()
    check_finite(weights, probe)
    return TrainingOutcome(weights, history, stop.signal, loop.record["parent"], probe)


def check_finite(weights: Weights, *more: NDArray[Any]) -> None:
    """Raise TrainingError unless all arrays are finite."""
    if not all(np.isfinite(array).all() for array in (*weights.values(), *more)):
        raise TrainingError(
            "the weights must stay finite, received NaN or infinity: training diverged; lower "
            "learning_rate or gradient_clip_val."
        )
