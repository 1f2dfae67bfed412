"""The configuration classes that clients fill in: plain, mutable, and not validated.

They only carry values; :mod:`ptychopinn.clients.settings` gives each one its meaning. A client
makes them in one process and sends them to another one, and sets ``model.N`` when it knows the
patterns.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass
class ModelConfig:
    """What the network is; None means the default of the architecture."""

    N: int = 64
    gridsize: int = 1
    n_filters_scale: float = 2
    model_type: str = "pinn"
    architecture: str | None = None
    amp_activation: str = "sigmoid"
    fno_modes: int = 12
    fno_width: int = 32
    fno_blocks: int = 4
    fno_cnn_blocks: int = 2
    fno_input_transform: str = "none"
    resnet_width: int | None = None
    max_hidden_channels: int | None = None
    learned_input_channels: int = 1
    generator_output_mode: str | None = None
    object_big: bool = True
    probe_big: bool = True
    probe_mask: Any = False
    probe_mask_sigma: float = 1.0
    probe_mask_diameter: float | None = None
    pad_object: bool = True
    probe_scale: float = 4.0
    gaussian_smoothing_sigma: float = 0.0


@dataclass
class PyTorchExecutionConfig:
    """How PyTorch runs; None means the default."""

    accelerator: str = "auto"
    strategy: str = "auto"
    n_devices: int = 1
    deterministic: bool | None = None
    num_workers: int | None = None
    accumulate_grad_batches: int = 1
    learning_rate: float | None = None
    scheduler: str = "Default"
    plateau_factor: float | None = None
    plateau_patience: int | None = None
    plateau_min_lr: float | None = None
    plateau_threshold: float | None = None
    gradient_clip_val: float | None = None
    logger: str | None = None
    enable_progress_bar: bool = False
    enable_checkpointing: bool = True
    checkpoint_save_top_k: int = 1
    checkpoint_monitor: str = "val_loss"
    inference_batch_size: int | None = None


@dataclass
class TrainingConfig:
    """A training; None means the default of the architecture."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train_data_file: Path | None = None
    test_data_file: Path | None = None
    batch_size: int = 16
    nepochs: int = 50
    mae_weight: float = 0.0
    nll_weight: float = 1.0
    realspace_mae_weight: float = 0.0
    realspace_weight: float = 0.0
    nphotons: float | None = None
    n_groups: int | None = None
    n_images: int | None = None
    n_subsample: int | None = None
    subsample_seed: int | None = None
    neighbor_count: int | None = None
    enable_oversampling: bool = False
    neighbor_pool_size: int | None = None
    positions_provided: bool = True
    probe_trainable: bool = False
    intensity_scale_trainable: bool = True
    sequential_sampling: bool = False
    torch_loss_mode: str = "poisson"
    gradient_clip_val: float | None = None
    optimizer: str = "adam"
    scheduler: str = "Default"
    learning_rate: float | None = None
    output_dir: Path = Path("training_outputs")
    backend: str | None = None


@dataclass
class InferenceConfig:
    """An inference; ``model_path`` is a folder with ``wts.h5.zip``, or its content."""

    model: ModelConfig = field(default_factory=ModelConfig)
    model_path: Path = Path()
    test_data_file: Path = Path()
    n_groups: int | None = None
    n_images: int | None = None
    n_subsample: int | None = None
    subsample_seed: int | None = None
    neighbor_count: int | None = None
    debug: bool = False
    output_dir: Path = Path("inference_outputs")
    backend: str | None = None


# What says where things are, not what is computed.
PLACES = ("model", "train_data_file", "test_data_file", "model_path", "output_dir", "backend")


def settings(config: TrainingConfig | InferenceConfig) -> dict[str, Any]:
    """The settings of a configuration and its model in one mapping, without those left open."""
    found = {**asdict(config.model)}
    found |= {f.name: getattr(config, f.name) for f in fields(config) if f.name not in PLACES}
    return {name: value for name, value in found.items() if value is not None}


def update_legacy_dict(cfg: dict[str, Any], dataclass_obj: Any) -> None:
    """Copy a configuration into the global dictionary, its model's settings beside the rest."""
    for item in fields(dataclass_obj):
        value = getattr(dataclass_obj, item.name)
        if item.name == "model":
            update_legacy_dict(cfg, value)
        elif value is not None:
            cfg[item.name] = value
