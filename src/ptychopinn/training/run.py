"""A run on disk: its files, what identifies it, and whether it can be gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.backends.base import TrainingOutcome
from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.errors import InputError, TrainingError
from ptychopinn.ops.selector import BACKENDS, BackendName
from ptychopinn.training.checkpoint import damaged, read_checkpoint
from ptychopinn.training.history import History

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
    return {"config": config.model_dump(mode="json"), "scans": identities}


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
