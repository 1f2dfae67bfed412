"""The device that PyTorch computes on, and the way of patterns to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.machine.ranks import started
from ptychopinn.ops.options import TorchExecution

# Threads that copy patterns for a device.
COPYING = 8


def device_of(execution: TorchExecution) -> torch.device:
    """The device to use; ``auto`` is CUDA when there is one.

    Raises InputError when the device that is asked for is not there, or two are."""
    kind: str = execution.accelerator
    index = 0
    if execution.device is not None:
        named, _, number = execution.device.partition(":")
        if kind not in ("auto", named):
            raise InputError(
                f"the device must be one of the accelerator '{kind}', received "
                f"'{execution.device}'; leave one of the two out."
            )
        kind, index = named, int(number or 0)
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    count = {"cpu": _one, "mps": _mps, "cuda": torch.cuda.device_count, "xpu": _xpu}[kind]()
    if not count:
        raise InputError(
            f"accelerator '{kind}' needs {_NEEDED[kind]}, received none; use the accelerator cpu "
            "or auto."
        )
    if index >= count:
        raise InputError(
            f"device '{execution.device}' must be one of the {count} that torch sees, {kind}:0 to "
            f"{kind}:{count - 1}; choose one of these."
        )
    if kind in ("cpu", "mps"):
        return torch.device(kind)
    ranks = started()
    if execution.device is None and ranks.size > 1:
        # Processes that train together spread over the devices of their machine.
        index = ranks.local % count
    return torch.device(kind, index)


_NEEDED = {
    "cuda": "a CUDA device and a CUDA build of torch",
    "mps": "a Mac with an Apple GPU and torch for it",
    "xpu": "an Intel GPU and an XPU build of torch",
}


def _one() -> int:
    return 1


def _mps() -> int:
    return int(torch.backends.mps.is_available())


def _xpu() -> int:
    return torch.xpu.device_count() if torch.xpu.is_available() else 0


@contextmanager
def whole_digits() -> Iterator[None]:
    """Convolutions with all digits of single precision inside the block; a CUDA device leaves out
    half of them by itself, which is no faster in these networks."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def pinned_rows(array: NDArray[Any], chosen: NDArray[np.int64], threads: Executor) -> NDArray[Any]:
    """The ``chosen`` rows, copied by ``threads`` into memory that a CUDA device reads itself,
    without a further copy in between."""
    shape = (len(chosen), *array.shape[1:])
    memory = torch.empty(math.prod(shape) * array.itemsize, dtype=torch.uint8, pin_memory=True)
    return taken(array, chosen, memory.numpy().view(array.dtype).reshape(shape), threads)


def taken(
    array: NDArray[Any], chosen: NDArray[np.int64], out: NDArray[Any], threads: Executor
) -> NDArray[Any]:
    """``out``, with the ``chosen`` rows copied to it by ``threads``."""
    parts = [part for part in np.array_split(np.arange(len(chosen)), COPYING) if len(part)]
    # Asking for the results raises what went wrong.
    list(threads.map(partial(_take, array, chosen, out), parts))
    return out


def _take(
    array: NDArray[Any], chosen: NDArray[np.int64], out: NDArray[Any], part: NDArray[np.int64]
) -> None:
    """Copy the ``chosen`` rows of one ``part`` of them."""
    here = slice(part[0], part[-1] + 1)
    # Another mode would copy everything once more.
    np.take(array, chosen[here], axis=0, out=out[here], mode="clip")
