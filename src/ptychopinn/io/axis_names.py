"""What names of arrays and columns say: the axis of a position, and a unit."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence

from ptychopinn.data.units import ELECTRON_VOLTS, METRES, PIXELS, spelled

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
# Numbers of a scan point that are none of its place, those that were measured, and those asked for.
NO_PLACES = re.compile(
    r"st(an)?d(ev|$|_|[^a-z])|deviation|sigma|err(or)?s?($|[^a-z])|rms|varian|com($|_|[^a-z])|cent(er|re)"
    r"|bpm|size|width|pixel|range|tilt|slit",
    re.I,
)
MEASURED = re.compile(
    r"average|mean|actual|measured|readback|rbv|enc(oder)?($|[^a-z])|interferom"
    r"|(^|[^a-z])(meas|read|reading)($|[^a-z])",
    re.I,
)
ASKED_FOR = re.compile(
    r"target|demand|nominal|setpoint|command|request|goal|(^|[^a-z])(set|cmd)($|[^a-z])", re.I
)


def axis_of(name: str) -> str | None:
    """Whether a name such as ``motors/x_um`` or ``ycoords`` is that of y or of x; None if not."""
    word = name.rstrip("/").rsplit("/", 1)[-1].lower()
    found = [axis for axis, pattern in AXIS_WORDS.items() if pattern.search(word)]
    return found[0] if len(found) == 1 else None


def axes_of(one: str, other: str) -> str | None:
    """What two names are together, "yx" or "xy"; None where they do not tell.

    Each may tell its axis, or they are the same but for an x in the place of a y, as are ``samy``
    and ``samx_position`` of a motor.
    """
    axes = f"{axis_of(one)}{axis_of(other)}"
    if axes in ("yx", "xy"):
        return axes
    if len(one) != len(other):
        return None
    differing = {a + b for a, b in zip(one.lower(), other.lower(), strict=True) if a != b}
    return differing.pop() if differing in ({"yx"}, {"xy"}) else None


def places_among(
    names: Sequence[str], together: Callable[[int, int], bool] = lambda y, x: True
) -> tuple[int, int] | None:
    """Which of the names are the y and the x of a place; None where none are.

    Of several pairs one that was measured comes before one that was asked for. ``together`` says
    whether two of them, by their numbers, may be a pair at all.
    """
    axes = {k: axis_of(name) for k, name in enumerate(names) if not NO_PLACES.search(_word(name))}
    pairs = {(y, x) for y in axes for x in axes if axes[y] == "y" and axes[x] == "x"}
    alike = defaultdict(list)
    for k in axes:
        alike[names[k].lower().replace("x", "y")].append(k)
    for group in alike.values():
        pairs |= {(y, x) for y in group for x in group if axes_of(names[y], names[x]) == "yx"}

    def rank(pair: tuple[int, int]) -> tuple[bool, int, int, int]:
        y, x = pair
        word = _word(names[y])
        kind = 0 if MEASURED.search(word) else 2 if ASKED_FOR.search(word) else 1
        other = names[y].lower().replace("y", "x") != names[x].lower().replace("y", "x")
        return other, kind, y, x

    return min((pair for pair in pairs if together(*pair)), key=rank, default=None)


def _word(name: str) -> str:
    """What a key says last, with what stands before where that is a word for any array."""
    *before, last = name.rstrip("/").rsplit("/", 2)[-2:]
    return f"{before[0]}/{last}" if before and last.lower() in ("data", "value") else last


def unit_in_name(name: str) -> str | None:
    """The unit at the end of a name such as ``motor_x_um`` or ``x [mm]``; None without one."""
    found = re.search(r"[_\s(\[]([^\W_]+)\s*[)\]]?$", name.strip())
    word = spelled(found[1]) if found else ""
    # A single letter may number columns.
    known = (word in METRES or word == PIXELS) and (found is None or found[1] not in ("a", "A"))
    return word if known else None


def unit_at_end(key: str) -> str:
    """The unit of a length or an energy at the end of a key such as ``energy_keV``; "" if none."""
    word = spelled(key.rsplit("_", 1)[-1]) if "_" in key else ""
    return word if word in METRES or word in ELECTRON_VOLTS else ""
