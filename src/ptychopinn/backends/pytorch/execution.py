"""How the PyTorch backend runs on a machine; nothing here changes what is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ptychopinn.errors import InputError
from ptychopinn.ops.options import TorchExecution

__all__ = ["TorchExecution", "computing", "device_of"]


def device_of(execution: TorchExecution) -> torch.device:
    """The device to use; ``auto`` is CUDA when there is one.

    Raises
    ------
    InputError
        When CUDA is asked for and not available.
    """
    available = torch.cuda.is_available()
    if execution.accelerator == "cuda" and not available:
        raise InputError(
            "accelerator 'cuda' needs a CUDA device and a CUDA build of torch, received none; "
            "use --torch-accelerator cpu or auto."
        )
    return torch.device("cuda" if available and execution.accelerator != "cpu" else "cpu")


@contextmanager
def computing(execution: TorchExecution) -> Iterator[None]:
    """Use the threads of ``execution`` inside the block, then restore the settings of torch."""
    threads = torch.get_num_threads()
    deterministic, warn_only = _deterministic()
    benchmark = torch.backends.cudnn.benchmark
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        # Only where training changed it: the call imports the compiler of torch, for a second.
        if _deterministic() != (deterministic, warn_only):
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark


def _deterministic() -> tuple[bool, bool]:
    """Whether torch insists on deterministic algorithms, and only warns of others."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
