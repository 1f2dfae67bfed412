"""Units of length and energy, as files, columns and options write them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
            for word in ("metre", "meter", "metres", "meters")
        },
        **dict.fromkeys(("micron", "microns", "mum", "mu m", "\u00b5m", "\u03bcm"), "um"),
        **dict.fromkeys(("a", "ang", "angstroms", "\u00e5", "\u00e5ngstr\u00f6m"), "angstrom"),
        **dict.fromkeys(("joule", "joules", "j"), "J"),
        **dict.fromkeys(("electronvolt", "electronvolts", "electron volt", "ev"), "eV"),
        # Of meV and MeV only the capitals tell.
        **dict.fromkeys(("kiloelectronvolt", "kev"), "keV"),
        **dict.fromkeys(("gigaelectronvolt", "gev"), "GeV"),
        **dict.fromkeys(("pixel", "pixels"), PIXELS),
    }
)


def spelled(unit: str) -> str:
    """The unit as this program writes it: "um" for "µm" and "Micrometer"; else in small letters."""
    stated = unit.strip().strip("[]() ")
    if stated in METRES or stated in ELECTRON_VOLTS:
        return stated
    word = stated.casefold()
    return _WORDS.get(word, word)
