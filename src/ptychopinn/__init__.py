"""Ptychographic reconstruction with physics-informed neural networks.

Importing this package imports no framework and does nothing; names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptychopinn.checks import Checked
    from ptychopinn.config import (
        Config,
        DataConfig,
        LossConfig,
        ModelConfig,
        RefineConfig,
        TrainingConfig,
    )
    from ptychopinn.contracts import Progress, Solver, Step
    from ptychopinn.data.findings import Finding
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.data.scan import Scan
    from ptychopinn.errors import InputError, PtychoPINNError, TrainingError
    from ptychopinn.evaluation import Evaluation, evaluate
    from ptychopinn.evaluation.misfit import Misfit, misfit
    from ptychopinn.evaluation.prediction import predict_patterns
    from ptychopinn.io import load_scan, save_scan
    from ptychopinn.io.convert import convert
    from ptychopinn.io.models import Bundle, load_bundle, save_bundle
    from ptychopinn.io.reconstructions import load_reconstruction
    from ptychopinn.networks.architecture import CanvasConfig, PatchConfig, architecture
    from ptychopinn.networks.spec import Builder, Network
    from ptychopinn.ops.options import NumpyExecution, TFExecution, TorchExecution
    from ptychopinn.physics.forward import intensities
    from ptychopinn.physics.propagators import FarField, Propagator, near_field
    from ptychopinn.report.live_canvas import live_canvas
    from ptychopinn.simulation import SimulationConfig, simulate
    from ptychopinn.solvers.configs import PhysicsConfig, PtychiConfig
    from ptychopinn.solvers.probe_check import ProbeCheck, check_probe
    from ptychopinn.sources.recipe import Recipe
    from ptychopinn.training.objective import Prediction
    from ptychopinn.workflows.batch import Batch, reconstruct_many
    from ptychopinn.workflows.checking import check_scan
    from ptychopinn.workflows.compare import compare
    from ptychopinn.workflows.export import Exported, export_onnx
    from ptychopinn.workflows.model import Model, load_model
    from ptychopinn.workflows.prepare import prepare
    from ptychopinn.workflows.refinement import iterate, refine
    from ptychopinn.workflows.train import pretrain, train
    from ptychopinn.workflows.verbs import reconstruct

_HOMES = {
    "Batch": "workflows.batch",
    "Builder": "networks.spec",
    "Bundle": "io.models",
    "CanvasConfig": "networks.architecture",
    "Checked": "checks",
    "Config": "config",
    "DataConfig": "config",
    "Evaluation": "evaluation",
    "Exported": "workflows.export",
    "FarField": "physics.propagators",
    "Finding": "data.findings",
    "InputError": "errors",
    "LossConfig": "config",
    "Misfit": "evaluation.misfit",
    "Model": "workflows.model",
    "ModelConfig": "config",
    "Network": "networks.spec",
    "NumpyExecution": "ops.options",
    "PatchConfig": "networks.architecture",
    "PhysicsConfig": "solvers.configs",
    "ProbeCheck": "solvers.probe_check",
    "Prediction": "training.objective",
    "Progress": "contracts",
    "Propagator": "physics.propagators",
    "PtychiConfig": "solvers.configs",
    "PtychoPINNError": "errors",
    "Reconstruction": "data.reconstruction",
    "Recipe": "sources.recipe",
    "RefineConfig": "config",
    "Scan": "data.scan",
    "SimulationConfig": "simulation",
    "Solver": "contracts",
    "Step": "contracts",
    "TFExecution": "ops.options",
    "TorchExecution": "ops.options",
    "TrainingConfig": "config",
    "TrainingError": "errors",
    "architecture": "networks.architecture",
    "check_probe": "solvers.probe_check",
    "check_scan": "workflows.checking",
    "compare": "workflows.compare",
    "convert": "io.convert",
    "evaluate": "evaluation",
    "export_onnx": "workflows.export",
    "intensities": "physics.forward",
    "iterate": "workflows.refinement",
    "live_canvas": "report.live_canvas",
    "load_bundle": "io.models",
    "load_model": "workflows.model",
    "load_reconstruction": "io.reconstructions",
    "load_scan": "io",
    "misfit": "evaluation.misfit",
    "near_field": "physics.propagators",
    "predict_patterns": "evaluation.prediction",
    "prepare": "workflows.prepare",
    "pretrain": "workflows.train",
    "reconstruct": "workflows.verbs",
    "reconstruct_many": "workflows.batch",
    "refine": "workflows.refinement",
    "save_bundle": "io.models",
    "save_scan": "io",
    "simulate": "simulation",
    "train": "workflows.train",
}

__all__ = [
    "Batch",
    "Builder",
    "Bundle",
    "CanvasConfig",
    "Checked",
    "Config",
    "DataConfig",
    "Evaluation",
    "Exported",
    "FarField",
    "Finding",
    "InputError",
    "LossConfig",
    "Misfit",
    "Model",
    "ModelConfig",
    "Network",
    "NumpyExecution",
    "PatchConfig",
    "PhysicsConfig",
    "Prediction",
    "ProbeCheck",
    "Progress",
    "Propagator",
    "PtychiConfig",
    "PtychoPINNError",
    "Recipe",
    "Reconstruction",
    "RefineConfig",
    "Scan",
    "SimulationConfig",
    "Solver",
    "Step",
    "TFExecution",
    "TorchExecution",
    "TrainingConfig",
    "TrainingError",
    "architecture",
    "check_probe",
    "check_scan",
    "compare",
    "convert",
    "evaluate",
    "export_onnx",
    "intensities",
    "iterate",
    "live_canvas",
    "load_bundle",
    "load_model",
    "load_reconstruction",
    "load_scan",
    "misfit",
    "near_field",
    "predict_patterns",
    "prepare",
    "pretrain",
    "reconstruct",
    "reconstruct_many",
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
