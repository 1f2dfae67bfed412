"""What accompanies the training loop: health, progress, the table of metrics, checkpoints."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping

from ptychopinn.backends.base import Progress
from ptychopinn.backends.pytorch.family import Batch
from ptychopinn.errors import TrainingError
from ptychopinn.files import atomic_path

BEST, LAST = "best.ckpt", "last.ckpt"

# An object whose relative standard deviation is below this is flat.
FLAT = 1e-3
# Share of the structure in the patterns that a useful object explains at the very least.
EXPLAINED = 0.01
# Every network starts as a flat object (0); one that is this much worse has diverged.
DIVERGED = -0.5
# A loss that fell by less than this share has not improved.
IMPROVEMENT = 1e-3

History = dict[str, list[tuple[int, float]]]


def explains(metrics: dict[str, float]) -> bool:
    """Whether the object does better than a flat one, or there is nothing to explain."""
    if "explained" not in metrics:
        return True
    return metrics["explained"] >= EXPLAINED and metrics["object_std"] >= FLAT


class HealthCheck(Callback):
    """Stops a run that makes no progress while its object is no better than a flat one.

    A network that starts slowly but whose loss still falls is left alone, and so is a scan in which
    nothing but photon noise distinguishes the patterns.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.bad_epochs = 0
        self.best = math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"bad_epochs": self.bad_epochs, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.bad_epochs, self.best = state_dict["bad_epochs"], state_dict["best"]

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.judge(trainer.current_epoch + 1, metrics)

    def judge(self, epoch: int, metrics: dict[str, float]) -> None:
        """Look at the metrics of an epoch (counted from 1).

        Raises
        ------
        TrainingError
            When one of them is not finite, or the run was bad for ``patience`` epochs.
        """
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} must stay finite, received {value} after epoch {epoch}: training "
                    "diverged; lower --learning-rate."
                )
        loss = metrics["val_loss"]
        improved = self.best == math.inf or loss < self.best - IMPROVEMENT * abs(self.best)
        self.best = min(self.best, loss)
        if explains(metrics):
            self.bad_epochs = 0
            return
        self.bad_epochs = 0 if improved else self.bad_epochs + 1
        if self.bad_epochs < self.patience:
            return
        if metrics["object_std"] < FLAT:
            raise TrainingError(
                "the object must show structure, received a flat one (relative variation "
                f"{metrics['object_std']:.1e}) without progress for {self.bad_epochs} epochs: "
                "training collapsed; lower --learning-rate, use more patterns, or check that the "
                "probe fits the data."
            )
        raise TrainingError(
            "the predicted patterns must fit better than those of a flat object, received a share "
            f"of {metrics['explained']:.2f} of their structure explained and a correlation of "
            f"{metrics['correlation']:.2f} without progress for {self.bad_epochs} epochs: training "
            "diverged or the physics does not fit; lower --learning-rate, or check the probe and "
            "the order and unit of the positions."
        )


class ProgressCallback(Callback):
    """Feeds a :class:`ptychopinn.backends.base.Progress` and keeps the history of the metrics."""

    def __init__(self, progress: Progress, history: History) -> None:
        self.progress, self.history = progress, history
        self.patterns, self.started = 0, 0.0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.patterns, self.started = 0, time.perf_counter()
        self.progress.epoch(trainer.current_epoch, trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.patterns += int(np.prod(batch.amplitudes.shape[:2]))
        rate = self.patterns / max(time.perf_counter() - self.started, 1e-9)
        # Lightning divides the loss by the number of steps whose gradients are accumulated.
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        self.progress.step(loss, rate)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        # Without held-out positions the training patterns themselves were watched.
        pl_module.report()
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        metrics["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        for name, value in metrics.items():
            self.history.setdefault(name, []).append((trainer.current_epoch + 1, value))
        self.progress.epoch_done(trainer.current_epoch, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"history": {k: [list(p) for p in v] for k, v in self.history.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, points in state_dict["history"].items():
            self.history[name] = [(int(epoch), float(value)) for epoch, value in points]


class MetricsTable(Callback):
    """Writes the history as ``metrics.csv``, one line per epoch, those before a resumption too."""

    def __init__(self, path: Path, history: History) -> None:
        self.path, self.history = path, history

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        rows: dict[int, dict[str, float]] = {}
        for name, points in self.history.items():
            for epoch, value in points:
                rows.setdefault(epoch, {})[name] = value
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as stream:
            table = csv.DictWriter(stream, ["epoch", *sorted(self.history)], lineterminator="\n")
            table.writeheader()
            table.writerows({"epoch": epoch, **row} for epoch, row in sorted(rows.items()))


class StopEarly(EarlyStopping):
    """Early stopping that a resumed run respects: one that had stopped stays stopped."""

    def __init__(self, patience: int) -> None:
        super().__init__("val_loss", patience=patience, check_on_train_epoch_end=True)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # The patience may have been changed for the rest of the run.
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Checkpoints(Checkpoint):
    """Saves ``last.ckpt`` after every epoch, to resume from, and the weights of the ``best.ckpt``.

    Their place is given, not stored, so that the folder of a run can be moved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        loss = float(trainer.callback_metrics["val_loss"])
        if loss < self.best:
            self.best = loss
            trainer.save_checkpoint(self.folder / BEST, weights_only=True)
        # Last, because it holds the state of all callbacks, this one included.
        trainer.save_checkpoint(self.folder / LAST)
