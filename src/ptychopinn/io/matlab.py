"""MATLAB files: version 7.3 is HDF5 behind a block of text, versions 5 to 7 are read by SciPy.

MATLAB counts the first axis fastest and puts complex numbers into pairs (real, imag). What is read
here has the axes (..., row, column), with what MATLAB has as third and fourth axis before them.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, listed
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.hdf5 import Reader
from ptychopinn.io.reading import check_size, guarded

CLASSES = {
    "double": "f8", "single": "f4", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8",
    "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "logical": "u1",
}  # fmt: skip


def is_version_73(path: Path) -> bool:
    """Whether MATLAB wrote this HDF5 file."""
    with guarded(path), path.open("rb") as file:
        return file.read(10) == b"MATLAB 7.3" and is_hdf5(path)


def is_version_5(path: Path) -> bool:
    """Whether the file is of MATLAB 5 to 7."""
    with guarded(path), path.open("rb") as file:
        head = file.read(128)
    return len(head) == 128 and head.startswith(b"MATLAB 5.0") and head[126:] in (b"IM", b"MI")


def variables(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shapes and types of the arrays of numbers in a file of version 5, axes as read here."""
    import scipy.io

    with guarded(path):
        found = scipy.io.whosmat(str(path))
    return {
        name: (_turned(shape), np.dtype(CLASSES[kind]))
        for name, shape, kind in found
        if kind in CLASSES
    }


def _turned(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*reversed(shape[2:]), *shape[:2])


def read_version_5(path: Path, key: str) -> NDArray[Any]:
    """An array of numbers of a file of version 5.

    Raises
    ------
    InputError
        When it is missing, holds no numbers, or does not fit into the memory.
    """
    import scipy.io

    with guarded(path) as size:
        known = variables(path)
        if key not in known:
            raise InputError(
                f"the array of numbers '{key}' was expected in '{path}', received "
                f"{listed(known)}; name another one as FILE:KEY."
            )
        shape, dtype = known[key]
        check_size(prod(shape) * dtype.itemsize, size, f"'{key}' in '{path}', of shape {shape},")
        array = np.asarray(scipy.io.loadmat(str(path), variable_names=[key])[key])
    axes = (*range(array.ndim - 1, 1, -1), 0, 1)
    return np.ascontiguousarray(array.transpose(axes))


def read_field(file: Reader, name: str) -> NDArray[Any]:
    """A real or complex array of an HDF5 file, MATLAB's with the axes of this module.

    Raises
    ------
    InputError
        When it is missing, of other numbers, or too large.
    """
    array = file.array(name, "biufc")
    if array.ndim > 2 and file.is_of_matlab(name):
        # As MATLAB has them: (row, column, third, fourth).
        array = array.transpose((*range(array.ndim - 1, 1, -1), 0, 1))
    return np.ascontiguousarray(array)
