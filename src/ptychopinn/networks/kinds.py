"""What a kind of layer is, and the kinds that are known.

A kind is a class whose fields are the options of a layer. It says how many channels the layer
gives, how far it looks, which parameters it learns and how it is computed on the operations of a
framework. Inside, images have their channels on the axis ``xp.channels``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops

Shape = tuple[int, ...]
Initial = Callable[[np.random.Generator, Shape], NDArray[Any]]
Weights = Mapping[str, Array]


class Unfit(Exception):
    """A layer cannot be what its options say; the text goes on after "the layer must have"."""


def demand(met: bool, expected: str, received: object) -> None:
    """Raise :class:`Unfit` with the two values unless the demand is met."""
    if not met:
        raise Unfit(f"{expected}, received {received}")


@dataclass(frozen=True)
class LayerKind:
    """A layer without parameters that looks at one pixel and keeps the channels, unless a kind says
    otherwise.

    Attributes
    ----------
    name : of the kind.
    feeds : number of inputs, None for any.
    reach : what :meth:`looks` says unless it depends on the options.
    """

    name: ClassVar[str]
    feeds: ClassVar[int | None] = 1
    reach: ClassVar[int | None] = 0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The layer with these options; Unfit when one is foreign or missing."""
        known = {field.name: field.default for field in fields(cls)}
        foreign = sorted(set(options) - set(known))
        demand(not foreign, f"options out of {', '.join(known) or 'none'}", foreign)
        missing = [k for k, default in known.items() if default is MISSING and k not in options]
        demand(not missing, f"the options {', '.join(missing)}", "none of them")
        return cls(**options)

    def channels(self, into: Sequence[int]) -> int:
        """Channels of the output, given those of the inputs; Unfit when these do not do."""
        return into[0]

    def scale(self) -> tuple[int, int]:
        """By what the pixels become larger, and smaller."""
        return 1, 1

    def looks(self) -> int | None:
        """Pixels on each side that an output pixel depends on; None where it depends on all, or on
        its place in the image."""
        return self.reach

    def parameters(self, into: Sequence[int]) -> dict[str, tuple[Shape, Initial]]:
        """Shape and first values of each learned parameter."""
        return {}

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        """The output."""
        raise NotImplementedError


K = TypeVar("K", bound=LayerKind)
LAYERS: dict[str, type[LayerKind]] = {}


@dataclass_transform(frozen_default=True)
def layer(kind: type[K]) -> type[K]:
    """Decorator: make a kind of layer, whose annotated fields are its options, known by its
    name."""
    LAYERS[kind.name] = made = dataclass(frozen=True)(kind)
    return made


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
