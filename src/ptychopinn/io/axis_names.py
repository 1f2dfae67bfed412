"""What names of arrays and columns say: the axis of a position, and a unit."""

from __future__ import annotations

import re

SPELLINGS = {
    "metre": "m",
    "meter": "m",
    "metres": "m",
    "meters": "m",
    "centimetre": "cm",
    "centimeter": "cm",
    "millimetre": "mm",
    "millimeter": "mm",
    "millimetres": "mm",
    "millimeters": "mm",
    "µm": "um",
    "μm": "um",
    "micron": "um",
    "microns": "um",
    "micrometre": "um",
    "micrometer": "um",
    "micrometres": "um",
    "micrometers": "um",
    "nanometre": "nm",
    "nanometer": "nm",
    "nanometres": "nm",
    "nanometers": "nm",
    "picometer": "pm",
    "å": "a",
    "ang": "a",
    "angstrom": "a",
    "angstroms": "a",
    "joule": "j",
    "joules": "j",
    "electronvolt": "ev",
    "pixel": "px",
    "pixels": "px",
}
AXIS_WORDS = {
    axis: re.compile(
        rf"(^|[^a-z]){axis}($|[^a-z])"
        rf"|(pos|position|positions|sam|sample|pp|motor|stage|scan|piezo|translation){axis}$"
        rf"|^{axis}(pos|coord|motor|stage|s$)"
        + (r"|(^|[^a-z])(row|rows|vertical)($|[^a-z])" if axis == "y" else "")
        + (r"|(^|[^a-z])(col|column|columns|horizontal)($|[^a-z])" if axis == "x" else "")
    )
    for axis in "yx"
}


def axis_of(name: str) -> str | None:
    """Whether a name such as ``motors/x_um`` or ``ycoords`` is that of y or of x; None if not."""
    word = name.rstrip("/").rsplit("/", 1)[-1].lower()
    found = [axis for axis, pattern in AXIS_WORDS.items() if pattern.search(word)]
    return found[0] if len(found) == 1 else None


def spelled(unit: str) -> str:
    """The unit as this program writes it: "um" for "µm" and "micrometer"."""
    word = unit.strip().lower().strip("[]() ")
    return SPELLINGS.get(word, word)


def unit_in_name(name: str) -> str | None:
    """The unit at the end of a name such as ``motor_x_um`` or ``x [mm]``; None without one."""
    found = re.search(r"(?:[_\s(\[])(px|m|mm|um|µm|μm|nm)[)\]]?$", name.strip(), re.IGNORECASE)
    return spelled(found[1]) if found else None
