"""What to type for a file that holds patterns and is no scan of a known format."""

from __future__ import annotations

from math import prod
from pathlib import Path

from ptychopinn.errors import InputError
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.prepare_line import prepare_line
from ptychopinn.io.reading import kind_of

# Endings of files that may hold patterns, beside HDF5.
RAW = (".tif", ".tiff", ".npy", ".mat", ".raw", ".zarr", ".cbf", ".edf", ".ptyd", ".ptyr")


def way_in(path: Path) -> str | None:
    """How ``prepare`` makes a scan of this file, as the remedy of an error.

    None for a file without patterns.
    """
    rest = {"positions": "FILE", "unit": "um"}
    try:
        if kind_of(path) == "file" and is_hdf5(path):
            if path.stem.endswith("_master"):
                return f"make a scan of it with: {prepare_line(path, options=rest)}"
            key = _patterns_key(path)
            if key is None:
                return None
            line = prepare_line(options={"patterns": f"{path}:{key}", **rest})
            look = prepare_line(path, options={"list": True}, target=None)
            return f"make a scan of it with: {line} ({look} shows what it holds)"
    except InputError:
        return None
    if path.suffix.lower() in RAW:
        return f"make a scan of it with: {prepare_line(path, options=rest)}"
    return None


def _patterns_key(path: Path) -> str | None:
    """The dataset with the most numbers in three axes or more."""
    with reading(path) as file:
        sizes = {key: prod(file.shape(key) or ()) for key in file.datasets(axes=3)}
    return max(sizes, key=lambda key: sizes[key], default=None)
