"""What somebody says of a probe in one line: ``fzp:diameter=180um,zone=50nm,defocus=0.5mm``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ptychopinn.errors import InputError, brief, shown
from ptychopinn.probes.spec_numbers import (
    ANGLE,
    ENERGY,
    LENGTH,
    NUMBER,
    VOLTAGE,
    Quantity,
    quantity,
)

AUTO = "auto"


@dataclass(frozen=True)
class Key:
    """units : see :mod:`ptychopinn.probes.spec_numbers`.  needed : whether it must be given.
    signed : whether it may be zero or negative.  pixels : whether it may be in pixels."""

    units: Mapping[str, float]
    needed: bool = False
    signed: bool = False
    pixels: bool = False


_NEEDED, _DEFOCUS = Key(LENGTH, needed=True), Key(LENGTH, signed=True)
_PHOTONS = {"energy": Key(ENERGY), "pixel": Key(LENGTH)}
_SIZE = Key(LENGTH, needed=True, pixels=True)
# What each kind of probe is told; see :mod:`ptychopinn.probes.optics` for the meaning.
KINDS: dict[str, dict[str, Key]] = {
    "fzp": {
        "diameter": _NEEDED, "zone": _NEEDED, "defocus": _DEFOCUS, "stop": Key(LENGTH), **_PHOTONS,
    },
    "kb": {
        "na": Key(NUMBER), "na_y": Key(NUMBER), "na_x": Key(NUMBER),
        "aperture_y": Key(LENGTH), "aperture_x": Key(LENGTH),
        "focal_y": Key(LENGTH), "focal_x": Key(LENGTH),
        "defocus": _DEFOCUS, "defocus_y": _DEFOCUS, "defocus_x": _DEFOCUS, **_PHOTONS,
    },
    "gaussian": {"fwhm": _SIZE, "defocus": _DEFOCUS, **_PHOTONS},
    "disc": {"diameter": _SIZE, "defocus": _DEFOCUS, **_PHOTONS},
    "electron": {
        "kv": Key(VOLTAGE, needed=True), "alpha": Key(ANGLE, needed=True), "defocus": _DEFOCUS,
        "cs": _DEFOCUS, "pixel": Key(LENGTH),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A probe to be made: ``kind`` is "auto" or a name in ``KINDS``; ``values`` is what was given;
    ``text`` is how it was typed."""

    kind: str
    values: Mapping[str, Quantity]
    text: str

    def get(self, key: str, default: float | None = None) -> float | None:
        """A number in SI units (kV for a voltage); ``default`` when it was not given."""
        return self.values[key].value if key in self.values else default

    def number(self, key: str, default: float = 0.0) -> float:
        """The same with a number as default."""
        found = self.get(key)
        return default if found is None else found


def is_recipe(text: str) -> bool:
    """Whether a text describes a probe, and does not name a file."""
    return text.strip() == AUTO or text.partition(":")[0].strip() in KINDS


def read_recipe(text: str) -> Recipe:
    """The recipe in a text for which :func:`is_recipe` is true.

    Raises
    ------
    InputError
        When a key is unknown, missing, given twice, or its value is no such number.
    """
    kind, _, rest = text.strip().partition(":")
    kind = kind.strip()
    if kind == AUTO:
        return Recipe(AUTO, {}, AUTO)
    keys, values = KINDS[kind], dict[str, Quantity]()
    known = f"the keys of {kind} are {', '.join(keys)}"
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in keys or name in values:
            wrong = "twice" if name in values else "here"
            raise InputError(
                f"a probe {kind} must be given as {kind}:KEY=VALUE,..., received {shown(part)} "
                f"{wrong}; {known}."
            )
        key = keys[name]
        found = quantity(value, key.units, f"{name} of the probe {kind}", pixels=key.pixels)
        if not key.signed and found.value <= 0:
            raise InputError(
                f"{name} of the probe {kind} must be positive, received {shown(value)}; correct it."
            )
        values[name] = found
    missing = [name for name, key in keys.items() if key.needed and name not in values]
    if missing:
        raise InputError(
            f"a probe {kind} needs {' and '.join(missing)}, received '{brief(text)}' without; "
            f"{known}."
        )
    return Recipe(kind, values, brief(text.strip()))
