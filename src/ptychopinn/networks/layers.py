"""The kinds of layers that look at a pixel and its neighbours: one class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from ptychopinn.networks.kinds import (
    FUNCTIONS,
    REQUIRED,
    Initial,
    LayerKind,
    Options,
    Shape,
    constant,
    demand,
    gain_of,
    layer,
    normal,
    per_channel,
)
from ptychopinn.ops.base import Array, Ops


@layer
class Convolution(LayerKind):
    """filters, kernel, dilation, stride, groups; zeros around the image, so that each side becomes
    1 / stride as long, rounded up. An even kernel is a cut into patches: stride = kernel, and sides
    are multiples of it. initial: he | zero; bias: its first value."""

    name = "conv"
    takes: ClassVar[Options] = {
        "filters": REQUIRED, "kernel": 3, "dilation": 1, "stride": 1, "groups": 1,
        "initial": "he", "bias": 0.0,
    }  # fmt: skip

    def channels(self, into: Sequence[int], options: Options) -> int:
        out, k, groups = options["filters"], options["kernel"], options["groups"]
        least = min(out, k, options["dilation"], options["stride"], groups)
        demand(least >= 1, "positive filters, kernel, dilation, stride and groups", least)
        demand(
            into[0] % groups == 0 and out % groups == 0,
            f"numbers of channels that {groups} groups divide",
            f"{into[0]} channels into {out}",
        )
        patches = options["stride"] == k and options["dilation"] == 1
        demand(k % 2 == 1 or patches, f"an odd kernel, or stride = kernel = {k}", dict(options))
        return int(out)

    def scale(self, options: Options) -> tuple[int, int]:
        return options["stride"], 1

    def looks(self, options: Options) -> int | None:
        k = int(options["kernel"])
        return int(options["dilation"]) * (k // 2) if k % 2 else k - 1

    def parameters(self, into: Sequence[int], options: Options) -> dict[str, tuple[Shape, Initial]]:
        out, k = options["filters"], options["kernel"]
        shape = (out, into[0] // options["groups"], k, k)
        first = normal(float(np.prod(shape[1:])), gain_of(options["initial"]))
        return {"weight": (shape, first), "bias": ((out,), constant(options["bias"]))}

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        image, weight, k, stride = x[0], weights["weight"], options["kernel"], options["stride"]
        if k % 2 == 0:
            image, stride = xp.space_to_depth(image, k), 1
            weight = xp.reshape(weight, (options["filters"], -1, 1, 1))
        return xp.conv2d(
            image, weight, weights["bias"], stride, options["dilation"], options["groups"]
        )


@layer
class TransposedConvolution(LayerKind):
    """filters, stride: every pixel becomes stride x stride pixels, each with its own weights."""

    name = "conv_transpose"
    takes: ClassVar[Options] = {"filters": REQUIRED, "stride": 2, "initial": "he", "bias": 0.0}

    def channels(self, into: Sequence[int], options: Options) -> int:
        least = min(options["filters"], options["stride"])
        demand(least >= 1, "positive filters and stride", least)
        return int(options["filters"])

    def scale(self, options: Options) -> tuple[int, int]:
        return 1, options["stride"]

    def looks(self, options: Options) -> int | None:
        return int(options["stride"]) - 1

    def parameters(self, into: Sequence[int], options: Options) -> dict[str, tuple[Shape, Initial]]:
        out, s = options["filters"], options["stride"]
        first = normal(into[0], gain_of(options["initial"]))
        return {
            "weight": ((into[0], out, s, s), first),
            "bias": ((out,), constant(options["bias"])),
        }

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.conv_transpose2d(x[0], weights["weight"], weights["bias"], options["stride"])


@layer
class Activation(LayerKind):
    """function: relu | swish | softplus | sigmoid | tanh | gelu."""

    name = "activation"
    takes: ClassVar[Options] = {"function": REQUIRED}

    def channels(self, into: Sequence[int], options: Options) -> int:
        known = options["function"] in FUNCTIONS
        demand(known, f"a function out of {', '.join(FUNCTIONS)}", options["function"])
        return into[0]

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.activations[options["function"]](x[0])


class _Resizing(LayerKind):
    takes: ClassVar[Options] = {"factor": 2}

    def channels(self, into: Sequence[int], options: Options) -> int:
        demand(options["factor"] >= 1, "a positive factor", options["factor"])
        return into[0]


class _Shrinking(_Resizing):
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


class _Growing(_Resizing):
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
        parts = options["factor"] ** 2
        demand(into[0] % parts == 0, f"a multiple of {parts} channels", into[0])
        return int(into[0] // parts)

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.depth_to_space(x[0], options["factor"])


@layer
class Add(LayerKind):
    """Sum of all inputs."""

    name = "add"
    feeds = None

    def channels(self, into: Sequence[int], options: Options) -> int:
        demand(len(set(into)) == 1, "inputs with the same number of channels", list(into))
        return into[0]

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        total = x[0]
        for other in x[1:]:
            total = total + other
        return total


@layer
class Concat(LayerKind):
    """Inputs stacked along the channels."""

    name = "concat"
    feeds = None

    def channels(self, into: Sequence[int], options: Options) -> int:
        return sum(into)

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return xp.concat(x, axis=xp.channels)


@layer
class Channels(LayerKind):
    """start, stop: a range of channels."""

    name = "channels"
    takes: ClassVar[Options] = {"start": REQUIRED, "stop": REQUIRED}

    def channels(self, into: Sequence[int], options: Options) -> int:
        start, stop = options["start"], options["stop"]
        demand(
            0 <= start < stop <= into[0], f"a range within {into[0]} channels", f"{start} to {stop}"
        )
        return int(stop - start)

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        chosen = slice(options["start"], options["stop"])
        return x[0][:, chosen] if xp.channels == 1 else x[0][..., chosen]


@layer
class Scale(LayerKind):
    """factor: multiply by a constant."""

    name = "scale"
    takes: ClassVar[Options] = {"factor": REQUIRED}

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return x[0] * options["factor"]


@layer
class LearnedScale(LayerKind):
    """initial: multiply each channel by a learned number that starts with this value."""

    name = "learned_scale"
    takes: ClassVar[Options] = {"initial": 1.0}

    def parameters(self, into: Sequence[int], options: Options) -> dict[str, tuple[Shape, Initial]]:
        return {"weight": ((into[0],), constant(options["initial"]))}

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return x[0] * per_channel(xp, weights["weight"])


def surrounded(xp: Ops, x: Array, pixels: int, value: float) -> Array:
    """An image with a constant frame."""
    image = xp.image_out(x) - value
    return xp.image_in(xp.pad(image, (pixels, pixels), (pixels, pixels), "zero") + value)


@layer
class Pad(LayerKind):
    """pixels, value: surround with a constant."""

    name = "pad"
    takes: ClassVar[Options] = {"pixels": REQUIRED, "value": 0.0}

    def looks(self, options: Options) -> int | None:
        return None

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        return surrounded(xp, x[0], options["pixels"], options["value"])


@layer
class Border(LayerKind):
    """pixels: keep only a frame of this width, zero inside."""

    name = "border"
    takes: ClassVar[Options] = {"pixels": REQUIRED}

    def looks(self, options: Options) -> int | None:
        return None

    def run(self, xp: Ops, x: list[Array], options: Options, weights: Mapping[str, Array]) -> Array:
        w = options["pixels"]
        inner = xp.zeros_like(x[0][:, :, w:-w, w:-w] if xp.channels == 1 else x[0][:, w:-w, w:-w])
        return x[0] * surrounded(xp, inner, w, 1.0)
