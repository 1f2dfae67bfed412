"""What a kind of layer is, and the kinds that are known.

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

FUNCTIONS = ("relu", "swish", "softplus", "sigmoid", "tanh", "gelu")
# Stands for the default of an option that must be given.
REQUIRED = object()


class Unfit(Exception):
    """A layer cannot be what its options say; the text goes on after "the layer must have"."""


def demand(met: bool, expected: str, received: object) -> None:
    """Raise :class:`Unfit` with the two values unless the demand is met."""
    if not met:
        raise Unfit(f"{expected}, received {received}")


class LayerKind:
    """A kind of layer; the defaults are those of a layer without parameters that looks at one
    pixel and keeps the channels.

    Attributes
    ----------
    name : of the kind.
    takes : its options with their defaults.
    feeds : number of inputs, None for any.
    """

    name: ClassVar[str]
    takes: ClassVar[Options] = {}
    feeds: ClassVar[int | None] = 1

    def filled(self, options: Options) -> dict[str, Any]:
        """The options with the defaults of those that are not given."""
        foreign = sorted(set(options) - set(self.takes))
        demand(not foreign, f"options out of {', '.join(self.takes) or 'none'}", foreign)
        found = {**self.takes, **options}
        missing = [name for name, value in found.items() if value is REQUIRED]
        demand(not missing, f"the options {', '.join(missing)}", "none of them")
        return found

    def channels(self, into: Sequence[int], options: Options) -> int:
        """Channels of the output, given those of the inputs; Unfit when these do not do."""
        return into[0]

    def scale(self, options: Options) -> tuple[int, int]:
        """By what the pixels become larger, and smaller."""
        return 1, 1

    def looks(self, options: Options) -> int | None:
        """Pixels on each side that an output pixel depends on; None where it depends on all, or on
        its place in the image."""
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


def normal(fan_in: float, gain: float = 1.0) -> Initial:
    """Normal with the standard deviation ``gain`` sqrt(2 / fan-in) (He et al., ICCV 2015), which
    keeps the variance through a ReLU. Zeros are drawn all the same, so that what comes after them
    does not depend on the choice."""
    return lambda rng, shape: gain * np.sqrt(2 / fan_in) * rng.standard_normal(shape)


def gain_of(initial: str) -> float:
    """he: 1, zero: 0."""
    demand(initial in ("he", "zero"), "the initial weights he or zero", initial)
    return 1.0 if initial == "he" else 0.0


def per_channel(xp: Ops, values: Array) -> Array:
    """Values (C,) in a shape that multiplies images inside a network."""
    return values[:, None, None] if xp.channels == 1 else values
