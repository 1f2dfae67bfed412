"""Training with Lightning: the loop, what it watches, and how it stops."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
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

from ptychopinn.backends.base import Progress, TrainingOutcome, metrics_at_best
from ptychopinn.backends.options import TorchExecution
from ptychopinn.backends.pytorch import losses, physics
from ptychopinn.backends.pytorch.callbacks import (
    BEST,
    DIVERGED,
    LAST,
    Checkpoints,
    HealthCheck,
    History,
    MetricsTable,
    ProgressCallback,
    StopEarly,
    explains,
)
from ptychopinn.backends.pytorch.checkpoint import SafetensorsCheckpointIO
from ptychopinn.backends.pytorch.data import WorkDataset, loader, received
from ptychopinn.backends.pytorch.execution import computing, device_of
from ptychopinn.backends.pytorch.family import (
    Batch,
    Prediction,
    build_family,
    family_class,
    known_object,
)
from ptychopinn.backends.pytorch.interruption import StopFlag, Stopped
from ptychopinn.backends.pytorch.loggers import EpochLog
from ptychopinn.backends.pytorch.watch import FitWatch
from ptychopinn.config import Config
from ptychopinn.errors import InputError, TrainingError
from ptychopinn.plan import GroupPlan
from ptychopinn.preparation import PreparedScan

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
METRICS = "metrics.csv"
LOG_FLOOR = 1e-7
# The record of the run in its checkpoints, and the options that may change on resuming.
RUN = "ptychopinn"
MAY_CHANGE = {"epochs", "early_stopping", "collapse_patience"}


class PhysicsTraining(lightning.LightningModule):
    """The loss of a network on the measured patterns, and its optimiser."""

    def __init__(
        self,
        config: Config,
        scans: Sequence[PreparedScan],
        plan: GroupPlan,
        workers: int = 0,
        stop: StopFlag | None = None,
    ) -> None:
        super().__init__()
        self.config, self.scans, self.plan, self.workers = config, scans, plan, workers
        self.stop = StopFlag() if stop is None else stop
        self.family = build_family(config, scans)
        self.watch = FitWatch([scan.input_scale for scan in scans])

    # --- data -------------------------------------------------------------------------------------

    @property
    def _labels(self) -> Any:
        return family_class(self.config.model) if needs_truth(self.config) else None

    def train_dataloader(self) -> DataLoader[Batch]:
        works = self.plan.epoch(self.current_epoch)
        return loader(WorkDataset(self.scans, works, self._labels), self.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        works = self.plan.validation()
        return loader(WorkDataset(self.scans, works, self._labels), self.workers)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Batch:
        batch = received(batch)
        truth = None if batch.truth is None else batch.truth.to(device)
        return Batch(batch.amplitudes.to(device), batch.positions_px.to(device), batch.scan, truth)

    # --- loss -------------------------------------------------------------------------------------

    def loss(self, prediction: Prediction) -> Tensor:
        """Weighted sum of the terms of the loss (see LossConfig)."""
        weights = self.config.loss
        total = prediction.measured.new_zeros(())
        share_sum = sum(share for share, _ in prediction.modelled)
        several = len(prediction.modelled) > 1
        for share, modelled in prediction.modelled:
            term = prediction.measured.new_zeros(())
            arguments = (modelled, prediction.measured, prediction.good)
            if weights.nll_weight:
                term = term + weights.nll_weight * losses.poisson_deviance(*arguments)
            if weights.mae_weight:
                term = term + weights.mae_weight * losses.amplitude_mae(*arguments)
            # The iterates of a canvas network span decades; the logarithm lets each of them count.
            if several and (weights.nll_weight or weights.mae_weight):
                term = torch.log(term + LOG_FLOOR)
            total = total + (share / share_sum) * term
        images, light = prediction.images, prediction.weight
        if weights.realspace_weight:
            total = total + weights.realspace_weight * losses.total_variation(images, light)
        if weights.realspace_mae_weight and prediction.truth is not None:
            truth = losses.same_global_phase(prediction.truth, images, light)
            error = losses.realspace_mae(images, truth, light)
            total = total + weights.realspace_mae_weight * error
        return total

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        prediction = self.family.predict(batch)
        loss = self.loss(prediction)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss must stay finite, received {loss.item()} in epoch "
                f"{self.current_epoch + 1}, step {batch_idx + 1}: training diverged; lower "
                "--learning-rate or --gradient-clip-val."
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=1)
        if not self.plan.validates:
            self.watch.add(batch.scan, prediction, loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        prediction = self.family.predict(batch)
        self.watch.add(batch.scan, prediction, self.loss(prediction))

    def report(self) -> None:
        """Log the metrics of the patterns watched since the last call."""
        for name, value in self.watch.metrics(self._vacuum).items():
            self.log(name, value, batch_size=1)

    def _vacuum(self, scan: int) -> Tensor:
        """The pattern (N, N), FFT order, of the bare probe."""
        return physics.intensity(physics.fft(self.family.probe(scan))[None])[0]

    def on_validation_epoch_end(self) -> None:
        self.report()

    # --- optimiser --------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        training = self.config.training
        groups = [{"params": list(self.family.network.parameters()), "lr": training.learning_rate}]
        if training.probe_trainable:
            probes = list(self.family.probes.parameters())
            groups.append({"params": probes, "lr": training.probe_learning_rate})
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        if training.scheduler == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer,
                factor=training.plateau_factor,
                patience=training.plateau_patience,
                # A share of a loss that is a logarithm would mean nothing, least of all below 0.
                threshold_mode="rel" if self.config.model.architecture == "cnn" else "abs",
            )
            # The schedule is stepped in on_train_epoch_end.
            schedule = {"scheduler": plateau, "monitor": "val_loss", "interval": "epoch"}
            return {"optimizer": optimizer, "lr_scheduler": schedule}
        if training.scheduler == "cosine":
            steps = max(1, int(self.trainer.estimated_stepping_batches))
            cosine = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda k: 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * min(1.0, k / steps)))
            )
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": cosine, "interval": "step"},
            }
        return optimizer

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the schedules that go by steps.

        Lightning would step the plateau schedule after the checkpoint of the epoch is written and
        not repeat it on resuming, so that one is stepped in :meth:`on_train_epoch_end`.
        """
        if self.config.training.scheduler != "plateau":
            scheduler.step()

    def on_train_epoch_end(self) -> None:
        if self.config.training.scheduler == "plateau":
            plateau: Any = self.lr_schedulers()
            plateau.step(self.trainer.callback_metrics["val_loss"])

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None
    ) -> None:
        """Take a step; during the warm-up at a rate that rises linearly."""
        warmup = self.config.training.warmup_steps
        rates = [group["lr"] for group in optimizer.param_groups]
        if self.trainer.global_step < warmup:
            for group in optimizer.param_groups:
                group["lr"] *= (self.trainer.global_step + 1) / (warmup + 1)
        optimizer.step(closure=closure)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    # --- stopping and resuming --------------------------------------------------------------------

    def on_train_batch_end(self, *_: Any) -> None:
        self.stop.check()

    def on_validation_batch_end(self, *_: Any) -> None:
        self.stop.check()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[RUN] = run_record(self.config, self.scans)


def needs_truth(config: Config) -> bool:
    """Whether the loss compares with known objects."""
    return config.loss.realspace_mae_weight > 0


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


def check_resumed(path: Path, config: Config, scans: Sequence[PreparedScan]) -> None:
    """Raise InputError unless the checkpoint ``path`` belongs to a run that these can continue."""
    if not path.exists():
        raise InputError(
            f"--resume needs a finished epoch of an earlier run, received none at '{path}'; start "
            "again with --force instead."
        )
    checkpoint = SafetensorsCheckpointIO().load_checkpoint(path)
    record, now = checkpoint.get(RUN, {}), run_record(config, scans)
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
    done = int(checkpoint["epoch"]) + 1
    if config.training.epochs < done:
        raise InputError(
            f"--epochs counts from the start of a run, received {config.training.epochs} for one "
            f"that has finished {done}; give at least {done}."
        )


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
    progress: Progress,
) -> TrainingOutcome:
    """Train a network on the scans; checkpoints and logs go to ``directory``.

    Nothing is written before everything was checked and the first epoch begins.

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
    folder = directory / CHECKPOINTS
    if resume:
        check_resumed(folder / LAST, config, scans)
    history: History = {}
    stop = StopFlag()
    training = config.training
    callbacks: list[Callback] = [
        ProgressCallback(progress, history),
        HealthCheck(training.collapse_patience),
        Checkpoints(folder),
    ]
    if execution.logger == "csv":
        callbacks.insert(1, MetricsTable(directory / METRICS, history))
    elif execution.logger != "none":
        written = config.model_dump(mode="json")
        callbacks.insert(1, EpochLog(execution.logger, directory, written, history, resume))
    if training.early_stopping is not None:
        callbacks.append(StopEarly(training.early_stopping))
    canvas = config.model.architecture != "cnn"
    with _quiet(), computing(execution), stop.installed():
        module = PhysicsTraining(config, scans, plan, execution.num_workers, stop)
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
            accumulate_grad_batches=training.batch_size if canvas else 1,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if plan.validates else 0,
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=directory,
        )
        try:
            trainer.fit(module, ckpt_path=str(folder / LAST) if resume else None)
        # Lightning has a handler of its own for SIGTERM beside ours.
        except (Stopped, SIGTERMException):
            log.warning("stopped by signal %s after the current step", stop.signal)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"training must fit into the memory of the device, received: "
                f"{str(error).splitlines()[0]}; lower --batch-size or --subscan-patterns."
            ) from error
    if history:
        state = SafetensorsCheckpointIO().load_checkpoint(folder / BEST)["state_dict"]
        module.load_state_dict(state)
        patterns_matter = config.loss.nll_weight > 0 or config.loss.mae_weight > 0
        judge_result(history, fatal=stop.signal is None and patterns_matter)
    elif stop.signal is not None:
        log.warning("no epoch was finished: the model is what the steps so far have made of it")
    return outcome(module, history, stop.signal)


def judge_result(history: History, fatal: bool) -> None:
    """Warn when even the best epoch is that of a network that has not learned anything yet.

    Raises
    ------
    TrainingError
        When it has diverged, if that is ``fatal``.
    """
    metrics = metrics_at_best(history)
    if explains(metrics):
        return
    if fatal and metrics["explained"] < DIVERGED:
        raise TrainingError(
            "the predicted patterns must fit better than those of a flat object, received a share "
            f"of {metrics['explained']:.2f} of their structure explained: training diverged; lower "
            "--learning-rate."
        )
    log.warning(
        "the model does not fit better than a flat object yet (share of the structure explained: "
        "%.2f): train for more epochs",
        metrics["explained"],
    )


def outcome(
    module: PhysicsTraining,
    history: Mapping[str, Sequence[tuple[int, float]]],
    stopped_by: int | None,
) -> TrainingOutcome:
    """Collect weights and the probe of the first scan, back in sqrt(counts).

    Raises
    ------
    TrainingError
        When one of them is not finite.
    """
    weights = module.family.network.export_weights()
    first = module.scans[0]
    probe = first.scan.probe
    if module.config.training.probe_trainable:
        refined: NDArray[np.complex64] = module.family.probe(0).detach().cpu().numpy()
        probe = (refined / np.float32(first.input_scale * first.object_scale)).astype(np.complex64)
    if not all(np.isfinite(array).all() for array in (*weights.values(), probe)):
        raise TrainingError(
            "the weights must stay finite, received NaN or infinity: training diverged; lower "
            "--learning-rate or --gradient-clip-val."
        )
    return TrainingOutcome(
        weights=weights,
        probe=probe,
        history={name: list(points) for name, points in history.items()},
        stopped_by=stopped_by,
    )
