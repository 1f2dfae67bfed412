"""Ptychographic reconstruction with physics-informed neural networks.

Importing this package imports no framework and does nothing; names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptychopinn.backends.options import TFExecution, TorchExecution
    from ptychopinn.bundle import Bundle, load_bundle, save_bundle
    from ptychopinn.config import Config
    from ptychopinn.errors import InputError, PtychoPINNError, TrainingError
    from ptychopinn.evaluation import Evaluation, evaluate
    from ptychopinn.io import load_scan, save_scan
    from ptychopinn.result import Reconstruction, load_reconstruction
    from ptychopinn.scan import Scan
    from ptychopinn.simulation import SimulationConfig, simulate
    from ptychopinn.workflows import TrainedModel, reconstruct, train

_HOMES = {
    "Bundle": "bundle",
    "Config": "config",
    "Evaluation": "evaluation",
    "InputError": "errors",
    "PtychoPINNError": "errors",
    "Reconstruction": "result",
    "Scan": "scan",
    "SimulationConfig": "simulation",
    "TFExecution": "backends.options",
    "TorchExecution": "backends.options",
    "TrainedModel": "workflows",
    "TrainingError": "errors",
    "evaluate": "evaluation",
    "load_bundle": "bundle",
    "load_reconstruction": "result",
    "load_scan": "io",
    "reconstruct": "workflows",
    "save_bundle": "bundle",
    "save_scan": "io",
    "simulate": "simulation",
    "train": "workflows",
}

__all__ = [
    "Bundle",
    "Config",
    "Evaluation",
    "InputError",
    "PtychoPINNError",
    "Reconstruction",
    "Scan",
    "SimulationConfig",
    "TFExecution",
    "TorchExecution",
    "TrainedModel",
    "TrainingError",
    "evaluate",
    "load_bundle",
    "load_reconstruction",
    "load_scan",
    "reconstruct",
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
