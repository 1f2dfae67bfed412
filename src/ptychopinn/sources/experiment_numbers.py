"""Units as files write them, and numbers that are plausible for an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptychopinn.data.experiment import PLAUSIBLE
from ptychopinn.data.units import METRES, spelled
from ptychopinn.errors import InputError, shown
from ptychopinn.io.hdf5 import Reader

# What the numbers of an experiment are called.
CALLED = {
    "energy_eV": ("the energy", "eV"),
    "distance_m": ("the distance", "m"),
    "focus_distance_m": ("the distance from the focus", "m"),
    "detector_pixel_m": ("the pixel of the detector", "m"),
    "pixel_size_m": ("the pixel of the object", "m"),
}


def unit_of(file: Reader, name: str) -> str | None:
    """The attribute ``units`` (or ``unit``) of a dataset; None without one.

    Raises
    ------
    InputError
        When it states several.
    """
    stated = file.units(name)
    if len(stated) > 1:
        raise InputError(
            f"'{name}' in '{file.path}' must be in one unit, received {', '.join(stated)}; correct "
            "its attribute units."
        )
    return stated[0] if stated else None


def unit_of_axes(units: Sequence[str | None]) -> str | None:
    """The unit of all axes, or those of each as in "um, nm"; None where one is not known."""
    if not units or None in units:
        return None
    return str(units[0]) if len(set(units)) == 1 else ", ".join(map(str, units))


def number_at(
    file: Reader, name: str, units: Mapping[str, float], default: str | None
) -> float | None:
    """A number in metres or electron volts, by the unit that the file states, else ``default``.

    None where it is not there, not positive, or without any unit.

    Raises
    ------
    InputError
        For a unit that is none of ``units``.
    """
    if name not in file or file.shape(name) is None:
        return None
    values = file.array(name).reshape(-1)
    if not values.size or not np.isfinite(values[0]) or values[0] <= 0:
        return None
    unit = unit_of(file, name) or default
    if unit is None:
        return None
    if unit not in units:
        raise InputError(
            f"'{name}' in '{file.path}' must be in one of {', '.join(units)}, received the unit "
            f"{shown(unit)}; give the number as an option."
        )
    return float(values[0]) * units[unit]


def check_plausible(values: dict[str, float | None], where: dict[str, str]) -> None:
    """Raise InputError for a number that no experiment has; ``where`` says what it was read from.

    Raises
    ------
    InputError
        It names the field and the option that takes its place.
    """
    for name, value in values.items():
        (low, high), (what, unit) = PLAUSIBLE.get(name, (0.0, np.inf)), CALLED[name]
        if value is not None and not low <= value <= high:
            raise InputError(
                f"{what} must be between {low:g} and {high:g} {unit}, received {value:.6g} {unit} "
                f"from {where.get(name, 'the options')}; give it with the option {name}."
            )


def metres(unit: Any) -> float:
    """How many metres a unit of length is.

    Raises
    ------
    InputError
        When it is none.
    """
    word = spelled(str(unit))
    if word not in METRES:
        raise InputError(
            f"a unit of length was expected ({', '.join(METRES)}), received {shown(unit)}; give "
            "it with the option unit."
        )
    return METRES[word]
