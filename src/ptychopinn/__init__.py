"""Ptychographic reconstruction with physics-informed neural networks.

Importing this package imports no framework and does nothing; names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptychopinn.config import Config, RefineConfig
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.data.scan import Scan
    from ptychopinn.errors import InputError, PtychoPINNError, TrainingError
    from ptychopinn.evaluation import Evaluation, evaluate
    from ptychopinn.io import load_scan, save_scan
    from ptychopinn.io.convert import convert
    from ptychopinn.io.models import Bundle, load_bundle, save_bundle
    from ptychopinn.io.reconstructions import load_reconstruction
    from ptychopinn.ops.options import TFExecution, TorchExecution
    from ptychopinn.simulation import SimulationConfig, simulate
    from ptychopinn.workflows.verbs import TrainedModel, reconstruct, refine, train

_HOMES = {
    "Bundle": "io.models",
    "Config": "config",
    "RefineConfig": "config",
    "Evaluation": "evaluation",
    "InputError": "errors",
    "PtychoPINNError": "errors",
    "Reconstruction": "data.reconstruction",
    "Scan": "data.scan",
    "SimulationConfig": "simulation",
    "TFExecution": "ops.options",
    "TorchExecution": "ops.options",
    "TrainedModel": "workflows.verbs",
    "TrainingError": "errors",
    "convert": "io.convert",
    "evaluate": "evaluation",
    "load_bundle": "io.models",
    "load_reconstruction": "io.reconstructions",
    "load_scan": "io",
    "reconstruct": "workflows.verbs",
    "refine": "workflows.verbs",
    "save_bundle": "io.models",
    "save_scan": "io",
    "simulate": "simulation",
    "train": "workflows.verbs",
}

__all__ = [
    "Bundle",
    "Config",
    "Evaluation",
    "InputError",
    "PtychoPINNError",
    "Reconstruction",
    "RefineConfig",
    "Scan",
    "SimulationConfig",
    "TFExecution",
    "TorchExecution",
    "TrainedModel",
    "TrainingError",
    "convert",
    "evaluate",
    "load_bundle",
    "load_reconstruction",
    "load_scan",
    "reconstruct",
    "refine",
    "save_bundle",
    "save_scan",
    "simulate",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ptychopinn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ptychopinn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
