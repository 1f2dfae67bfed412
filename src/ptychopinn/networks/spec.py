"""The vocabulary in which an architecture is written down.

A :class:`Network` is a list of named layers, each fed by earlier layers or inputs of the network.
A backend turns every layer kind into its own operation. Parameter names are ``<layer>.weight`` and
``<layer>.bias``; convolution weights have the shape (out, in, height, width) in every bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ptychopinn.errors import InputError

Kind = Literal[
    "conv",  # filters, kernel, dilation, zero padding ("same"); initial: "he" | "zero", bias
    "activation",  # function: relu | swish | softplus | sigmoid | tanh
    "max_pool",  # factor
    "avg_pool",  # factor
    "upsample",  # factor; nearest neighbour
    "add",  # sum of all inputs
    "concat",  # inputs stacked along the channels
    "channels",  # start, stop: a range of channels
    "scale",  # factor: multiply by a constant
    "pad",  # pixels, value: surround with a constant
    "border",  # pixels: keep only a frame of this width, zero inside
    "space_to_depth",  # factor r: channel c*r*r + i*r + j holds the pixels (r y + i, r x + j) of c
    "depth_to_space",  # factor: the inverse of space_to_depth
]


@dataclass(frozen=True)
class Layer:
    """One named operation; ``inputs`` are names of earlier layers or of network inputs."""

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A feed-forward network on images (batch, channels, height, width).

    ``inputs`` maps the name of each input to its number of channels, ``outputs`` lists the layers
    to return, ``vectors`` are further learned parameters with their initial values (step sizes and
    the like). ``multiple_of`` is what height and width must be divisible by.
    """

    inputs: Mapping[str, int]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    vectors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    multiple_of: int = 1

    def channels(self) -> dict[str, int]:
        """Number of channels of every input and layer."""
        count = dict(self.inputs)
        for layer in self.layers:
            missing = [name for name in layer.inputs if name not in count]
            if missing:
                raise InputError(
                    f"layer '{layer.name}' must be fed by earlier layers, received {missing}; "
                    "reorder the architecture."
                )
            into = [count[name] for name in layer.inputs]
            if layer.kind == "conv":
                count[layer.name] = layer.options["filters"]
            elif layer.kind == "concat":
                count[layer.name] = sum(into)
            elif layer.kind == "channels":
                count[layer.name] = layer.options["stop"] - layer.options["start"]
            elif layer.kind == "space_to_depth":
                count[layer.name] = into[0] * layer.options["factor"] ** 2
            elif layer.kind == "depth_to_space":
                count[layer.name] = into[0] // layer.options["factor"] ** 2
            else:
                count[layer.name] = into[0]
        return count

    def reach(self) -> int:
        """Input pixels on each side, at most, that an output pixel depends on."""
        scale: dict[str, int] = dict.fromkeys(self.inputs, 1)
        reach: dict[str, int] = dict.fromkeys(self.inputs, 0)
        for layer in self.layers:
            options, size = layer.options, max(scale[name] for name in layer.inputs)
            far = max(reach[name] for name in layer.inputs)
            factor = options.get("factor", 1)
            if layer.kind == "conv":
                far += size * options["dilation"] * (options["kernel"] // 2)
            elif layer.kind in ("max_pool", "avg_pool", "space_to_depth"):
                far += size * (factor - 1)
                size *= factor
            elif layer.kind in ("upsample", "depth_to_space"):
                size //= factor
                far += size * (factor - 1)
            scale[layer.name], reach[layer.name] = size, far
        return max(reach[name] for name in self.outputs)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every learned parameter by its name, the same in every backend."""
        count = self.channels()
        shapes: dict[str, tuple[int, ...]] = {
            name: (len(values),) for name, values in self.vectors.items()
        }
        for layer in self.layers:
            if layer.kind == "conv":
                out, kernel = layer.options["filters"], layer.options["kernel"]
                into = count[layer.inputs[0]]
                shapes[f"{layer.name}.weight"] = (out, into, kernel, kernel)
                shapes[f"{layer.name}.bias"] = (out,)
        return shapes


class Builder:
    """Writes layers down in order; every method returns the name of the layer it added."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def _add(self, name: str, kind: Kind, *inputs: str, **options: Any) -> str:
        self.layers.append(Layer(name, kind, inputs, options))
        return name

    def conv(
        self,
        name: str,
        x: str,
        filters: int,
        activation: str | None = None,
        *,
        kernel: int = 3,
        dilation: int = 1,
        initial: Literal["he", "zero"] = "he",
        bias: float = 0.0,
    ) -> str:
        out = self._add(
            name,
            "conv",
            x,
            filters=filters,
            kernel=kernel,
            dilation=dilation,
            initial=initial,
            bias=bias,
        )
        return (
            out if activation is None else self.activation(f"{name}_{activation}", out, activation)
        )

    def activation(self, name: str, x: str, function: str) -> str:
        return self._add(name, "activation", x, function=function)

    def max_pool(self, name: str, x: str) -> str:
        return self._add(name, "max_pool", x, factor=2)

    def avg_pool(self, name: str, x: str) -> str:
        return self._add(name, "avg_pool", x, factor=2)

    def upsample(self, name: str, x: str, factor: int = 2) -> str:
        return self._add(name, "upsample", x, factor=factor)

    def add(self, name: str, *inputs: str) -> str:
        return self._add(name, "add", *inputs)

    def concat(self, name: str, *inputs: str) -> str:
        return self._add(name, "concat", *inputs)

    def channels(self, name: str, x: str, start: int, stop: int) -> str:
        return self._add(name, "channels", x, start=start, stop=stop)

    def scale(self, name: str, x: str, factor: float) -> str:
        return self._add(name, "scale", x, factor=factor)

    def pad(self, name: str, x: str, pixels: int, value: float) -> str:
        return self._add(name, "pad", x, pixels=pixels, value=value)

    def border(self, name: str, x: str, pixels: int) -> str:
        return self._add(name, "border", x, pixels=pixels)

    def space_to_depth(self, name: str, x: str, factor: int = 2) -> str:
        return self._add(name, "space_to_depth", x, factor=factor)

    def depth_to_space(self, name: str, x: str, factor: int = 2) -> str:
        return self._add(name, "depth_to_space", x, factor=factor)
