"""The kinds of layers that look at a pixel and its neighbours: one class each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add, mul
from typing import ClassVar

import numpy as np

from ptychopinn.networks.kinds import (
    Initial,
    LayerKind,
    Shape,
    Weights,
    constant,
    demand,
    gain_of,
    layer,
    normal,
    per_channel,
)
from ptychopinn.ops.base import Array, Ops

FUNCTIONS = ("relu", "swish", "softplus", "sigmoid", "tanh", "gelu")


@layer
class Convolution(LayerKind):
    """Zeros around the image, so that each side becomes 1 / stride as long, rounded up. An even
    kernel is a cut into patches: stride = kernel, and sides are multiples of it. initial: he |
    zero; bias: its first value."""

    name = "conv"
    filters: int
    kernel: int = 3
    dilation: int = 1
    stride: int = 1
    groups: int = 1
    initial: str = "he"
    bias: float = 0.0

    def channels(self, into: Sequence[int]) -> int:
        out, k, groups = self.filters, self.kernel, self.groups
        least = min(out, k, self.dilation, self.stride, groups)
        demand(least >= 1, "positive filters, kernel, dilation, stride and groups", least)
        demand(
            into[0] % groups == 0 and out % groups == 0,
            f"numbers of channels that {groups} groups divide",
            f"{into[0]} channels into {out}",
        )
        patches = self.stride == k and self.dilation == 1
        demand(k % 2 == 1 or patches, f"an odd kernel, or stride = kernel = {k}", asdict(self))
        return out

    def scale(self) -> tuple[int, int]:
        return self.stride, 1

    def looks(self) -> int | None:
        return self.dilation * (self.kernel // 2) if self.kernel % 2 else self.kernel - 1

    def parameters(self, into: Sequence[int]) -> dict[str, tuple[Shape, Initial]]:
        shape = (self.filters, into[0] // self.groups, self.kernel, self.kernel)
        first = normal(float(np.prod(shape[1:])), gain_of(self.initial))
        return {"weight": (shape, first), "bias": ((self.filters,), constant(self.bias))}

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        image, weight, stride = x[0], weights["weight"], self.stride
        if self.kernel % 2 == 0:
            image, stride = xp.space_to_depth(image, self.kernel), 1
            weight = xp.reshape(weight, (self.filters, -1, 1, 1))
        return xp.conv2d(image, weight, weights["bias"], stride, self.dilation, self.groups)


@layer
class TransposedConvolution(LayerKind):
    """Every pixel becomes stride x stride pixels, each with its own weights."""

    name = "conv_transpose"
    filters: int
    stride: int = 2
    initial: str = "he"
    bias: float = 0.0

    def channels(self, into: Sequence[int]) -> int:
        least = min(self.filters, self.stride)
        demand(least >= 1, "positive filters and stride", least)
        return self.filters

    def scale(self) -> tuple[int, int]:
        return 1, self.stride

    def looks(self) -> int | None:
        return self.stride - 1

    def parameters(self, into: Sequence[int]) -> dict[str, tuple[Shape, Initial]]:
        shape = (into[0], self.filters, self.stride, self.stride)
        first = normal(into[0], gain_of(self.initial))
        return {"weight": (shape, first), "bias": ((self.filters,), constant(self.bias))}

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        return xp.conv_transpose2d(x[0], weights["weight"], weights["bias"], self.stride)


@layer
class Activation(LayerKind):
    """function: relu | swish | softplus | sigmoid | tanh | gelu."""

    name = "activation"
    function: str

    def channels(self, into: Sequence[int]) -> int:
        known = self.function in FUNCTIONS
        demand(known, f"a function out of {', '.join(FUNCTIONS)}", self.function)
        return into[0]

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        return xp.activations[self.function](x[0])


@layer
class Compress(LayerKind):
    """function: sqrt | log1p of the absolute value: bright pixels stand out less."""

    name = "compress"
    function: str

    def channels(self, into: Sequence[int]) -> int:
        known = self.function in ("sqrt", "log1p")
        demand(known, "the function sqrt or log1p", self.function)
        return into[0]

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        size = xp.abs(xp.single(x[0]))
        return xp.sqrt(size) if self.function == "sqrt" else xp.log(1 + size)


@dataclass(frozen=True)
class _Resizing(LayerKind):
    """What the operation with the name of the kind does."""

    shrinks: ClassVar[bool] = True
    factor: int = 2

    def channels(self, into: Sequence[int]) -> int:
        demand(self.factor >= 1, "a positive factor", self.factor)
        return into[0]

    def scale(self) -> tuple[int, int]:
        return (self.factor, 1) if self.shrinks else (1, self.factor)

    def looks(self) -> int | None:
        return self.factor - 1

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        return getattr(xp, self.name)(x[0], self.factor)


@layer
class MaxPool(_Resizing):
    name = "max_pool"


@layer
class AveragePool(_Resizing):
    name = "avg_pool"


@layer
class Upsample(_Resizing):
    """The nearest neighbour."""

    name = "upsample"
    shrinks = False


@layer
class SpaceToDepth(_Resizing):
    """factor r: channel c*r*r + i*r + j holds the pixels (r y + i, r x + j) of c."""

    name = "space_to_depth"

    def channels(self, into: Sequence[int]) -> int:
        return into[0] * self.factor**2


@layer
class DepthToSpace(_Resizing):
    """The inverse of space_to_depth."""

    name = "depth_to_space"
    shrinks = False

    def channels(self, into: Sequence[int]) -> int:
        parts = self.factor**2
        demand(into[0] % parts == 0, f"a multiple of {parts} channels", into[0])
        return into[0] // parts


@layer
class Add(LayerKind):
    """Sum of all inputs."""

    name = "add"
    feeds = None

    def channels(self, into: Sequence[int]) -> int:
        demand(len(set(into)) == 1, "inputs with the same number of channels", list(into))
        return into[0]

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        return reduce(add, x)


@layer
class Multiply(Add):
    """Product of all inputs."""

    name = "multiply"

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        return reduce(mul, x)


@layer
class Direction(LayerKind):
    """x / sqrt(x^2 + y^2 + epsilon) of two inputs x and y: the cosine of the angle of the vector
    (x, y), whatever its length."""

    name = "direction"
    feeds = 2
    epsilon: float = 1e-4

    def channels(self, into: Sequence[int]) -> int:
        demand(into[0] == into[1], "inputs with the same number of channels", list(into))
        return into[0]

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        first, second = (xp.single(part) for part in x)
        return first / xp.sqrt(xp.square(first) + xp.square(second) + self.epsilon)


@layer
class Concat(LayerKind):
    """Inputs stacked along the channels."""

    name = "concat"
    feeds = None

    def channels(self, into: Sequence[int]) -> int:
        return sum(into)

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        return xp.concat(x, axis=xp.channels)


@layer
class Channels(LayerKind):
    """A range of channels."""

    name = "channels"
    start: int
    stop: int

    def channels(self, into: Sequence[int]) -> int:
        fits = 0 <= self.start < self.stop <= into[0]
        demand(fits, f"a range within {into[0]} channels", f"{self.start} to {self.stop}")
        return self.stop - self.start

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        chosen = slice(self.start, self.stop)
        return x[0][:, chosen] if xp.channels == 1 else x[0][..., chosen]


@layer
class Scale(LayerKind):
    """Multiply by a constant."""

    name = "scale"
    factor: float

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        return x[0] * self.factor


@layer
class LearnedScale(LayerKind):
    """Multiply each channel by a learned number, which is ``initial`` at first."""

    name = "learned_scale"
    initial: float = 1.0

    def parameters(self, into: Sequence[int]) -> dict[str, tuple[Shape, Initial]]:
        return {"weight": ((into[0],), constant(self.initial))}

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        return x[0] * per_channel(xp, weights["weight"])


def surrounded(xp: Ops, x: Array, pixels: int, value: float) -> Array:
    """An image with a constant frame."""
    image = xp.image_out(x) - value
    return xp.image_in(xp.pad(image, (pixels, pixels), (pixels, pixels), "zero") + value)


@layer
class Pad(LayerKind):
    """Surround with a constant frame."""

    name = "pad"
    reach = None
    pixels: int
    value: float = 0.0

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        return surrounded(xp, x[0], self.pixels, self.value)


@layer
class Border(LayerKind):
    """Keep only a frame of this width, zero inside."""

    name = "border"
    reach = None
    pixels: int

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        w = self.pixels
        inner = xp.zeros_like(x[0][:, :, w:-w, w:-w] if xp.channels == 1 else x[0][:, w:-w, w:-w])
        return x[0] * surrounded(xp, inner, w, 1.0)
