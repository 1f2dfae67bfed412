"""The operations in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ptychopinn.machine.processes import FirstUse
from ptychopinn.machine.threads import Threads, usual
from ptychopinn.machine.workers import ALONE, MOST_WORKERS, Workers
from ptychopinn.ops.base import Function, Ops, Padding
from ptychopinn.ops.options import TorchExecution
from ptychopinn.ops.torch_device import COPYING, device_of, pinned_rows, whole_digits
from ptychopinn.ops.torch_together import Together

if TYPE_CHECKING:
    from ptychopinn.ops.engine import Engine

first_use = FirstUse()
# Apple's GPUs know no double precision.
_HALVES = {
    np.dtype(np.float64): np.dtype(np.float32),
    np.dtype(np.complex128): np.dtype(np.complex64),
}
# Of the free memory of a GPU, what patterns may fill; the rest is for working on them.
FREE_SHARE = 0.6
# Batches that are worked on at a time on a CPU, each with its share of the threads: those
# that share an operation wait for each other, which takes long where others keep a core busy.
SIDE_BY_SIDE = 4


@contextmanager
def using_threads(number: int) -> Iterator[None]:
    """So many threads inside the block."""
    first_use.check()
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Spread(NamedTuple):
    """Patches that are still to be added to a flat canvas, in place, so that none is copied."""

    patches: Tensor
    places: Tensor
    size: int


class TorchOps(Together, Ops):
    """PyTorch on one device."""

    name: ClassVar[str] = "pytorch"
    out_of_memory: ClassVar[type[Exception]] = torch.OutOfMemoryError
    remedy: ClassVar[str] = "lower torch_inference_batch_mib or use the accelerator cpu"
    activations: ClassVar[Mapping[str, Function]] = {
        "relu": functional.relu,
        "swish": functional.silu,
        "softplus": functional.softplus,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "gelu": functional.gelu,
    }

    def __init__(self, execution: TorchExecution | None = None) -> None:
        self.execution = TorchExecution() if execution is None else execution
        self.device = device_of(self.execution)
        if self.device.type == "cuda":
            # Kernels of less are over before the next one is launched.
            self.batch_bytes, self.tile = 1 << 30, 2048
        self._threads: Threads | None = None
        self._copying: ThreadPoolExecutor | None = None
        self._workers = ALONE

    # --- arrays in and out ------------------------------------------------------------------------

    def asarray(self, values: Any) -> Tensor:
        # Torch shares the memory of an array, but not of one that must not be written to.
        array = np.asarray(values)
        if not array.flags.writeable or not array.flags.c_contiguous:
            array = array.copy()
        if self.device.type == "mps" and array.dtype in _HALVES:
            array = array.astype(_HALVES[array.dtype])
        return torch.from_numpy(array).to(self.device)

    def amplitudes(
        self, counts: NDArray[Any], weight: Tensor, inward: Function = np.asarray
    ) -> Tensor:
        if self.device.type == "cpu":
            return super().amplitudes(counts, weight, inward)
        # The device takes roots and turns patterns round faster, and counts are often less to move.
        m, n = counts.shape[:2]
        order = self.asarray(inward(np.arange(n * n).reshape(n, n)).reshape(-1))
        pixels = self.asarray(counts).to(torch.float32).reshape(m, -1)
        return pixels.index_select(1, order).reshape(m, n, n).sqrt_().mul_(weight)

    def rows(self, array: Any, chosen: NDArray[np.int64]) -> NDArray[Any]:
        if self.device.type != "cuda" or not isinstance(array, np.ndarray):
            return super().rows(array, chosen)
        if self._copying is None:
            self._copying = ThreadPoolExecutor(COPYING, "copying")
        return pinned_rows(array, chosen, self._copying)

    def to_numpy(self, x: Tensor) -> NDArray[Any]:
        found: NDArray[Any] = x.detach().resolve_conj().cpu().numpy()
        return found

    def shape(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    def astype(self, x: Tensor, like: Tensor) -> Tensor:
        return x.to(like.real.dtype)

    def zeros(self, shape: Sequence[int], like: Tensor) -> Tensor:
        return torch.zeros(tuple(shape), dtype=like.dtype, device=like.device)

    ones_like = staticmethod(torch.ones_like)
    zeros_like = staticmethod(torch.zeros_like)
    detached = staticmethod(torch.detach)

    # --- elementwise ------------------------------------------------------------------------------

    real = staticmethod(torch.real)
    imag = staticmethod(torch.imag)
    conj = staticmethod(torch.conj)
    complex = staticmethod(torch.complex)
    abs = staticmethod(torch.abs)
    square = staticmethod(torch.square)
    sqrt = staticmethod(torch.sqrt)
    log = staticmethod(torch.log)
    sin = staticmethod(torch.sin)
    floor = staticmethod(torch.floor)

    def rotation(self, phase: Tensor) -> Tensor:
        return torch.polar(torch.ones_like(phase), phase)

    def abs2(self, x: Tensor) -> Tensor:
        return torch.addcmul(x.real.square(), x.imag, x.imag)

    def maximum(self, x: Tensor, least: Any) -> Tensor:
        return x.clamp(min=least)

    def where(self, condition: Tensor, x: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(condition, x, otherwise)

    # --- along axes -------------------------------------------------------------------------------

    def sum(self, x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
        return x.sum() if axis is None else x.sum(dim=axis)

    def mean(self, x: Tensor, axis: tuple[int, ...]) -> Tensor:
        return x.mean(dim=axis, keepdim=True)

    max = staticmethod(torch.max)

    def stack(self, arrays: Sequence[Tensor], axis: int = 0) -> Tensor:
        return torch.stack(list(arrays), dim=axis)

    def concat(self, arrays: Sequence[Tensor], axis: int = 0) -> Tensor:
        return arrays[0] if len(arrays) == 1 else torch.cat(list(arrays), dim=axis)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x.reshape(tuple(shape))

    def broadcast_to(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x.expand(tuple(shape))

    permute_dims = staticmethod(torch.permute)
    roll = staticmethod(torch.roll)
    matmul = staticmethod(torch.matmul)

    def pad(self, x: Tensor, before: Sequence[int], after: Sequence[int], mode: Padding) -> Tensor:
        width = [before[1], after[1], before[0], after[0]]
        if not any(width):
            return x
        return functional.pad(x, width, mode="replicate" if mode == "edge" else "constant")

    def sum_squares(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1)
        return torch.dot(flat, flat)

    def sum_modes(self, x: Tensor) -> Tensor:
        # A single mode is not copied.
        return x[:, 0] if x.shape[1] == 1 else x.sum(dim=1)

    # --- transforms -------------------------------------------------------------------------------

    def fft2(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x, norm="ortho")

    def ifft2(self, x: Tensor) -> Tensor:
        return torch.fft.ifft2(x, norm="ortho")

    def rfft2(self, x: Tensor, shape: tuple[int, int] | None = None) -> Tensor:
        return torch.fft.rfft2(x, s=shape)

    def irfft2(self, x: Tensor, shape: tuple[int, int]) -> Tensor:
        return torch.fft.irfft2(x, s=shape)

    def fftfreq(self, n: int, like: Tensor) -> Tensor:
        return torch.fft.fftfreq(n, device=like.device, dtype=like.real.dtype)

    def integers(self, n: int, like: Tensor) -> Tensor:
        return torch.arange(n, device=like.device)

    def as_index(self, x: Tensor) -> Tensor:
        return x.long()

    # --- patches on a canvas ----------------------------------------------------------------------

    def gather(self, canvas: Tensor, places: Tensor, n: int) -> Tensor:
        patches: Tensor = _Patches.apply(canvas.reshape(-1), places)
        return patches

    def spread(self, patches: Tensor, places: Tensor, size: int) -> Spread:
        return Spread(patches, places, size)

    def spread_points(self, values: Tensor, pixels: Tensor, size: int) -> Tensor:
        return values.new_zeros(size, values.shape[1]).index_add_(0, pixels, values)

    def plus(self, total: Any, contribution: Any) -> Tensor:
        if not isinstance(contribution, Spread):
            return super().plus(total, contribution)
        patches, places, size = contribution
        if total is None:
            total = patches.new_zeros(size)
        return _add(total, patches, places)

    # --- running ----------------------------------------------------------------------------------

    def held_bytes(self, limit_bytes: int) -> int:
        """On a GPU the patterns lie in its memory, not in that of the machine: as many as fit,
        unless a limit was asked for."""
        if self.device.type != "cuda" or "inference_batch_mib" in self.execution.model_fields_set:
            return limit_bytes
        free, _ = torch.cuda.mem_get_info(self.device)
        # What PyTorch has set aside and nobody uses is free as well.
        spare = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return max(limit_bytes, int(FREE_SHARE * (free + spare)))

    @property
    def threads(self) -> int:
        # Whatever else the machine does: the last bits of a training depend on it.
        return self.execution.threads or usual(torch.get_num_threads())

    @contextmanager
    def threaded(self) -> Iterator[None]:
        """As many threads inside the block as are asked for, or as other processes leave free."""
        if self._threads is None:
            self._threads = Threads(torch.get_num_threads(), self.execution.threads)
        with using_threads(self._threads.look()):
            yield

    @contextmanager
    def computing(self) -> Iterator[None]:
        exact = whole_digits() if self.device.type == "cuda" else nullcontext()
        with torch.inference_mode(), exact, self.threaded():
            count = torch.get_num_threads() if self.device.type == "cpu" else 1
            side_by_side = min(count, SIDE_BY_SIDE)
            with Workers(side_by_side, partial(_inside, count // side_by_side)) as workers:
                self._workers = workers
                try:
                    yield
                finally:
                    self._workers = ALONE

    def apart(self, count: int) -> Sequence[Ops]:
        if self.device.type != "cpu" or self.ranks.size > 1:
            return [self]
        with self.threaded():
            threads = torch.get_num_threads()
        number = min(count, threads, MOST_WORKERS)
        if number < 2:
            return [self]
        found = [copy(self) for _ in range(number)]
        for each in found:
            each._threads = Threads(threads // number, threads // number)
        return found

    def each(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        # Beside workers on all cores, what this thread shared out would wait for one of them.
        with using_threads(1) if self._workers.several else nullcontext():
            yield from self._workers.each(work, items)

    def assign(self, variable: Tensor, values: NDArray[Any]) -> None:
        with torch.no_grad():
            variable.copy_(torch.from_numpy(np.array(values)))

    def engine(self, variables: Mapping[str, Any]) -> Engine:
        # Imported only to train.
        from ptychopinn.ops.torch_engine import TorchEngine

        return TorchEngine(self, variables)

    # --- layers -----------------------------------------------------------------------------------

    def single(self, x: Tensor) -> Tensor:
        return x.float()

    def conv2d(
        self, x: Tensor, weight: Tensor, bias: Tensor, stride: int, dilation: int, groups: int
    ) -> Tensor:
        rim = dilation * (weight.shape[-1] // 2)
        if self.device.type == "cpu":
            # The library computes with the channels last, and would reorder image and result.
            x = x.contiguous(memory_format=torch.channels_last)
            weight = weight.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(x, weight, bias, stride, rim, dilation, groups)

    def conv_transpose2d(self, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        return functional.conv_transpose2d(x, weight, bias, stride)

    max_pool = staticmethod(functional.max_pool2d)
    avg_pool = staticmethod(functional.avg_pool2d)
    space_to_depth = staticmethod(functional.pixel_unshuffle)
    depth_to_space = staticmethod(functional.pixel_shuffle)

    def upsample(self, x: Tensor, factor: int) -> Tensor:
        return functional.interpolate(x, scale_factor=factor, mode="nearest")

    softmax = staticmethod(partial(torch.softmax, dim=-1))


@contextmanager
def _inside(threads: int) -> Iterator[None]:
    """What PyTorch keeps per thread, in a thread that works on batches."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        yield


def _add(total: Tensor, patches: Tensor, places: Tensor) -> Tensor:
    """Add patches (M, n, n) to a flat canvas, in place."""
    u = torch.arange(places.shape[1], device=places.device)
    pixels = (places[..., None] + u).reshape(-1)
    return total.index_add_(0, pixels, patches.reshape(-1))


class _Patches(torch.autograd.Function):
    """The patches, copied row by row: one index stands for n neighbouring pixels."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size, n = flat.numel(), places.shape[1]
        runs = flat.contiguous().as_strided((ctx.size - n + 1, n), (1, 1))
        return runs.index_select(0, places.reshape(-1)).reshape(-1, n, n)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return _add(upstream[0].new_zeros(ctx.size), upstream[0], places), None
