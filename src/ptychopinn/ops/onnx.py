"""Operations that are written down instead of computed: a network as an ONNX graph.

What depends on an input of the network is a symbol of :mod:`ptychopinn.ops.onnx_graph`; the rest is
computed at once. Complex numbers are two real symbols, since few runtimes know them, and a Fourier
transform is a product with its matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Function, Padding
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.ops.onnx_graph import Length, Lengths, Symbol, common_shape, single


@dataclass(frozen=True, eq=False)
class Pair:
    """A complex array; each part is a symbol or a NumPy array."""

    real: Any
    imag: Any

    @property
    def shape(self) -> Lengths:
        return self.real.shape

    def __getitem__(self, key: Any) -> Pair:
        return Pair(self.real[key], self.imag[key])


def _recorded(x: Any) -> bool:
    return isinstance(x, Symbol | Pair)


def _unary(kind: str) -> Function:
    return lambda x: x.graph.add(kind, [x], x.shape)


def _in_numpy_unless_recorded(kind: str, at_once: Function) -> Function:
    recorded = _unary(kind)
    return lambda x: recorded(x) if _recorded(x) else at_once(x)


class OnnxOps(NumpyOps):
    """Those of the operations that networks are made of."""

    name: ClassVar[str] = "onnx"
    activations: ClassVar[Mapping[str, Function]] = {
        "relu": _unary("Relu"),
        "swish": lambda x: x * _unary("Sigmoid")(x),
        "softplus": _unary("Softplus"),
        "sigmoid": _unary("Sigmoid"),
        "tanh": _unary("Tanh"),
        "gelu": lambda x: x * 0.5 * (_unary("Erf")(x * (1 / sqrt(2))) + 1),
    }

    abs = staticmethod(_in_numpy_unless_recorded("Abs", np.abs))
    sqrt = staticmethod(_in_numpy_unless_recorded("Sqrt", np.sqrt))
    log = staticmethod(_in_numpy_unless_recorded("Log", np.log))
    sin = staticmethod(_in_numpy_unless_recorded("Sin", np.sin))

    @staticmethod
    def square(x: Any) -> Any:
        return x * x

    def astype(self, x: Any, like: Any) -> Any:
        return np.asarray(x, np.float32)

    def zeros(self, shape: Sequence[Any], like: Any) -> Any:
        if isinstance(like, Pair):
            return Pair(self.zeros(shape, like.real), self.zeros(shape, like.imag))
        if not _recorded(like):
            return super().zeros(shape, like)
        return self.broadcast_to(np.float32(0), shape)

    @staticmethod
    def zeros_like(x: Any) -> Any:
        return x * 0.0 if _recorded(x) else np.zeros_like(x)

    # --- complex ----------------------------------------------------------------------------------

    def complex(self, real: Any, imag: Any) -> Any:
        if _recorded(real) or _recorded(imag):
            return Pair(real, imag)
        return super().complex(real, imag)

    def rotation(self, phase: Any) -> Any:
        return Pair(_unary("Cos")(phase), _unary("Sin")(phase))

    def scaled(self, x: Any, factor: Any) -> Any:
        return Pair(x.real * factor, x.imag * factor)

    # --- along axes -------------------------------------------------------------------------------

    def mean(self, x: Any, axis: tuple[int, ...]) -> Any:
        axes = [n % len(x.shape) for n in axis]
        shape = tuple(1 if n in axes else length for n, length in enumerate(x.shape))
        return x.graph.add("ReduceMean", [x, np.array(axes)], shape, keepdims=1)

    def concat(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        if any(isinstance(x, Pair) for x in arrays):
            parts = ([getattr(x, part) for x in arrays] for part in ("real", "imag"))
            return Pair(*(self.concat(part, axis) for part in parts))
        symbol = next((x for x in arrays if _recorded(x)), None)
        if symbol is None:
            return super().concat(arrays, axis)
        axis %= len(symbol.shape)
        total = sum(x.shape[axis] for x in arrays)
        shape = (*symbol.shape[:axis], total, *symbol.shape[axis + 1 :])
        return symbol.graph.add("Concat", list(arrays), shape, axis=axis)

    def reshape(self, x: Any, shape: Sequence[Any]) -> Any:
        if not _recorded(x):
            return super().reshape(x, shape)
        # -1 where the number of pixels tells: for the open length, which there is one of at most.
        target = [-1 if isinstance(n, Length) else n for n in shape]
        known = list(shape)
        if not any(isinstance(n, Length) for n in shape) or -1 in shape:
            rest = prod(n for n in target if n >= 0)
            inner = [n for n in x.shape if isinstance(n, int)]
            known = [prod(inner) // rest if n == -1 else n for n in shape]
            target = [-1 if isinstance(n, Length) else n for n in known]
        return x.graph.add("Reshape", [x, np.array(target, np.int64)], tuple(known))

    def broadcast_to(self, x: Any, shape: Sequence[Any]) -> Any:
        graph = next((n.graph for n in shape if isinstance(n, Length)), None)
        graph = getattr(x, "graph", graph)
        if graph is None:
            return super().broadcast_to(x, shape)
        return graph.add("Expand", [x, graph.lengths(tuple(shape))], tuple(shape))

    @staticmethod
    def permute_dims(x: Any, axes: tuple[int, ...]) -> Any:
        if isinstance(x, Pair):
            return Pair(*(OnnxOps.permute_dims(part, axes) for part in (x.real, x.imag)))
        if not _recorded(x):
            return np.transpose(x, axes)
        return x.graph.add("Transpose", [x], tuple(x.shape[n] for n in axes), perm=axes)

    def matmul(self, one: Any, other: Any) -> Any:
        if _complex(one):
            by_real, by_imag = (self.matmul(part, other) for part in (one.real, one.imag))
            if not _complex(other):
                return Pair(by_real, by_imag)
            return Pair(by_real.real - by_imag.imag, by_real.imag + by_imag.real)
        if _complex(other):
            return Pair(self.matmul(one, other.real), self.matmul(one, other.imag))
        graph = next((x.graph for x in (one, other) if _recorded(x)), None)
        if graph is None:
            return np.matmul(one, other)
        shape = (*common_shape(one.shape[:-2], other.shape[:-2]), one.shape[-2], other.shape[-1])
        return graph.add("MatMul", [single(one), single(other)], shape)

    def pad(self, x: Any, before: Sequence[Any], after: Sequence[Any], mode: Padding) -> Any:
        if isinstance(x, Pair):
            return Pair(*(self.pad(part, before, after, mode) for part in (x.real, x.imag)))
        if not _recorded(x):
            return super().pad(x, before, after, mode)
        rank = len(x.shape)
        widths = [0] * (rank - 2) + list(before) + [0] * (rank - 2) + list(after)
        more = [0] * (rank - 2) + [int(a + b) for a, b in zip(before, after, strict=True)]
        shape = tuple(n if m == 0 else n + m for n, m in zip(x.shape, more, strict=True))
        kind = "constant" if mode == "zero" else "edge"
        return x.graph.add("Pad", [x, np.array(widths, np.int64)], shape, mode=kind)

    # --- transforms, as products with their matrices ----------------------------------------------

    def rfft2(self, x: Any, shape: tuple[Any, Any] | None = None) -> Any:
        height, width = x.shape[-2:]
        rows = _waves(width, width, -1)[:, : width // 2 + 1]
        return self.matmul(_waves(height, height, -1), self.matmul(x, rows))

    def irfft2(self, x: Any, shape: tuple[Any, Any]) -> Any:
        height, width = shape
        columns = self.matmul(_waves(height, height, 1) / height, x)
        # The half that is not there is the conjugate of the other.
        twice = np.full(width // 2 + 1, 2.0)
        twice[0] = 1
        twice[width // 2 :] = 2 - (width + 1) % 2
        back = twice[:, None] * _waves(width, width, 1)[: width // 2 + 1] / width
        return self.matmul(columns.real, back.real) - self.matmul(columns.imag, back.imag)

    # --- layers -----------------------------------------------------------------------------------

    def conv2d(
        self, x: Any, weight: Any, bias: Any, stride: int, dilation: int, groups: int
    ) -> Any:
        out, _, k = weight.shape[:3]
        rim = dilation * (k // 2)
        sides = tuple(n if stride == 1 else -(-n // stride) for n in x.shape[2:])
        return x.graph.add(
            "Conv", [x, weight, bias], (x.shape[0], out, *sides), pads=[rim] * 4,
            strides=[stride] * 2, dilations=[dilation] * 2, group=groups,
        )  # fmt: skip

    def conv_transpose2d(self, x: Any, weight: Any, bias: Any, stride: int) -> Any:
        shape = (x.shape[0], weight.shape[1], *(n * stride for n in x.shape[2:]))
        return x.graph.add("ConvTranspose", [x, weight, bias], shape, strides=[stride] * 2)

    @staticmethod
    def _resized(
        x: Any, kind: str, channels: int, sides: Lengths, *more: Any, **options: Any
    ) -> Any:
        return x.graph.add(kind, [x, *more], (x.shape[0], channels, *sides), **options)

    def max_pool(self, x: Any, factor: int) -> Any:
        return self._pooled(x, factor, "MaxPool")

    def avg_pool(self, x: Any, factor: int) -> Any:
        return self._pooled(x, factor, "AveragePool")

    def _pooled(self, x: Any, factor: int, kind: str) -> Any:
        sides = tuple(n // factor for n in x.shape[2:])
        size = [factor] * 2
        return self._resized(x, kind, x.shape[1], sides, kernel_shape=size, strides=size)

    def upsample(self, x: Any, factor: int) -> Any:
        sides = tuple(n * factor for n in x.shape[2:])
        scales = np.array([1, 1, factor, factor], np.float32)
        nothing = np.array([], np.float32)
        return self._resized(
            x, "Resize", x.shape[1], sides, nothing, scales, mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def space_to_depth(self, x: Any, factor: int) -> Any:
        channels, parts = x.shape[1], factor**2
        sides = tuple(n // factor for n in x.shape[2:])
        found = self._resized(x, "SpaceToDepth", channels * parts, sides, blocksize=factor)
        # There the place within a block comes before the channel.
        order = np.arange(channels * parts).reshape(parts, channels).T.reshape(-1)
        return self._resized(found, "Gather", channels * parts, sides, order, axis=1)

    def depth_to_space(self, x: Any, factor: int) -> Any:
        sides = tuple(n * factor for n in x.shape[2:])
        channels = x.shape[1] // factor**2
        return self._resized(x, "DepthToSpace", channels, sides, blocksize=factor, mode="CRD")

    def softmax(self, x: Any) -> Any:
        return x.graph.add("Softmax", [x], x.shape, axis=-1)


def _complex(x: Any) -> bool:
    return isinstance(x, Pair) or (isinstance(x, np.ndarray) and np.iscomplexobj(x))


def _waves(rows: int, columns: int, sign: int) -> NDArray[np.complex128]:
    """exp(sign 2 pi i j k / columns), (rows, columns)."""
    return np.exp(sign * 2j * np.pi * np.outer(np.arange(rows), np.arange(columns)) / columns)
