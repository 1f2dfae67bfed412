"""What ties Lightning's loop to the course of a run (ptychopinn.training.course)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback, Checkpoint

from ptychopinn.training.course import Course
from ptychopinn.training.data import Batch
from ptychopinn.training.run import BEST, LAST


class CourseCallback(Callback):
    """Tells the course what happens, and ends the loop when the course says so."""

    def __init__(self, course: Course) -> None:
        self.course = course

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        # A run that had stopped early before it is resumed stays stopped.
        trainer.should_stop |= self.course.over

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.course.epoch_begins(trainer.current_epoch, trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        # Lightning divides the loss by the number of steps whose gradients are accumulated.
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        self.course.batch_done(loss, batch.patterns)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        # Without held-out positions the training patterns themselves were watched.
        pl_module.report()
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metrics["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.course.epoch_done(trainer.current_epoch, metrics)
        trainer.should_stop |= self.course.over

    def state_dict(self) -> dict[str, Any]:
        return self.course.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.course.load_state_dict(state_dict)


class Checkpoints(Checkpoint):
    """Saves ``last.ckpt`` after every epoch, to resume from, and the weights of the ``best.ckpt``.

    Their place is given, not stored, so that the folder of a run can be moved.
    """

    def __init__(self, folder: Path, course: Course) -> None:
        self.folder, self.course = folder, course

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.course.improved:
            trainer.save_checkpoint(self.folder / BEST, weights_only=True)
        # Last, because it holds the state of all callbacks.
        trainer.save_checkpoint(self.folder / LAST)
