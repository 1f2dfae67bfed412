"""How the PyTorch backend runs on a machine; nothing here changes what is computed."""

from __future__ import annotations

import torch

from ptychopinn.backends.options import TorchExecution
from ptychopinn.errors import InputError

__all__ = ["TorchExecution", "device_of"]


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
