"""The vocabulary in which an architecture is written down.

A :class:`Network` is a list of named layers, each fed by earlier layers or inputs of the network.
What a kind of layer does is in :mod:`ptychopinn.networks.layers` (a pixel and its neighbours) and
:mod:`ptychopinn.networks.mixing` (the whole image), once for all frameworks. Parameter names are
``<layer>.weight``, ``<layer>.bias`` and the like; convolution weights have the shape (out, in,
height, width) in every bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any, Literal

from ptychopinn.errors import InputError
from ptychopinn.networks import layers, mixing
from ptychopinn.networks.kinds import LAYERS, Initial, LayerKind, Shape, Unfit

__all__ = ["Builder", "Layer", "Network", "layers", "mixing"]


@dataclass(frozen=True)
class Layer:
    """One named operation; ``inputs`` are names of earlier layers or of network inputs."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """A layer with what follows from its place in the network.

    kind : with its options.  out : channels of the output.
    parameters : shape and first values of what it learns, by the end of its name.
    """

    layer: Layer
    kind: LayerKind
    out: int
    parameters: Mapping[str, tuple[Shape, Initial]]


@dataclass(frozen=True)
class Network:
    """A feed-forward network on images (batch, channels, height, width).

    ``inputs`` maps the name of each input to its number of channels, ``outputs`` lists the layers
    to return, ``vectors`` are further learned parameters with their initial values (step sizes and
    the like). ``multiple_of`` is what height and width must be divisible by. Where two outputs are
    one complex image, ``complex_as`` says how: polar, modulus and phase; cartesian, real and
    imaginary part.
    """

    inputs: Mapping[str, int]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    vectors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    multiple_of: int = 1
    complex_as: Literal["polar", "cartesian"] = "polar"

    def fitted(self) -> Iterator[Fitted]:
        """The layers in order, each checked against those that feed it.

        Raises
        ------
        InputError
            For an unknown kind or option, a name that is taken, an input that comes later or not
            at all, and channels that a layer cannot take; the message names the layer.
        """
        count = dict(self.inputs)
        for layer in self.layers:
            try:
                found = self._fit(layer, count)
            except Unfit as error:
                raise InputError(
                    f"the layer '{layer.name}' ({layer.kind}) must have {error}; correct the "
                    "architecture."
                ) from error
            count[layer.name] = found.out
            yield found
        missing = [name for name in self.outputs if name not in count]
        if missing or not self.outputs:
            raise InputError(
                f"the outputs of a network must be layers of it, received {missing or 'none'}; "
                "correct the architecture."
            )

    @staticmethod
    def _fit(layer: Layer, count: Mapping[str, int]) -> Fitted:
        kind = LAYERS.get(layer.kind)
        if kind is None:
            raise Unfit(f"a kind out of {', '.join(LAYERS)}, received {layer.kind!r}")
        if layer.name in count:
            raise Unfit("a name of its own, received one that is taken")
        missing = [name for name in layer.inputs if name not in count]
        if missing:
            raise Unfit(f"inputs out of earlier layers, received {', '.join(missing)}")
        if not layer.inputs or kind.feeds not in (None, len(layer.inputs)):
            raise Unfit(f"{kind.feeds or 'some'} input(s), received {len(layer.inputs)}")
        made = kind.of(layer.options)
        into = [count[name] for name in layer.inputs]
        return Fitted(layer, made, made.channels(into), made.parameters(into))

    def channels(self) -> dict[str, int]:
        """Number of channels of every input and layer; raises what :meth:`fitted` raises."""
        return {**self.inputs, **{found.layer.name: found.out for found in self.fitted()}}

    def reach(self) -> int | None:
        """Input pixels on each side, at most, that an output pixel depends on; None: it depends on
        all of them, or on its place in the image."""
        scale: dict[str, Fraction] = dict.fromkeys(self.inputs, Fraction(1))
        reach: dict[str, Fraction | None] = dict.fromkeys(self.inputs, Fraction(0))
        for found in self.fitted():
            layer, kind = found.layer, found.kind
            size = max(scale[name] for name in layer.inputs)
            larger, smaller = kind.scale()
            # A layer that makes pixels smaller looks with these.
            looks = kind.looks()
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

    def parameters(self) -> dict[str, tuple[Shape, Initial]]:
        """Shape and first values of what the layers learn, by name."""
        return {
            f"{found.layer.name}.{name}": parameter
            for found in self.fitted()
            for name, parameter in found.parameters.items()
        }

    def parameter_shapes(self) -> dict[str, Shape]:
        """Shape of every learned parameter by its name, the same in every backend."""
        vectors: dict[str, Shape] = {name: (len(v),) for name, v in self.vectors.items()}
        return {**vectors, **{name: shape for name, (shape, _) in self.parameters().items()}}


class Builder:
    """Writes layers down in order; every method returns the name of the layer it added. Further
    options are the fields of the kind, in :mod:`ptychopinn.networks.layers`."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def _add(self, name: str, kind: str, *inputs: str, **options: Any) -> str:
        self.layers.append(Layer(name, kind, inputs, options))
        return name

    def conv(
        self, name: str, x: str, filters: int, activation: str | None = None, **options: Any
    ) -> str:
        """With the options kernel, dilation, stride, groups, initial and bias."""
        self._add(name, "conv", x, filters=filters, **options)
        if activation is None:
            return name
        return self.activation(f"{name}_{activation}", name, activation)

    def dense(
        self, name: str, x: str, units: int, activation: str | None = None, **options: Any
    ) -> str:
        """A matrix over the channels of each pixel (token): a convolution of one pixel."""
        return self.conv(name, x, units, activation, kernel=1, **options)

    def patchify(self, name: str, x: str, filters: int, size: int) -> str:
        """Cut the image into patches of size x size pixels and make a token of each."""
        return self.conv(name, x, filters, kernel=size, stride=size)

    def unpatchify(self, name: str, x: str, channels: int, size: int) -> str:
        """Make size x size pixels of each token."""
        return self.depth_to_space(name, self.dense(f"{name}_dense", x, channels * size**2), size)

    def conv_transpose(self, name: str, x: str, filters: int, stride: int = 2) -> str:
        return self._add(name, "conv_transpose", x, filters=filters, stride=stride)

    def norm(
        self, name: str, x: str, over: Literal["instance", "group", "layer"], groups: int = 1
    ) -> str:
        return self._add(name, "norm", x, over=over, groups=groups)

    def spectral(self, name: str, x: str, filters: int, modes: int) -> str:
        return self._add(name, "spectral", x, filters=filters, modes=modes)

    def spectral_axis(
        self, name: str, x: str, filters: int, modes: int, axis: Literal["y", "x"]
    ) -> str:
        return self._add(name, "spectral_axis", x, filters=filters, modes=modes, axis=axis)

    def attention(self, name: str, x: str, heads: int, **options: Any) -> str:
        return self._add(name, "attention", x, heads=heads, **options)

    def position(self, name: str, x: str, side: int | None = None) -> str:
        return self._add(name, "position", x, side=side)

    def learned_scale(self, name: str, x: str, initial: float = 1.0) -> str:
        return self._add(name, "learned_scale", x, initial=initial)

    def grid(self, name: str, x: str) -> str:
        return self._add(name, "grid", x)

    def activation(self, name: str, x: str, function: str) -> str:
        return self._add(name, "activation", x, function=function)

    def compress(self, name: str, x: str, function: str) -> str:
        return self._add(name, "compress", x, function=function)

    def max_pool(self, name: str, x: str) -> str:
        return self._add(name, "max_pool", x, factor=2)

    def avg_pool(self, name: str, x: str) -> str:
        return self._add(name, "avg_pool", x, factor=2)

    def upsample(self, name: str, x: str, factor: int = 2) -> str:
        return self._add(name, "upsample", x, factor=factor)

    def add(self, name: str, *inputs: str) -> str:
        return self._add(name, "add", *inputs)

    def multiply(self, name: str, *inputs: str) -> str:
        return self._add(name, "multiply", *inputs)

    def direction(self, name: str, x: str, other: str) -> str:
        return self._add(name, "direction", x, other)

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
