"""How the PyTorch backend runs on a machine; nothing here changes what is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ptychopinn.errors import InputError
from ptychopinn.machine.processes import FirstUse
from ptychopinn.machine.threads import Threads, usual
from ptychopinn.ops.options import TorchExecution

__all__ = ["TorchExecution", "computing", "device_of", "threads_of"]

_first_use = FirstUse()


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


def threads_of(execution: TorchExecution) -> int:
    """The number of threads that a training runs with, whatever else the machine does: the last
    bits of its results depend on it."""
    return execution.threads or usual(torch.get_num_threads())


@contextmanager
def computing(execution: TorchExecution, steady: bool = False) -> Iterator[Callable[[], None]]:
    """Compute inside the block, then restore the settings of torch.

    The threads are those of ``execution``. When it leaves them open they are as many as other
    processes leave cores for, unless ``steady`` is set. The block gets a function to call now and
    then, which looks again.

    Raises
    ------
    InputError
        In a process that cannot compute (see :mod:`ptychopinn.machine.processes`).
    """
    _first_use.check()
    before = torch.get_num_threads()
    chosen = Threads(before, threads_of(execution) if steady else execution.threads)

    def look() -> None:
        if chosen.look() != torch.get_num_threads():
            torch.set_num_threads(chosen.number)

    deterministic, warn_only = _deterministic()
    benchmark = torch.backends.cudnn.benchmark
    try:
        look()
        yield look
    finally:
        torch.set_num_threads(before)
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
