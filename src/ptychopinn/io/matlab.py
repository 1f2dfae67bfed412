"""MATLAB files: version 7.3 is HDF5 behind a block of text, versions 5 to 7 are read by SciPy.

MATLAB counts the first axis fastest and puts complex numbers into pairs (real, imag). What is read
here has the axes (..., row, column), with what MATLAB has as third and fourth axis before them.
"""

from __future__ import annotations

import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, listed
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.hdf5 import Reader
from ptychopinn.io.reading import check_size, guarded

# Of the elements of a file of version 5: an array, a compressed one, a flag, types of numbers; and
# the bytes that an array has beside its numbers, at most.
MATRIX, COMPRESSED, IS_COMPLEX, MOST_HEAD = 14, 15, 0x0800, 1 << 16
NUMBER_TYPES = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13)
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


def unread(path: Path) -> list[str]:
    """Variables of a file of version 5 that are no arrays of numbers, with what would make them
    such."""
    import scipy.io

    if not is_version_5(path):
        return []
    with guarded(path):
        found = scipy.io.whosmat(str(path))
    told = {
        "struct": "save its fields as variables, with the option -struct of MATLAB's save",
        "cell": "save it as one array, cat(3, X{:}) in MATLAB",
    }
    return [f"the {kind} {name} ({told[kind]})" for name, _, kind in found if kind in told]


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
        _check_types(path, key, 2 * prod(shape) * dtype.itemsize + MOST_HEAD)
        array = np.asarray(scipy.io.loadmat(str(path), variable_names=[key])[key])
    axes = (*range(array.ndim - 1, 1, -1), 0, 1)
    return np.ascontiguousarray(array.transpose(axes))


def _check_types(path: Path, key: str, most: int) -> None:
    """Raise InputError where the numbers of an array are of no known type, on which SciPy crashes.

    ``most`` is the number of bytes that the array has at most. See MathWorks, MAT-File Format.
    """
    try:
        with path.open("rb") as file:
            order = "<" if file.read(128)[126:] == b"IM" else ">"
            while len(tag := file.read(8)) == 8:
                kind, length = struct.unpack(f"{order}2I", tag)
                body = file.read(length)
                if kind == COMPRESSED:
                    body = zlib.decompressobj().decompress(body, most)[8:]
                if kind in (MATRIX, COMPRESSED):
                    _check_matrix(body, order, key)
    except (struct.error, zlib.error, IndexError) as error:
        raise InputError(
            f"'{key}' in '{path}' must be whole, received a damaged file ({error}); save it again."
        ) from error
    except ValueError as error:
        raise InputError(
            f"'{key}' in '{path}' must hold numbers, received {error}; the file is damaged, save "
            "it again."
        ) from error


def _check_matrix(body: bytes, order: str, key: str) -> None:
    """Look at the parts of an array: flags, lengths, name, and one or two blocks of numbers."""
    at, parts = 0, list[tuple[int, bytes]]()
    while len(parts) < 5 and at + 8 <= len(body):
        kind, length = struct.unpack_from(f"{order}2I", body, at)
        if kind >> 16:  # a short part lies within its tag
            kind, length, begin, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            begin, end = at + 8, at + 8 + -(-length // 8) * 8
        # The numbers themselves are not looked at.
        parts.append((kind, body[begin : begin + length] if len(parts) < 3 else b""))
        at = end
    if len(parts) < 3 or parts[2][1] != key.encode("latin1", "replace"):
        return
    complex_too = struct.unpack(f"{order}I", parts[0][1][:4])[0] & IS_COMPLEX
    numbers = parts[3 : 5 if complex_too else 4]
    if len(numbers) < (2 if complex_too else 1):
        raise IndexError("it ends early")
    for kind, _ in numbers:
        if kind not in NUMBER_TYPES:
            raise ValueError(f"the unknown type {kind}")


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
