"""What beam, sample and detector do beyond probe, thin object and propagator.

An effect is one file with a class that is registered by ``@effect``: how it changes a batch of
patterns before they are modelled, and how it follows from what the patterns have in excess of the
model. Its numbers are one array, which results and their files keep under its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, brief

if TYPE_CHECKING:
    from ptychopinn.ops.base import Array, Ops
    from ptychopinn.physics.forward import PatternBatch

Values = NDArray[np.float64]
Asked = NDArray[Any] | tuple[()]


class Seen(NamedTuple):
    """What a pass over M patterns saw, on pixels that are good and not saturated.

    With measured and modelled intensities I and J:

    measured, modelled : (M,) sums of I and of J.
    surplus : (N, N) sum over the patterns of I / J - 1, the slope of their Poisson likelihood.
    information : (N, N) sum of 1 / J, its expected curvature for an intensity added everywhere.
    photon : the intensity of one photon.
    asked, light, probe : (B, N, N) sums of conj(O) chi and of abs(O)^2 over the parts of the scan
        that a batch has, and the probe (P, N, N); () where no effect looks at probes.
    own : (M, K) what an effect asks of each pattern itself (:attr:`Effect.asks`), by its name.
    """

    measured: Values
    modelled: Values
    surplus: Values
    information: Values
    photon: float
    asked: Asked = ()
    light: Asked = ()
    probe: Asked = ()
    own: Mapping[str, Values] = MappingProxyType({})


def seen(
    xp: Ops, amplitudes: Array, bounds: Any, modelled: Array, good: Array, e: Any
) -> tuple[Array, Array, Array, Array]:
    """The first four of :class:`Seen` of one batch, ``amplitudes``, ``bounds`` and intensities
    ``modelled`` being (m, N, N); ``e`` is added to the intensities."""
    counted = good * xp.ones_like(modelled)
    if not isinstance(bounds, tuple):
        counted = counted * (1.0 - bounds)
    measured = xp.square(amplitudes)
    information = counted / (modelled + e)
    return (
        xp.sum(counted * measured, axis=(1, 2)),
        xp.sum(counted * modelled, axis=(1, 2)),
        xp.sum(information * (measured - modelled), axis=0),
        xp.sum(information, axis=0),
    )


@dataclass(frozen=True, eq=False)
class Effect(ABC):
    """An effect with its numbers; immutable.

    values : what it is made of, in the intensities that patterns are modelled in.
    """

    name: ClassVar[str]
    # Effects are applied in this order: first those that change what the probe is.
    turn: ClassVar[int] = 1
    # How many times the variance that photon noise gives the object it is with the effect.
    variance = 1.0

    values: Values

    @classmethod
    @abstractmethod
    def none(cls, positions_px: Values, n: int) -> Effect:
        """The effect that changes nothing, for patterns of n x n pixels at positions (M, 2)."""

    @abstractmethod
    def check(self, patterns: int, n: int) -> None:
        """Raise InputError unless the values suit so many patterns of n x n pixels."""

    @abstractmethod
    def applied(
        self, xp: Ops, batch: PatternBatch, numbers: NDArray[np.int64], inward: Inward
    ) -> PatternBatch:
        """The batch of the patterns ``numbers``, with its probes, as it is to be modelled;
        ``inward`` brings pixels (N, N) into the order of the fields."""

    @abstractmethod
    def advanced(self, seen: Seen, outward: Inward) -> Effect:
        """The effect after a pass that saw this; ``outward`` undoes ``inward``."""

    @property
    @abstractmethod
    def changes(self) -> bool:
        """Whether it changes any pattern."""

    @property
    def looks(self) -> bool:
        """Whether it follows from what patterns ask of their probes, in parts of the scan."""
        return False

    @property
    def asks(self) -> Asks | None:
        """What else it follows from: a function of the operations, the measured ``amplitudes``,
        their ``bounds``, the ``modelled`` intensities (m, N, N), the ``good`` pixels and a small
        intensity ``e`` that gives numbers (m, K), K for each pattern, in the order of the
        fields."""
        return None

    @property
    def hides(self) -> bool:
        """Whether it adds counts in which the object hides."""
        return False

    @property
    def makes_up(self) -> bool:
        """Whether it makes up for an amplitude of the object that varies slowly."""
        return False

    def exchanged(self, amplitude: Values) -> Effect:
        """The same where the object takes exp(``amplitude``), as patterns see it (M,)."""
        return self

    @property
    def copies(self) -> int:
        """How many waves a mode of the probe becomes."""
        return 1

    @property
    def slices(self) -> int:
        """How many slices the object has."""
        return 1

    @abstractmethod
    def scaled(self, factor: float) -> Effect:
        """The same where all intensities are multiplied by a factor."""

    def tilted(self, ramp: NDArray[np.complex128]) -> Effect:
        """The same where the probe is multiplied by a phase ramp (N, N)."""
        return self

    def chosen(self, numbers: NDArray[np.int64]) -> Effect:
        """The same for some of the patterns."""
        return self

    def elsewhere(self, known: NDArray[np.int64], numbers: NDArray[np.int64]) -> Effect:
        """What is to be expected of it for the patterns ``numbers``, of which it was not fitted;
        ``known`` (M,) are the numbers of its own patterns in the order of the scan."""
        return self

    @abstractmethod
    def in_words(self, seen_counts: float) -> str | None:
        """What it amounts to, given the mean counts per pattern; None for nothing to speak of."""


Inward = Callable[[NDArray[Any]], NDArray[Any]]
Asks = Callable[..., Any]
EFFECTS: dict[str, type[Effect]] = {}
Kind = TypeVar("Kind", bound=type[Effect])


def effect(kind: Kind) -> Kind:
    """Registers an effect under its name."""
    EFFECTS[kind.name] = kind
    return kind


def restored(stored: Mapping[str, Any], patterns: int, n: int) -> tuple[Effect, ...]:
    """The effects of stored numbers, by name.

    Raises
    ------
    InputError
        When a name is none of an effect, or the numbers do not suit the patterns.
    """
    found = []
    for name, values in stored.items():
        kind = EFFECTS.get(name)
        if kind is None:
            raise InputError(
                f"an effect must be one of {', '.join(EFFECTS)}, received {brief(name)}; install "
                "the version of ptychopinn that wrote it."
            )
        made = kind(np.array(values, np.float64))
        made.check(patterns, n)
        found.append(made)
    return tuple(found)


def applied(
    xp: Ops,
    effects: Iterable[Effect],
    batch: PatternBatch,
    numbers: NDArray[np.int64],
    inward: Inward,
) -> PatternBatch:
    """The batch of the patterns ``numbers``, with its probes, under all effects."""
    for effect in sorted(effects, key=lambda effect: effect.turn):
        if effect.changes or effect.looks:
            batch = effect.applied(xp, batch, numbers, inward)
    return batch


def slices_of(effects: Iterable[Effect]) -> int:
    """How many slices the object has under these effects."""
    return max((effect.slices for effect in effects), default=1)


def stored(effects: Iterable[Effect]) -> dict[str, Values]:
    """Their numbers by name, for :func:`restored`."""
    return {effect.name: effect.values for effect in effects}
