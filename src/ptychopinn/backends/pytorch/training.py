"""Training with Lightning: the loop, what it watches, and how it stops."""

from __future__ import annotations

import logging
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from ptychopinn.backends.base import Progress, TrainingOutcome
from ptychopinn.backends.options import TorchExecution
from ptychopinn.backends.pytorch import losses
from ptychopinn.backends.pytorch.checkpoint import SafetensorsCheckpointIO
from ptychopinn.backends.pytorch.data import WorkDataset, loader
from ptychopinn.backends.pytorch.execution import device_of
from ptychopinn.backends.pytorch.family import Batch, Prediction, build_family, family_class
from ptychopinn.config import Config
from ptychopinn.errors import InputError, MissingDependencyError, TrainingError
from ptychopinn.plan import GroupPlan
from ptychopinn.preparation import PreparedScan

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
# An object whose modulus and phase vary less than this is flat.
FLAT = 1e-3
# Share of the structure in the patterns that a useful object explains at the very least.
EXPLAINED = 0.01
LOG_FLOOR = 1e-7


class PhysicsTraining(lightning.LightningModule):
    """The loss of a network on the measured patterns, and its optimiser."""

    def __init__(self, config: Config, scans: Sequence[PreparedScan], plan: GroupPlan) -> None:
        super().__init__()
        self.config, self.scans, self.plan = config, scans, plan
        self.family = build_family(config, scans)
        self.execution = TorchExecution()
        self.stop: StopFlag | None = None
        self._sums: dict[str, Tensor] = {}

    # --- data -------------------------------------------------------------------------------------

    @property
    def _labels(self) -> Any:
        needs_truth = self.config.loss.realspace_mae_weight > 0
        return family_class(self.config.model) if needs_truth else None

    def train_dataloader(self) -> DataLoader[Batch]:
        works = self.plan.epoch(self.current_epoch)
        return loader(WorkDataset(self.scans, works, self._labels), self.execution.num_workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        works = self.plan.validation()
        return loader(WorkDataset(self.scans, works, self._labels), self.execution.num_workers)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
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
                f"the loss must stay finite, received {loss.item()} in epoch {self.current_epoch + 1}, "
                f"step {batch_idx + 1}; lower --learning-rate or --gradient-clip-val."
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=1)
        if not self.plan.validates:
            self._watch(prediction, loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        prediction = self.family.predict(batch)
        self._watch(prediction, self.loss(prediction))

    # --- what is watched --------------------------------------------------------------------------

    def _watch(self, prediction: Prediction, loss: Tensor) -> None:
        """Accumulate the sums behind residual, correlation and the variation of the object."""
        with torch.no_grad():
            good = prediction.good
            model = torch.sqrt(prediction.modelled[-1][1])
            data = torch.sqrt(prediction.measured)
            # What varies between patterns is what the object writes into them.
            mean = data.reshape(-1, *data.shape[-2:]).mean(dim=0)
            a, b = good * (model - mean), good * (data - mean)
            w = prediction.weight.expand(prediction.images.shape)
            average = (w * prediction.images).sum() / w.sum()
            spread = (w * (prediction.images - average).abs().square()).sum() / w.sum()
            sums = {
                "loss": loss.detach(),
                "difference": (good * (model - data)).square().sum(),
                "power": (good * data).square().sum(),
                "structure": b.square().sum(),
                "ab": (a * b).sum(),
                "aa": a.square().sum(),
                "spread": spread / average.abs().square().clamp_min(1e-12),
                "count": torch.ones((), device=loss.device),
            }
            for name, value in sums.items():
                self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value

    def report(self) -> None:
        """Log the metrics of the patterns watched since the last call."""
        s, self._sums = self._sums, {}
        if not s:
            return
        values = {
            "val_loss": s["loss"] / s["count"],
            "residual": s["difference"] / s["power"],
            "correlation": s["ab"] / torch.sqrt(s["aa"] * s["structure"]).clamp_min(1e-12),
            "explained": 1 - s["difference"] / s["structure"].clamp_min(1e-12),
            "object_std": torch.sqrt(s["spread"] / s["count"]),
        }
        for name, value in values.items():
            self.log(name, value.float(), batch_size=1)

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
                optimizer, factor=training.plateau_factor, patience=training.plateau_patience
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

    def on_train_batch_end(self, *_: Any) -> None:
        if self.stop is not None and self.stop.signal is not None:
            raise _Stopped


class _Stopped(Exception):
    """Leaves the training loop after a signal."""


class StopFlag:
    """Turns Ctrl-C and SIGTERM into a stop after the current step; a second one acts at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside the block (in the main thread), then restore what was there."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.signal(n, self._handle) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class HealthCheck(Callback):
    """Stops a run whose object stays flat, or whose patterns fit worse than flat ones."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        return {"bad_epochs": self.bad_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.bad_epochs = state_dict["bad_epochs"]

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        metrics = trainer.callback_metrics
        if "explained" not in metrics:
            return
        explained, spread = float(metrics["explained"]), float(metrics["object_std"])
        loss = float(metrics["val_loss"])
        if not np.isfinite([loss, explained, spread]).all():
            raise TrainingError(
                f"the validation loss must stay finite, received {loss} after epoch "
                f"{trainer.current_epoch + 1}; lower --learning-rate."
            )
        bad = explained < EXPLAINED or spread < FLAT
        self.bad_epochs = self.bad_epochs + 1 if bad else 0
        if self.bad_epochs < self.patience:
            return
        correlation = float(metrics["correlation"])
        if spread < FLAT:
            raise TrainingError(
                f"the object must show structure, received a flat one (relative variation {spread:.1e}) "
                f"for {self.bad_epochs} epochs: training collapsed; lower --learning-rate, use more "
                "patterns, or check that the probe fits the data."
            )
        raise TrainingError(
            "the predicted patterns must fit better than those of a flat object, received a share of "
            f"{explained:.2f} explained and a correlation of {correlation:.2f} for {self.bad_epochs} "
            "epochs: training diverged or the physics does not fit; lower --learning-rate, or check "
            "the probe and the order and unit of the positions."
        )


class ProgressCallback(Callback):
    """Feeds a :class:`ptychopinn.backends.base.Progress` and keeps the history of the metrics."""

    def __init__(self, progress: Progress, history: dict[str, list[tuple[int, float]]]) -> None:
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
        self.progress.step(float(outputs["loss"].detach()), rate)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        # Without held-out positions the training patterns themselves were watched.
        pl_module.report()
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k != "epoch"}
        for name, value in metrics.items():
            self.history.setdefault(name, []).append((trainer.current_epoch + 1, value))
        self.progress.epoch_done(trainer.current_epoch, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"history": {k: [list(p) for p in v] for k, v in self.history.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, points in state_dict["history"].items():
            self.history[name] = [(int(epoch), float(value)) for epoch, value in points]


def _logger(kind: str, directory: Path) -> Logger | bool:
    try:
        match kind:
            case "csv":
                return CSVLogger(directory, name="", version="")
            case "tensorboard":
                return TensorBoardLogger(directory, name="", version="tensorboard")
            case "mlflow":
                return MLFlowLogger("ptychopinn", tracking_uri=f"file:{directory / 'mlruns'}")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"--torch-logger {kind} needs the package {kind}, received none; "
            f"run: pip install 'ptychopinn[{kind}]'."
        ) from error
    return False


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

    Raises
    ------
    InputError
        When the configuration does not fit the scans, or there is nothing to resume.
    TrainingError
        When training collapses, diverges or meets a NaN.
    """
    device = device_of(execution)
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    plan = GroupPlan([s.scan for s in scans], config)
    module = PhysicsTraining(config, scans, plan)
    module.execution = execution
    history: dict[str, list[tuple[int, float]]] = {}
    folder = directory / CHECKPOINTS
    last = folder / "last.ckpt"
    if resume and not last.exists():
        raise InputError(
            f"--resume needs a checkpoint of an earlier run, received none at '{last}'; "
            "start without --resume."
        )
    best = ModelCheckpoint(
        folder,
        filename="best",
        monitor="val_loss",
        save_top_k=1,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    # A callback of its own: with a monitor, Lightning writes `last` only when the epoch was among
    # the best.
    latest = ModelCheckpoint(
        folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    training = config.training
    callbacks: list[Callback] = [
        ProgressCallback(progress, history),
        HealthCheck(training.collapse_patience),
        best,
        latest,
    ]
    if training.early_stopping is not None:
        callbacks.append(
            EarlyStopping(
                "val_loss", patience=training.early_stopping, check_on_train_epoch_end=True
            )
        )
    canvas = config.model.architecture != "cnn"
    with _quiet():
        trainer = lightning.Trainer(
            max_epochs=training.epochs,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            precision=execution.precision,
            deterministic=execution.deterministic,
            callbacks=callbacks,
            logger=_logger(execution.logger, directory),
            plugins=[SafetensorsCheckpointIO()],
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
        module.stop = StopFlag()
        with module.stop.installed():
            try:
                trainer.fit(module, ckpt_path=str(last) if resume else None)
            except _Stopped:
                log.warning("stopped by signal %s after the current step", module.stop.signal)
    if Path(best.best_model_path).is_file():
        state = SafetensorsCheckpointIO().load_checkpoint(best.best_model_path)["state_dict"]
        module.load_state_dict(state)
    return outcome(module, history, module.stop.signal)


def outcome(
    module: PhysicsTraining,
    history: Mapping[str, Sequence[tuple[int, float]]],
    stopped_by: int | None,
) -> TrainingOutcome:
    """Collect weights and the probe of the first scan, back in sqrt(counts)."""
    probe: NDArray[np.complex64] = module.family.probe(0).detach().cpu().numpy()
    first = module.scans[0]
    physical = probe / np.float32(first.input_scale * first.object_scale)
    return TrainingOutcome(
        weights=module.family.network.export_weights(),
        probe=physical.astype(np.complex64),
        history={name: list(points) for name, points in history.items()},
        stopped_by=stopped_by,
    )
