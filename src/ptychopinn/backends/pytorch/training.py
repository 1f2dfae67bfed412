"""Training with Lightning: the loop, what it watches, and how it stops."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from ptychopinn.backends.base import Progress, TrainingOutcome
from ptychopinn.backends.pytorch import losses, physics
from ptychopinn.backends.pytorch.callbacks import Checkpoints, CourseCallback
from ptychopinn.backends.pytorch.checkpoint import BACKEND, SafetensorsCheckpointIO
from ptychopinn.backends.pytorch.data import WorkDataset, loader, received
from ptychopinn.backends.pytorch.execution import computing, device_of
from ptychopinn.backends.pytorch.family import build_family
from ptychopinn.backends.pytorch.loggers import EpochLog
from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.errors import InputError, TrainingError
from ptychopinn.networks.weights import Weights
from ptychopinn.ops.options import TorchExecution
from ptychopinn.training.course import Course
from ptychopinn.training.data import Batch, known_object, needs_truth
from ptychopinn.training.health import check_loss, judge_result
from ptychopinn.training.interruption import StopFlag, Stopped
from ptychopinn.training.objective import Estimate, Prediction, objective
from ptychopinn.training.plan import GroupPlan
from ptychopinn.training.run import (
    BEST,
    CHECKPOINTS,
    METRICS,
    check_resumable,
    check_resumed,
    outcome,
    run_record,
)
from ptychopinn.training.schedule import BETAS, accumulated
from ptychopinn.training.watch import FitWatch

log = logging.getLogger(__name__)

# The record of the run in its checkpoints.
RUN = "ptychopinn"


class PhysicsTraining(lightning.LightningModule):
    """The loss of a network on the measured patterns, and its optimiser."""

    def __init__(
        self,
        config: Config,
        scans: Sequence[PreparedScan],
        plan: GroupPlan,
        course: Course,
        stop: StopFlag,
        workers: int = 0,
        start: Weights | None = None,
    ) -> None:
        super().__init__()
        self.config, self.scans, self.plan, self.course = config, scans, plan, course
        self.workers, self.stop = workers, stop
        self.family = build_family(config, scans, start)
        self.watch = FitWatch([scan.photon_scale for scan in scans])

    # --- data -------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Batch]:
        works = self.plan.epoch(self.current_epoch)
        return loader(WorkDataset(self.scans, works, self.config), self.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        works = self.plan.validation()
        return loader(WorkDataset(self.scans, works, self.config), self.workers)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Batch:
        batch = received(batch)
        truth = None if batch.truth is None else batch.truth.to(device)
        return Batch(batch.amplitudes.to(device), batch.positions_px.to(device), batch.scan, truth)

    # --- loss -------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        prediction = self.family.predict(batch)
        loss = objective(prediction, self.config.loss, losses)
        check_loss(float(loss.detach()), self.current_epoch, batch_idx)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=1)
        if not self.plan.validates:
            self._watch(batch, prediction, loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        prediction = self.family.predict(batch)
        self._watch(batch, prediction, objective(prediction, self.config.loss, losses))

    def _watch(self, batch: Batch, prediction: Prediction, loss: Tensor) -> None:
        last = prediction.estimates[-1]
        arrays = Prediction(
            estimates=[Estimate(last.share, _array(last.modelled), _array(last.measured))],
            good=_array(prediction.good),
            images=_array(prediction.images),
            weight=_array(prediction.weight),
            truth=None,
        )
        self.watch.add(batch.scan, arrays, float(loss.detach()))

    def report(self) -> None:
        """Log the metrics of the patterns watched since the last call."""
        for name, value in self.watch.metrics(self._vacuum).items():
            self.log(name, value, batch_size=1)

    def _vacuum(self, scan: int) -> NDArray[np.float32]:
        """The pattern (N, N), FFT order, of the bare probe."""
        return _array(physics.intensity(physics.fft(self.family.probe(scan))[None])[0])

    def on_validation_epoch_end(self) -> None:
        self.report()

    # --- optimiser --------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        training = self.config.training
        groups = [{"params": list(self.family.network.parameters()), "lr": training.learning_rate}]
        if training.probe_trainable:
            probes = list(self.family.probes.parameters())
            groups.append({"params": probes, "lr": training.probe_learning_rate})
        return torch.optim.Adam(groups, betas=BETAS)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None
    ) -> None:
        """Take a step at the rates of the schedule."""
        factor = self.course.schedule.factor(self.trainer.global_step)
        training = self.config.training
        rates = (training.learning_rate, training.probe_learning_rate)
        groups = optimizer.param_groups  # the second one only where the probe is trained
        for group, rate in zip(groups, rates[: len(groups)], strict=True):
            group["lr"] = rate * factor
        optimizer.step(closure=closure)

    # --- stopping and resuming --------------------------------------------------------------------

    def on_train_batch_end(self, *_: Any) -> None:
        self.stop.check()

    def on_validation_batch_end(self, *_: Any) -> None:
        self.stop.check()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[RUN] = run_record(self.config, self.scans)


def _array(values: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = values.detach().cpu().numpy()
    return array


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's notices about itself away from the user inside the block."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def train(
    scans: Sequence[PreparedScan],
    config: Config,
    execution: TorchExecution,
    directory: Path,
    *,
    resume: bool = False,
    start: Weights | None = None,
    progress: Progress,
) -> TrainingOutcome:
    """Train a network on the scans; checkpoints and logs go to ``directory``.

    Nothing is written before everything was checked and the first epoch begins. ``start`` are the
    weights to begin with, new ones when not given.

    Raises
    ------
    InputError
        When the configuration does not fit the scans or the machine, or there is nothing to resume.
    TrainingError
        When training collapses, diverges, meets a NaN or runs out of memory.
    """
    device = device_of(execution)
    if execution.precision == "16-mixed" and device.type == "cpu":
        raise InputError(
            "precision '16-mixed' needs a GPU, received a run on the CPU; leave --torch-precision "
            "out, or use bf16-mixed."
        )
    if needs_truth(config):
        for scan in scans:
            known_object(scan)
    plan = GroupPlan([s.scan for s in scans], config)
    last = None
    if resume:
        last = check_resumable(directory, BACKEND)
        earlier = SafetensorsCheckpointIO().load_checkpoint(last)
        check_resumed(earlier.get(RUN, {}), int(earlier["epoch"]) + 1, config, scans)
    folder = directory / CHECKPOINTS
    table = directory / METRICS if execution.logger == "csv" else None
    course = Course(config, plan, progress, table)
    stop = StopFlag()
    training = config.training
    callbacks: list[Callback] = [CourseCallback(course), Checkpoints(folder, course)]
    if execution.logger in ("tensorboard", "mlflow"):
        written = config.model_dump(mode="json")
        callbacks.insert(1, EpochLog(execution.logger, directory, written, course.history, resume))
    with _quiet(), computing(execution), stop.installed():
        module = PhysicsTraining(config, scans, plan, course, stop, execution.num_workers, start)
        trainer = lightning.Trainer(
            max_epochs=training.epochs,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            precision=execution.precision,
            deterministic=execution.deterministic,
            callbacks=callbacks,
            logger=False,
            # The environment says that this is one process, also inside a job of a cluster.
            plugins=[SafetensorsCheckpointIO(), LightningEnvironment()],
            gradient_clip_val=training.gradient_clip_val or None,
            accumulate_grad_batches=accumulated(config, plan),
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if plan.validates else 0,
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=directory,
        )
        try:
            trainer.fit(module, ckpt_path=None if last is None else str(last))
        # Lightning has a handler of its own for SIGTERM beside ours.
        except (Stopped, SIGTERMException):
            log.warning("stopped by signal %s after the current step", stop.signal)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"training must fit into the memory of the device, received: "
                f"{str(error).splitlines()[0]}; lower --batch-size or --subscan-patterns."
            ) from error
    if course.history:
        state = SafetensorsCheckpointIO().load_checkpoint(folder / BEST)["state_dict"]
        module.load_state_dict(state)
        patterns_matter = config.loss.nll_weight > 0 or config.loss.mae_weight > 0
        judge_result(course.history, fatal=stop.signal is None and patterns_matter)
    elif stop.signal is not None:
        log.warning("no epoch was finished: the model is what the steps so far have made of it")
    probe = _array(module.family.probe(0)) if training.probe_trainable else None
    weights = module.family.network.export_weights()
    return outcome(weights, probe, scans[0], course.history, stop.signal)
