"""Raw data of detectors and other programs: what ``prepare`` makes scans of.

Each kind is one module that says whether a file is its own (``matches``) and looks at it
(``open_source``); ``KINDS`` lists them, the narrower before the wider.
"""

from __future__ import annotations

from pathlib import Path

from ptychopinn.errors import InputError, listed
from ptychopinn.io.foreign import what_it_is
from ptychopinn.io.reading import kind_of, parsing
from ptychopinn.sources import (
    by_keys,
    eiger,
    empad,
    nexus,
    ptypy_files,
    ready,
    shelves,
    stem,
    tiff,
    zarr_store,
)
from ptychopinn.sources.base import Kind, Source

KINDS: tuple[Kind, ...] = (
    eiger,
    nexus,
    ptypy_files,
    shelves,
    ready,
    tiff,
    zarr_store,
    empad,
    stem,
    by_keys,
)


def kind_for(path: Path) -> Kind:
    """The kind of a source, found from its content.

    Raises
    ------
    InputError
        When it is missing, damaged, or of no kind.
    """
    if kind_of(path) == "nothing":
        raise InputError(
            f"an existing source was expected, received '{path}' which does not exist; check the "
            "path."
        )
    for kind in KINDS:
        with parsing(path):
            if kind.matches(path):
                return kind
    known = listed((kind.DESCRIPTION for kind in KINDS), 600)
    other = what_it_is(path)
    words, remedy = other or ("", "write the patterns into an HDF5 or NPY file")
    if path.is_dir():
        remedy = "name the files of the scan in it, all by a pattern such as 'FOLDER/*.npy'"
    raise InputError(
        f"a source of raw data was expected [{known}], received '{path}' which is none of them"
        f"{', but ' + words if words else ''}; {remedy}."
    )


def open_source(path: Path, patterns: str | None = None) -> Source:
    """Look at a source; ``patterns`` is the key of its patterns where the user gave one.

    Raises
    ------
    InputError
        When it is of no kind, or breaks the rules of its kind.
    """
    kind = kind_for(path)
    with parsing(path):
        return kind.open_source(path, patterns)
