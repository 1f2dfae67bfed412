"""The PyTorch backend's verbs; Lightning is imported only to train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptychopinn.backends.base import Progress, TrainingOutcome
from ptychopinn.backends.pytorch.inference import reconstruct
from ptychopinn.backends.pytorch.refinement import refine
from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.networks.weights import Weights
from ptychopinn.ops.options import TorchExecution

__all__ = ["reconstruct", "refine", "train"]


def train(
    scans: Sequence[PreparedScan],
    config: Config,
    execution: TorchExecution,
    directory: Path,
    *,
    resume: bool,
    start: Weights | None = None,
    progress: Progress,
) -> TrainingOutcome:
    """See :func:`ptychopinn.backends.pytorch.training.train`."""
    from ptychopinn.backends.pytorch import training

    return training.train(
        scans, config, execution, directory, resume=resume, start=start, progress=progress
    )
