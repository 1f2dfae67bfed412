"""The distances of an experiment, and the propagator that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args

import numpy as np

from ptychopinn.errors import InputError, shown
from ptychopinn.physics.propagators import FarField, Propagator, near_field

Propagation = Literal["far-field", "near-field"]
# What an experiment can have, beyond which a number is in another unit: energies of photons and
# electrons in eV, the rest in metres. Distances from a focus may be of any size.
PLAUSIBLE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "energy_eV": (1.0, 1e6),
        "pixel_size_m": (1e-13, 1e-3),
        "detector_pixel_m": (1e-7, 1e-2),
        "distance_m": (1e-4, 100.0),
    }
)
NUMBERS = ("pixel_size_m", "energy_eV", "distance_m", "focus_distance_m")
# Methods and properties of a propagator.
PARTS = ("measures_momentum", "forward", "backward", "power", "inward", "outward")


class Experiment(Protocol):
    """What is known of the beam and the detector, see :class:`ptychopinn.data.scan.Scan`."""

    @property
    def pixel_size_m(self) -> float | None: ...
    @property
    def energy_eV(self) -> float | None: ...
    @property
    def distance_m(self) -> float | None: ...
    @property
    def propagation(self) -> Propagation | Propagator: ...
    @property
    def focus_distance_m(self) -> float | None: ...


def check_experiment(experiment: Experiment) -> None:
    """Raise InputError unless the way to the detector is known, and all numbers that it needs.

    Numbers that no experiment has are refused too; ``PLAUSIBLE`` gives their limits.
    """
    for name in NUMBERS:
        check_number(name, getattr(experiment, name))
    given = experiment.propagation
    if not isinstance(given, str):
        missing = [name for name in PARTS if not hasattr(given, name)]
        if missing or isinstance(given, type) or not hasattr(given, "_fields"):
            raise InputError(
                f"a propagator of your own must be a NamedTuple of arrays with {', '.join(PARTS)}, "
                f"received {type(given).__name__}"
                f"{' without ' + ', '.join(missing) if missing else ''}; see FarField."
            )
        return
    check_named(given)
    if experiment.propagation == "far-field":
        return
    needed = ("pixel_size_m", "energy_eV", "distance_m")
    missing = [name for name in needed if getattr(experiment, name) is None]
    if missing:
        raise InputError(
            f"the near field needs {', '.join(needed)}, received none of {', '.join(missing)}; "
            "give them, or use the far field."
        )


def check_number(name: str, value: float | None) -> None:
    """Raise InputError unless a number of ``NUMBERS`` is unknown or one that an experiment has."""
    number = isinstance(value, int | float | np.number)
    if value is not None and not (number and np.isfinite(value) and value > 0):
        raise InputError(
            f"{name} must be positive, received {shown(value)}; leave it out when unknown."
        )
    low, high = PLAUSIBLE.get(name, (0.0, np.inf))
    if value is not None and not low <= value <= high:
        raise InputError(
            f"{name} must be between {low:g} and {high:g}, received {value:g}; correct its "
            "unit, or leave it out when unknown."
        )


def check_named(propagation: str) -> None:
    """Raise InputError for a way to the detector that has no such name."""
    if propagation not in get_args(Propagation):
        raise InputError(
            f"propagation must be one of {', '.join(get_args(Propagation))}, received "
            f"{propagation!r}; choose one of them."
        )


def named_propagation(experiment: Experiment) -> Propagation:
    """How files call the way to the detector.

    Raises
    ------
    InputError
        When it is a propagator of the user, which no file can hold.
    """
    if not isinstance(experiment.propagation, str):
        raise InputError(
            f"a file holds the propagation far-field or near-field, received a propagator of your "
            f"own, {type(experiment.propagation).__name__}; save it with one of the two, and put "
            "yours in its place with dataclasses.replace after reading."
        )
    return experiment.propagation


def propagator_of(experiment: Experiment, n: int, precision: Any = np.complex64) -> Propagator:
    """The propagator for patterns of n x n pixels."""
    if not isinstance(experiment.propagation, str):
        return experiment.propagation
    if experiment.propagation == "far-field":
        return FarField()
    pixel, energy, distance = experiment.pixel_size_m, experiment.energy_eV, experiment.distance_m
    assert pixel is not None and energy is not None and distance is not None  # checked above
    effective = effective_distance(distance, experiment.focus_distance_m)
    return near_field(n, pixel, energy, effective, precision)


def effective_distance(distance_m: float, focus_distance_m: float | None) -> float:
    """The distance over which a parallel beam gives the pattern of a cone beam, in metres."""
    return distance_m / magnification(distance_m, focus_distance_m)


def magnification(distance_m: float, focus_distance_m: float | None) -> float:
    """How many times the shadow that a cone beam casts is larger than the sample; 1 for a parallel
    beam. The pixel of the detector over that of the object."""
    return 1.0 if focus_distance_m is None else 1 + distance_m / focus_distance_m
