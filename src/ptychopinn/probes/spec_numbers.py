"""Numbers with units, as they are typed: ``180um``, ``8.8keV``, ``20mrad``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ptychopinn.data.units import ELECTRON_VOLTS, METRES, PIXELS, spelled
from ptychopinn.errors import InputError, shown

# Factors to the unit that a number without any is in, which comes first.
LENGTH, ENERGY = METRES, ELECTRON_VOLTS
VOLTAGE = {"kV": 1.0, "V": 1e-3, "MV": 1e3}
ANGLE = {"rad": 1.0, "mrad": 1e-3, "urad": 1e-6}
NUMBER = {"": 1.0}

# In the first unit of its kind; beyond, squares of wavelengths and phases are no numbers any more.
SMALLEST, LARGEST = 1e-18, 1e12

_TYPED = re.compile(r"\s*(?P<number>[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*(?P<unit>[^\d\s]*)\s*")


@dataclass(frozen=True)
class Quantity:
    """A number in the first unit of its kind, or in pixels."""

    value: float
    in_pixels: bool = False

    def metres(self, pixel_size_m: float) -> float:
        """A length, with pixels of this size."""
        return self.value * pixel_size_m if self.in_pixels else self.value


def quantity(text: str, units: Mapping[str, float], what: str, *, pixels: bool) -> Quantity:
    """The number that ``text`` says.

    Parameters
    ----------
    units : factors of the known units; a number without unit is in the first one.
    pixels : whether ``px`` is known too.

    Raises
    ------
    InputError
        For anything else; the sentence begins with ``what``.
    """
    found = _TYPED.fullmatch(text)
    unit = found["unit"] if found else ""
    unit = unit if unit in units else spelled(unit)
    first = next(iter(units))
    if found and ((pixels and unit == PIXELS) or (unit or first) in units):
        in_pixels = unit == PIXELS
        value = float(found["number"]) * (1.0 if in_pixels else units[unit or first])
        if value and not SMALLEST <= abs(value) <= LARGEST:
            raise InputError(
                f"{what} must be a number that an instrument has, received {shown(text)}; correct "
                "it."
            )
        return Quantity(value, in_pixels)
    known = [*(unit for unit in units if unit), *([PIXELS] if pixels else [])]
    of = f" with a unit ({', '.join(known)})" if known else ""
    raise InputError(f"{what} must be a number{of}, received {shown(text)}; correct it.")
