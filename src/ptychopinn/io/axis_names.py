"""What names of arrays and columns say: the axis of a position, and a unit."""

from __future__ import annotations

import re

from ptychopinn.data.units import spelled

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


def unit_in_name(name: str) -> str | None:
    """The unit at the end of a name such as ``motor_x_um`` or ``x [mm]``; None without one."""
    found = re.search(r"(?:[_\s(\[])(px|m|mm|um|µm|μm|nm)[)\]]?$", name.strip(), re.IGNORECASE)
    return spelled(found[1]) if found else None
