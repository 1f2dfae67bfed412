"""A run on disk: its files, what identifies it, and whether it can be gone on with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.backends.base import TrainingOutcome
from ptychopinn.config import Config
from ptychopinn.data.fingerprint import difference
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.errors import InputError, TrainingError
from ptychopinn.ops.selector import BACKENDS, BackendName
from ptychopinn.training.checkpoint import damaged, read_checkpoint
from ptychopinn.training.history import History

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"
METRICS = "metrics.csv"
# The options that may change on resuming.
MAY_CHANGE = {"epochs", "early_stopping", "collapse_patience"}


def run_record(config: Config, scans: Sequence[PreparedScan]) -> dict[str, Any]:
    """What a run that is resumed must have in common with the one it continues."""
    identities = []
    for prepared in scans:
        scan = prepared.scan
        digest = hashlib.sha256(f"{scan.M} {scan.N} {prepared.counts:.6g}".encode())
        for array in (scan.positions_px, scan.probe, scan.good_pixels):
            digest.update(np.ascontiguousarray(array).tobytes())
        identities.append(digest.hexdigest())
    return {
        "config": config.model_dump(mode="json"),
        "scans": identities,
        "fingerprints": [prepared.fingerprint for prepared in scans],
    }


def backend_of_run(folder: Path) -> BackendName | None:
    """Which backend wrote the last checkpoint in the folder of a run; None when there is none."""
    path = folder / CHECKPOINTS / LAST
    if not path.exists():
        return None
    name, _, _ = read_checkpoint(path)
    for known in BACKENDS:
        if name == known:
            return known
    damaged(path, ValueError(f"the unknown backend '{name}'"))


def check_resumable(folder: Path, backend: BackendName) -> Path:
    """The checkpoint to go on from in the folder of a run.

    Raises
    ------
    InputError
        When there is none, or another backend wrote it.
    """
    path = folder / CHECKPOINTS / LAST
    earlier = backend_of_run(folder)
    if earlier is None:
        raise InputError(
            f"--resume needs a finished epoch of an earlier run, received none at '{path}'; start "
            "again with --force instead."
        )
    if earlier != backend:
        raise InputError(
            f"--resume continues a run with its own backend, received {backend} where it has "
            f"{earlier}: only that one can read the state of its optimiser; add --backend "
            f"{earlier}, or start a new run in another folder."
        )
    return path


def check_resumed(
    record: Mapping[str, Any], epochs_done: int, config: Config, scans: Sequence[PreparedScan]
) -> None:
    """Raise InputError unless these can continue the run with this record."""
    now = run_record(config, scans)
    for section, options in now["config"].items():
        for name, value in options.items():
            earlier = record.get("config", {}).get(section, {}).get(name)
            if value != earlier and name not in MAY_CHANGE:
                raise InputError(
                    f"--resume continues a run with its own options, received {name} = {value} "
                    f"where it has {earlier}; leave that out, or start a new run in another folder."
                )
    # Runs of earlier versions have no fingerprints.
    earlier = record.get("fingerprints", now["fingerprints"])
    for prepared, one, other in zip(scans, earlier, now["fingerprints"], strict=False):
        if one != other:
            raise InputError(
                f"--resume continues a run with its own scans, received "
                f"'{prepared.scan.name}', whose {difference(str(one), other)} are others; give "
                "the same, or start a new run in another folder."
            )
    if record.get("scans") != now["scans"]:
        raise InputError(
            "--resume continues a run with its own scans and probes, received others; give the "
            "same, or start a new run in another folder."
        )
    if config.training.epochs < epochs_done:
        raise InputError(
            f"--epochs counts from the start of a run, received {config.training.epochs} for one "
            f"that has finished {epochs_done}; give at least {epochs_done}."
        )


def threads_of_run(record: Mapping[str, Any], now: int, asked: int | None) -> int | None:
    """The number of threads to go on with: the one that the run with this record has had, on which
    the last bits of its results depend, unless another one is asked for.

    ``now`` is the number without a wish. It is logged what becomes of that.
    """
    earlier = record.get("threads")
    if not isinstance(earlier, int) or earlier < 1:
        return asked
    if asked is None:
        if earlier != now:
            log.info("going on with %d threads, as this run has had", earlier)
        return earlier
    if asked != earlier:
        log.warning(
            "going on with %d threads where this run has had %d: the last digits of its results "
            "will differ from those of an uninterrupted run",
            asked,
            earlier,
        )
    return asked


def outcome(
    weights: Mapping[str, NDArray[np.float32]],
    probe: NDArray[np.complex64] | None,
    first: PreparedScan,
    history: History,
    stopped_by: int | None,
) -> TrainingOutcome:
    """What training hands back; ``probe`` is the refined one of the first scan, network units.

    Raises
    ------
    TrainingError
        When weights or probe are not finite.
    """
    kept = first.scan.probe
    if probe is not None:
        kept = (probe / np.float32(first.input_scale * first.object_scale)).astype(np.complex64)
    if not all(np.isfinite(array).all() for array in (*weights.values(), kept)):
        raise TrainingError(
            "the weights must stay finite, received NaN or infinity: training diverged; lower "
            "--learning-rate or --gradient-clip-val."
        )
    return TrainingOutcome(
        weights=weights,
        probe=kept,
        history={name: list(points) for name, points in history.items()},
        stopped_by=stopped_by,
    )
