"""Data, training and inference, as clients call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_torch.config_params import (
    DataConfig,
    DatagenConfig,
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
)
from ptycho_torch.lightning_utils import CHECKPOINT
from ptycho_torch.model import PtychoPINN_Lightning
from ptychopinn.clients import running
from ptychopinn.clients.ptychodus import (
    centred_shape,
    on_canvas,
    one_pass,
    scan_from_arrays,
    training_scans,
)
from ptychopinn.clients.running import told
from ptychopinn.clients.settings import TORCH_RULES, backend_name, environment, translate
from ptychopinn.data.scan import Scan
from ptychopinn.io.models import load_bundle, save_bundle

LOGGER = "ptychopinn-torch"


class DataloaderFormats(Enum):
    """How data are handed over; there is one way."""

    LIGHTNING = "lightning_only_module"


class ConfigManager:
    """The configurations of a run, together."""

    def __init__(
        self,
        data_config: DataConfig | None = None,
        model_config: ModelConfig | None = None,
        training_config: TrainingConfig | None = None,
        inference_config: InferenceConfig | None = None,
        datagen_config: DatagenConfig | None = None,
    ) -> None:
        self.data_config = data_config or DataConfig()
        self.model_config = model_config or ModelConfig()
        self.training_config = training_config or TrainingConfig()
        self.inference_config = inference_config or InferenceConfig()
        self.datagen_config = datagen_config or DatagenConfig()

    @classmethod
    def from_loaded_model(cls, model: PtychoModel) -> ConfigManager:
        """The configurations that a loaded model was trained with."""
        return cls(
            model.data_config, model.model_config, model.training_config, model.inference_config
        )

    def validate_arch_compatibility(self, model: PtychoModel) -> None:
        """The weights were checked against the network when they were loaded."""

    def settings(self) -> dict[str, Any]:
        """All settings of a training in one mapping, without those left open."""
        found: dict[str, Any] = {}
        for config in (self.data_config, self.model_config, self.training_config):
            found |= {item.name: getattr(config, item.name) for item in fields(config)}
        return {name: value for name, value in found.items() if value is not None}


class PtychoDataLoader:
    """The scans of a training folder, or one scan from arrays.

    Attributes
    ----------
    scans : the scans
    output_dir : where the run writes, ``OUTPUT/run_<time>``
    positions_px : (n, 2) as (y, x) in pixels, of a scan from arrays
    """

    def __init__(
        self,
        data_dir: str | Path,
        config_manager: ConfigManager,
        data_format: DataloaderFormats = DataloaderFormats.LIGHTNING,
        output_dir: str | Path | None = None,
    ) -> None:
        with told(LOGGER):
            self.scans = training_scans(Path(data_dir))
        self.config_manager = config_manager
        stamp = datetime.now().strftime("run_%Y%m%d_%H%M%S")
        self.output_dir = str(Path(output_dir or data_dir) / stamp)
        self.positions_px: NDArray[np.float64] | None = None

    @classmethod
    def from_np(
        cls,
        diff_patterns: ArrayLike,
        probe: ArrayLike,
        positions: ArrayLike,
        config_manager: ConfigManager,
    ) -> PtychoDataLoader:
        """Patterns (n, N, N) in counts, probe (P, N, N), positions (n, 2) as (y, x) in pixels."""
        loader = cls.__new__(cls)
        places = np.asarray(positions, np.float64)
        with told(LOGGER):
            scan: Scan = scan_from_arrays(diff_patterns, places[:, 1], places[:, 0], probe)
        loader.scans, loader.positions_px = [scan], places
        loader.config_manager, loader.output_dir = config_manager, ""
        return loader


class PtychoModel:
    """A model with the configurations it was or will be trained with."""

    def __init__(
        self,
        model_config: ModelConfig | None = None,
        data_config: DataConfig | None = None,
        training_config: TrainingConfig | None = None,
        inference_config: InferenceConfig | None = None,
    ) -> None:
        self.model_config, self.data_config = model_config, data_config
        self.training_config, self.inference_config = training_config, inference_config
        self.model: PtychoPINN_Lightning = PtychoPINN_Lightning()

    @classmethod
    def _new_model(cls, model: type[Any], config_manager: ConfigManager) -> PtychoModel:
        made = cls(
            config_manager.model_config,
            config_manager.data_config,
            config_manager.training_config,
            config_manager.inference_config,
        )
        made.model = model()
        return made

    @staticmethod
    def _extract_configs_from_checkpoint(
        path: str,
    ) -> tuple[DataConfig, ModelConfig, TrainingConfig, InferenceConfig]:
        """The configurations of a model, as far as the client's classes can say them."""
        with told(LOGGER):
            manifest = load_bundle(path).manifest
        model: Mapping[str, Any] = manifest.config["model"]  # type: ignore[assignment]
        training: Mapping[str, Any] = manifest.config["training"]  # type: ignore[assignment]
        size = int(manifest.statistics["N"])  # type: ignore[arg-type]
        # Only some architectures have groups, or these options of the client.
        grid = int(model.get("gridsize", 1))
        known = {
            name: model[name] for name in ("n_filters_scale", "amp_activation") if name in model
        }
        return (
            DataConfig(N=size, C=grid**2, grid_size=(grid, grid)),
            ModelConfig(
                mode="Supervised" if model["mode"] == "supervised" else "Unsupervised",
                **known,
            ),
            TrainingConfig(epochs=training["epochs"], batch_size=training["batch_size"]),
            InferenceConfig(),
        )


class _CallbackHost:
    """What a callback of Lightning looks at: the metrics and the number of the epoch."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = []
        self.callback_metrics: dict[str, float] = {}
        self.current_epoch = 0
        self.sanity_checking = False

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        self.current_epoch = number
        self.callback_metrics = dict(metrics)
        for hook in ("on_validation_epoch_end", "on_train_epoch_end"):
            for callback in self.callbacks:
                if hook == "on_train_epoch_end" or "val_loss" in metrics:
                    getattr(callback, hook)(self, None)


class Trainer:
    """Trains a model on the scans of a loader."""

    def __init__(
        self, model: PtychoModel, dataloader: PtychoDataLoader, config_manager: ConfigManager
    ) -> None:
        self.model, self.dataloader, self.config_manager = model, dataloader, config_manager
        self._trainer = _CallbackHost()

    @classmethod
    def _from_lightning(
        cls,
        model: PtychoModel,
        dataloader: PtychoDataLoader,
        orchestration: str,
        config_manager: ConfigManager,
    ) -> Trainer:
        return cls(model, dataloader, config_manager)

    def train(self, orchestration: str = "lightning", experiment_name: str = "") -> None:
        """Train, and write the model into the loader's output folder."""
        with told(LOGGER) as logger:
            architecture, further = environment("unrolled")
            translation = translate(
                self.config_manager.settings(),
                TORCH_RULES,
                architecture=architecture,
                backend=backend_name() or "pytorch",
                further=further,
            )
            scans = self.dataloader.scans
            if "n_groups" not in further.get("data", {}):
                translation = replace(translation, config=one_pass(translation.config, scans))
            model = running.train(scans, translation, logger, on_epoch=self._trainer.epoch_done)
            self.model.model = PtychoPINN_Lightning(model.bundle)
            save_bundle(model.bundle, Path(self.dataloader.output_dir) / CHECKPOINT, force=True)


class InferenceEngine:
    """Reconstructs the scan of a loader with a model."""

    def __init__(self, config_manager: ConfigManager, ptycho_model: PtychoModel) -> None:
        self.config_manager, self.ptycho_model = config_manager, ptycho_model

    def predict_and_stitch(self, loader: PtychoDataLoader) -> NDArray[np.complex64]:
        """The object (H, W), its middle at the middle of the bounding box of all positions."""
        bundle = self.ptycho_model.model.bundle
        if bundle is None or loader.positions_px is None:
            raise ValueError(
                "a trained model and a scan from arrays were expected, received none; load a "
                "checkpoint and use PtychoDataLoader.from_np."
            )
        with told(LOGGER) as logger:
            result = running.reconstruct(bundle, loader.scans[0], logger, backend_name())
            y, x = loader.positions_px.T
            shape, first = centred_shape(x, y, loader.scans[0].N)
            moved = replace(result, origin_px=np.asarray(result.origin_px) - first)
            return on_canvas(moved, shape)
