"""The names of figures and of their files."""

from __future__ import annotations

from ptychopinn.errors import InputError, shown

DRAWN = ("png", "pdf", "svg")
FORMATS = (*DRAWN, "tiff")
FOLDER = "figures"
# Those of ``report.plots.FIGURES``, which imports what this must not: a command lists them.
KINDS = (
    "overview", "amplitude", "phase", "complex", "slices", "probe", "positions", "coverage",
    "misfit", "passes", "patterns", "resolution", "uncertainty",
)  # fmt: skip
# TIFF is for numbers: these pictures, as they are.
DATA = ("amplitude", "phase", "uncertainty")
NAMES = tuple(
    f"{FOLDER}/{name}.{kind}" for kind in FORMATS for name in (DATA if kind == "tiff" else KINDS)
)


def formats_of(text: str, known: tuple[str, ...] = FORMATS) -> tuple[str, ...]:
    """The formats that a text with commas between them names.

    Raises
    ------
    InputError
        When one is none of those that are ``known``.
    """
    found = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",")))
    for word in found:
        if word not in known:
            raise InputError(
                f"figures must be some of {', '.join(known)}, with commas between them, received "
                f"{shown(word)}; correct it."
            )
    return found
