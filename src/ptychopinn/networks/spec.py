"""The vocabulary in which an architecture is written down.

A :class:`Network` is a list of named layers, each fed by earlier layers or inputs of the network.
A backend turns every layer kind into its own operation. Parameter names are ``<layer>.weight`` and
``<layer>.bias``; convolution weights have the shape (out, in, height, width) in every bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any, Literal

from ptychopinn.errors import InputError
from ptychopinn.networks.layers import LAYERS


@dataclass(frozen=True)
class Layer:
    """One named operation; ``inputs`` are names of earlier layers or of network inputs."""

    name: str
    kind: str
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
            count[layer.name] = LAYERS[layer.kind].channels(into, layer.options)
        return count

    def reach(self) -> int | None:
        """Input pixels on each side, at most, that an output pixel depends on; None: all."""
        scale: dict[str, Fraction] = dict.fromkeys(self.inputs, Fraction(1))
        reach: dict[str, Fraction | None] = dict.fromkeys(self.inputs, Fraction(0))
        for layer in self.layers:
            kind, options = LAYERS[layer.kind], layer.options
            size = max(scale[name] for name in layer.inputs)
            larger, smaller = kind.scale(options)
            # A layer that makes pixels smaller looks with these.
            looks = kind.looks(options)
            before = [reach[name] for name in layer.inputs]
            scale[layer.name] = size * larger / smaller
            seen = [far for far in before if far is not None]
            if looks is None or len(seen) < len(before):
                reach[layer.name] = None
            else:
                reach[layer.name] = max(seen) + looks * min(size, size / smaller)
        ends = [reach[name] for name in self.outputs]
        finite = [far for far in ends if far is not None]
        return None if len(finite) < len(ends) else ceil(max(finite))

    def parameters_of(self, layer: Layer) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and first values of what a layer learns, by the end of its name."""
        count = self.channels()
        into = [count[name] for name in layer.inputs]
        return LAYERS[layer.kind].parameters(into, layer.options)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every learned parameter by its name, the same in every backend."""
        shapes: dict[str, tuple[int, ...]] = {
            name: (len(values),) for name, values in self.vectors.items()
        }
        for layer in self.layers:
            for name, (shape, _) in self.parameters_of(layer).items():
                shapes[f"{layer.name}.{name}"] = shape
        return shapes


class Builder:
    """Writes layers down in order; every method returns the name of the layer it added."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def _add(self, name: str, kind: str, *inputs: str, **options: Any) -> str:
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
