"""Units of length and energy, as files, columns and options write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import constants

METRES: Mapping[str, float] = MappingProxyType(
    {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "angstrom": 1e-10, "pm": 1e-12}
)
ELECTRON_VOLTS: Mapping[str, float] = MappingProxyType(
    {"eV": 1.0, "keV": 1e3, "MeV": 1e6, "GeV": 1e9, "meV": 1e-3, "J": 1 / constants.e}
)
PIXELS = "px"

_PREFIXES = {"": "", "centi": "c", "milli": "m", "micro": "u", "nano": "n", "pico": "p"}
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        **{
            prefix + word: short + "m"
            for prefix, short in _PREFIXES.items()
            for word in ("metre", "meter", "metres", "meters", "m")
            if prefix + word != "m"
        },
        **dict.fromkeys(("micron", "microns", "mum", "\u00b5m", "\u03bcm"), "um"),
        **dict.fromkeys(("a", "ang", "angstroms", "\u00e5", "\u00e5ngstr\u00f6m"), "angstrom"),
        **dict.fromkeys(("joule", "joules", "j"), "J"),
        **dict.fromkeys(("electronvolt", "electronvolts", "ev"), "eV"),
        # Of meV and MeV only the capitals tell.
        **dict.fromkeys(("kiloelectronvolt", "kev"), "keV"),
        **dict.fromkeys(("gigaelectronvolt", "gev"), "GeV"),
        **dict.fromkeys(("pixel", "pixels"), PIXELS),
    }
)


def spelled(unit: str) -> str:
    """The unit as this program writes it: "um" for "µm" and "Micrometer"; else in small letters."""
    stated = unit.strip("\0 \t\r\n").strip("[]() ")
    if stated in METRES or stated in ELECTRON_VOLTS:
        return stated
    word = stated.casefold()
    return _WORDS.get(re.sub(r"[\s_-]", "", word), word)


def units_in(stated: Any) -> tuple[str, ...]:
    """The units that an attribute states, spelled as this program does: one, or one for each axis.

    ``stated`` is a text, bytes in UTF-8 or Latin-1, or an array of them. A text may list units, as
    in "um, um, nm". Nothing where it says nothing; one where all are the same.
    """
    values = stated.ravel().tolist() if isinstance(stated, np.ndarray) else [stated]
    found: list[str] = []
    for value in values:
        text = _decoded(value).strip("\0 \t\r\n").strip("[]() ")
        parts = [part for part in re.split(r"[,;]", text) if part.strip()]
        words = text.split()
        if len(words) > 1 and all(spelled(word) in METRES for word in words):
            parts = words
        found += [spelled(part.strip("\"' ")) for part in parts]
    return (found[0],) if len(set(found)) == 1 else tuple(found)


def _decoded(value: Any) -> str:
    """A text of which HDF5 may know the bytes only: what is no UTF-8 is Latin-1, as in "µm"."""
    if value is None:
        return ""
    if not isinstance(value, bytes):
        value = str(value).encode("utf-8", "surrogateescape")
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        return bytes(value).decode("latin-1")
