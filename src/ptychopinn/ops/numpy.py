"""The operations in NumPy: no framework, no derivatives; slower, and exact in double precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

from ptychopinn.machine.threads import chosen
from ptychopinn.machine.workers import MOST_WORKERS
from ptychopinn.ops.base import Function, Function2, Ops, Padding
from ptychopinn.ops.options import NumpyExecution

Array = NDArray[Any]


def _windows(flat: Array, places: Array, n: int) -> Iterator[Array]:
    """The n x n pixels of a ``flat`` canvas where each patch lies, as views."""
    if len(places) == 0:
        return
    width = int(places[0, 1] - places[0, 0]) if n > 1 else len(flat)
    rows = flat.reshape(-1, width)
    for start in places[:, 0].tolist():
        y, x = divmod(start, width)
        yield rows[y : y + n, x : x + n]


class NumpyOps(Ops):
    """NumPy on the CPU."""

    name: ClassVar[str] = "numpy"
    out_of_memory: ClassVar[type[Exception]] = MemoryError
    memory_of: ClassVar[str] = "machine"
    remedy: ClassVar[str] = "lower numpy_inference_batch_mib or use fewer patterns"
    activations: ClassVar[Mapping[str, Function]] = {
        "relu": lambda x: np.maximum(x, 0),
        "swish": lambda x: x * scipy.special.expit(x),
        "softplus": lambda x: np.logaddexp(x, 0),
        "sigmoid": lambda x: scipy.special.expit(x),
        "tanh": np.tanh,
        "gelu": lambda x: 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2)).astype(x.dtype)),
    }

    def __init__(self, execution: NumpyExecution | None = None) -> None:
        self.execution = NumpyExecution() if execution is None else execution
        self.workers = self.execution.threads or chosen()

    # --- arrays in and out ------------------------------------------------------------------------

    def asarray(self, values: Any) -> Array:
        return np.asarray(values)

    def to_numpy(self, x: Array) -> Array:
        return np.asarray(x)

    def shape(self, x: Array) -> tuple[int, ...]:
        return x.shape

    def astype(self, x: Array, like: Array) -> Array:
        return x.astype(like.real.dtype)

    def zeros(self, shape: Sequence[int], like: Array) -> Array:
        return np.zeros(tuple(shape), like.dtype)

    ones_like = staticmethod(np.ones_like)
    zeros_like: Function = staticmethod(np.zeros_like)
    detached = staticmethod(np.asarray)

    # --- elementwise ------------------------------------------------------------------------------

    real = staticmethod(np.real)
    imag = staticmethod(np.imag)
    conj = staticmethod(np.conj)
    abs: Function = staticmethod(np.abs)
    square: Function = staticmethod(np.square)
    sqrt: Function = staticmethod(np.sqrt)
    log: Function = staticmethod(np.log)
    sin: Function = staticmethod(np.sin)
    floor = staticmethod(np.floor)

    def complex(self, real: Array, imag: Array) -> Array:
        found = np.empty(np.broadcast_shapes(real.shape, imag.shape), np.result_type(real, 1j))
        found.real, found.imag = real, imag
        return found

    def rotation(self, phase: Array) -> Array:
        return self.complex(np.cos(phase), np.sin(phase))

    def maximum(self, x: Array, least: Any) -> Array:
        return np.maximum(x, least)

    def where(self, condition: Array, x: Array, otherwise: Array) -> Array:
        return np.where(condition, x, otherwise)

    # --- along axes -------------------------------------------------------------------------------

    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
        return np.asarray(np.sum(x, axis=axis))

    def mean(self, x: Array, axis: tuple[int, ...]) -> Array:
        return np.asarray(x.mean(axis=axis, keepdims=True))

    def max(self, x: Array) -> Array:
        return np.asarray(np.max(x))

    def stack(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return np.stack(arrays, axis)

    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return np.concatenate(arrays, axis)

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return x.reshape(tuple(shape))

    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        return np.broadcast_to(x, tuple(shape))

    permute_dims: Callable[[Array, tuple[int, ...]], Array] = staticmethod(np.transpose)
    roll = staticmethod(np.roll)
    matmul: Function2 = staticmethod(np.matmul)

    def pad(self, x: Array, before: Sequence[int], after: Sequence[int], mode: Padding) -> Array:
        width = [(0, 0)] * (x.ndim - 2) + list(zip(before, after, strict=True))
        if mode == "edge":
            return np.pad(x, width, mode="edge")
        return np.pad(x, width)

    # --- transforms -------------------------------------------------------------------------------

    def fft2(self, x: Array) -> Array:
        return np.asarray(scipy.fft.fft2(x, norm="ortho", workers=self.workers))

    def ifft2(self, x: Array) -> Array:
        return np.asarray(scipy.fft.ifft2(x, norm="ortho", workers=self.workers))

    def rfft2(self, x: Array, shape: tuple[int, int] | None = None) -> Array:
        return np.asarray(scipy.fft.rfft2(x, s=shape, workers=self.workers))

    def irfft2(self, x: Array, shape: tuple[int, int]) -> Array:
        return np.asarray(scipy.fft.irfft2(x, s=shape, workers=self.workers))

    def fftfreq(self, n: int, like: Array) -> Array:
        return np.fft.fftfreq(n).astype(like.real.dtype)

    def integers(self, n: int, like: Array) -> Array:
        return np.arange(n)

    def as_index(self, x: Array) -> Array:
        return x.astype(np.int64)

    # --- patches on a canvas ----------------------------------------------------------------------

    def gather(self, canvas: Array, places: Array, n: int) -> Array:
        found = np.empty((len(places), n, n), canvas.dtype)
        for patch, window in zip(found, _windows(canvas.reshape(-1), places, n), strict=True):
            patch[...] = window
        return found

    def spread(self, patches: Array, places: Array, size: int) -> Array:
        # Over whole patches: a sum by index of each pixel takes four to six times as long.
        total = np.zeros(size, patches.dtype)
        windows = _windows(total, places, patches.shape[-1])
        for patch, window in zip(patches, windows, strict=True):
            window += patch
        return total

    def spread_points(self, values: Array, pixels: Array, size: int) -> Array:
        total = np.zeros((size, values.shape[1]), values.dtype)
        np.add.at(total, pixels, values)
        return total

    # --- running ----------------------------------------------------------------------------------

    @property
    def threads(self) -> int:
        return self.workers

    def apart(self, count: int) -> Sequence[Ops]:
        number = min(count, self.workers, MOST_WORKERS)
        if number < 2:
            return [self]
        one = self.with_threads(self.workers // number)
        return [self] if one is None else [one] * number

    def assign(self, variable: Array, values: NDArray[Any]) -> None:
        variable[...] = values

    # --- layers -----------------------------------------------------------------------------------

    def conv2d(
        self, x: Array, weight: Array, bias: Array, stride: int, dilation: int, groups: int
    ) -> Array:
        out, into, k = weight.shape[:3]
        rim = dilation * (k // 2)
        padded = np.pad(x, ((0, 0), (0, 0), (rim, rim), (rim, rim)))
        height, width = (-(-side // stride) for side in x.shape[2:])
        total = np.broadcast_to(bias[:, None], (len(x), out, height * width)).copy()
        for i in range(k):
            for j in range(k):
                y, z = i * dilation, j * dilation
                window = padded[
                    ..., y : y + stride * (height - 1) + 1 : stride,
                    z : z + stride * (width - 1) + 1 : stride,
                ]  # fmt: skip
                parts = window.reshape(len(x), groups, into, -1)
                kernel = weight[:, :, i, j].reshape(groups, out // groups, into)
                total += (kernel @ parts).reshape(total.shape)
        return total.reshape(len(x), out, height, width)

    def conv_transpose2d(self, x: Array, weight: Array, bias: Array, stride: int) -> Array:
        batch, _, height, width = x.shape
        found = np.einsum("bihw,ioyx->bohywx", x, weight, optimize=True)
        return found.reshape(batch, -1, height * stride, width * stride) + bias[:, None, None]

    def _blocks(self, x: Array, factor: int) -> Array:
        batch, channels, height, width = x.shape
        y, z = height // factor, width // factor
        cut = x[..., : y * factor, : z * factor]
        return cut.reshape(batch, channels, y, factor, z, factor)

    def max_pool(self, x: Array, factor: int) -> Array:
        return np.asarray(self._blocks(x, factor).max(axis=(3, 5)))

    def avg_pool(self, x: Array, factor: int) -> Array:
        return np.asarray(self._blocks(x, factor).mean(axis=(3, 5)))

    def upsample(self, x: Array, factor: int) -> Array:
        return x.repeat(factor, axis=2).repeat(factor, axis=3)

    def space_to_depth(self, x: Array, factor: int) -> Array:
        batch, channels, y, _, z, _ = self._blocks(x, factor).shape
        moved = self._blocks(x, factor).transpose(0, 1, 3, 5, 2, 4)
        return moved.reshape(batch, channels * factor * factor, y, z)

    def depth_to_space(self, x: Array, factor: int) -> Array:
        batch, channels, height, width = x.shape
        parts = x.reshape(batch, channels // factor**2, factor, factor, height, width)
        return parts.transpose(0, 1, 4, 2, 5, 3).reshape(
            batch, channels // factor**2, height * factor, width * factor
        )

    def softmax(self, x: Array) -> Array:
        return np.asarray(scipy.special.softmax(x, axis=-1))
