"""The kinds of layers that a network is described with: one class each.

A kind says how many channels it gives, how far it looks, which parameters it learns and how it is
computed on the operations of a framework. Inside, images have their channels on the axis
``xp.channels``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops

Options = Mapping[str, Any]
Shape = tuple[int, ...]
Initial = Callable[[np.random.Generator, Shape], NDArray[Any]]


class LayerKind:
    """A kind of layer; the defaults are those of a layer without parameters that looks at one
    pixel and keeps the channels."""

    name: ClassVar[str]

    def channels(self, into: Sequence[int], options: Options) -> int:
        """Channels of the output, given those of the inputs."""
        return into[0]

    def scale(self, options: Options) -> tuple[int, int]:
        """By what the pixels become larger, and smaller."""
        return 1, 1

    def looks(self, options: Options) -> int | None:
        """Pixels on each side that an output pixel depends on; None for all of them."""
        return 0

    def parameters(self, into: Sequence[int], options: Options) -> dict[str, tuple[Shape, Initial]]:
        """Shape and first values of each learned parameter."""
        return {}

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        """The output."""
        raise NotImplementedError


LAYERS: dict[str, LayerKind] = {}


def layer(kind: type[LayerKind]) -> type[LayerKind]:
    """Decorator: make a kind of layer known by its name."""
    LAYERS[kind.name] = kind()
    return kind


def constant(value: float) -> Initial:
    """First values that are all the same."""
    return lambda _, shape: np.full(shape, value)


def normal(fan_in: float) -> Initial:
    """Normal with the standard deviation sqrt(2 / fan-in) (He et al., ICCV 2015), which keeps the
    variance through a ReLU."""
    return lambda rng, shape: np.sqrt(2 / fan_in) * rng.standard_normal(shape)


@layer
class Convolution(LayerKind):
    """filters, kernel, dilation, stride, groups, zero padding ("same"); initial: he | zero, bias."""

    name = "conv"

    def channels(self, into: Sequence[int], options: Options) -> int:
        return int(options["filters"])

    def scale(self, options: Options) -> tuple[int, int]:
        return options.get("stride", 1), 1

    def looks(self, options: Options) -> int | None:
        return int(options["dilation"] * (options["kernel"] // 2))

    def parameters(self, into: Sequence[int], options: Options) -> dict[str, tuple[Shape, Initial]]:
        out, k = options["filters"], options["kernel"]
        shape = (out, into[0] // options.get("groups", 1), k, k)
        first = normal(float(np.prod(shape[1:]))) if options["initial"] == "he" else constant(0)
        if options["initial"] == "zero":
            # Drawn all the same, so that what comes after it does not depend on the choice.
            first = lambda rng, s: 0.0 * rng.standard_normal(s)  # noqa: E731
        return {"weight": (shape, first), "bias": ((out,), constant(options["bias"]))}

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.conv2d(
            x[0],
            weights["weight"],
            weights["bias"],
            options.get("stride", 1),
            options["dilation"],
            options.get("groups", 1),
        )


@layer
class Activation(LayerKind):
    """function: relu | swish | softplus | sigmoid | tanh | gelu."""

    name = "activation"

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.activation(options["function"], x[0])


class _Shrinking(LayerKind):
    def scale(self, options: Options) -> tuple[int, int]:
        return options["factor"], 1

    def looks(self, options: Options) -> int | None:
        return int(options["factor"]) - 1


@layer
class MaxPool(_Shrinking):
    """factor."""

    name = "max_pool"

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.max_pool(x[0], options["factor"])


@layer
class AveragePool(_Shrinking):
    """factor."""

    name = "avg_pool"

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.avg_pool(x[0], options["factor"])


@layer
class SpaceToDepth(_Shrinking):
    """factor r: channel c*r*r + i*r + j holds the pixels (r y + i, r x + j) of c."""

    name = "space_to_depth"

    def channels(self, into: Sequence[int], options: Options) -> int:
        return int(into[0] * options["factor"] ** 2)

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.space_to_depth(x[0], options["factor"])


class _Growing(LayerKind):
    def scale(self, options: Options) -> tuple[int, int]:
        return 1, options["factor"]

    def looks(self, options: Options) -> int | None:
        return int(options["factor"]) - 1


@layer
class Upsample(_Growing):
    """factor; nearest neighbour."""

    name = "upsample"

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.upsample(x[0], options["factor"])


@layer
class DepthToSpace(_Growing):
    """factor: the inverse of space_to_depth."""

    name = "depth_to_space"

    def channels(self, into: Sequence[int], options: Options) -> int:
        return int(into[0] // options["factor"] ** 2)

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.depth_to_space(x[0], options["factor"])


@layer
class Add(LayerKind):
    """Sum of all inputs."""

    name = "add"

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        total = x[0]
        for other in x[1:]:
            total = total + other
        return total


@layer
class Concat(LayerKind):
    """Inputs stacked along the channels."""

    name = "concat"

    def channels(self, into: Sequence[int], options: Options) -> int:
        return sum(into)

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.concat(x, axis=xp.channels)


@layer
class Channels(LayerKind):
    """start, stop: a range of channels."""

    name = "channels"

    def channels(self, into: Sequence[int], options: Options) -> int:
        return int(options["stop"] - options["start"])

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        chosen = slice(options["start"], options["stop"])
        return x[0][:, chosen] if xp.channels == 1 else x[0][..., chosen]


@layer
class Scale(LayerKind):
    """factor: multiply by a constant."""

    name = "scale"

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return x[0] * options["factor"]


def surrounded(xp: Ops, x: Array, pixels: int, value: float) -> Array:
    """An image with a constant frame."""
    image = xp.image_out(x) - value
    return xp.image_in(xp.pad(image, (pixels, pixels), (pixels, pixels), "zero") + value)


@layer
class Pad(LayerKind):
    """pixels, value: surround with a constant."""

    name = "pad"

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return surrounded(xp, x[0], options["pixels"], options["value"])


@layer
class Border(LayerKind):
    """pixels: keep only a frame of this width, zero inside."""

    name = "border"

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        w = options["pixels"]
        inner = xp.zeros_like(x[0][:, :, w:-w, w:-w] if xp.channels == 1 else x[0][:, w:-w, w:-w])
        return x[0] * surrounded(xp, inner, w, 1.0)
