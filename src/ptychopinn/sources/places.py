"""``FILE:KEY``: where an array lies, and the array itself, whatever the file is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, listed, shown
from ptychopinn.io.base import BZIP2_SIGNATURE, ZIP_SIGNATURE, is_hdf5, signature
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.matlab import is_version_5, read_field, read_version_5
from ptychopinn.io.npz_members import Archive, read_npy
from ptychopinn.io.probes import NPY_SIGNATURE
from ptychopinn.io.reading import check_size, kind_of
from ptychopinn.sources import tiff, zarr_store


@dataclass(frozen=True)
class Place:
    """A file, and the name of an array in it; None where the file holds one only."""

    path: Path
    key: str | None

    def __str__(self) -> str:
        return f"'{self.path}'" if self.key is None else f"'{self.key}' in '{self.path}'"


def place_of(text: str, default: Path | None, option: str) -> Place:
    """What ``FILE``, ``FILE:KEY``, or ``KEY`` in the file ``default``, names.

    Raises
    ------
    InputError
        When there is no such file and no ``default``.
    """
    if not text.strip():
        raise InputError(
            f"{option} must be FILE or FILE:KEY, received nothing; name one, or leave the option "
            f"{option} out, of a recipe too."
        )
    if kind_of(Path(text)) != "nothing":
        return Place(Path(text), None)
    name, colon, key = text.rpartition(":")
    if colon and name and key:
        if kind_of(Path(name)) == "nothing":
            raise InputError(
                f"an existing file was expected before ':' in {option}='{text}', received "
                f"'{name}' which does not exist; check the path."
            )
        return Place(Path(name), key)
    if default is None:
        raise InputError(
            f"{option} must be FILE or FILE:KEY, received '{text}', which is no file; check the "
            "path."
        )
    return Place(default, text)


def array_at(place: Place) -> NDArray[Any]:
    """The array of numbers at a place; of MATLAB's files with the axes (..., row, column).

    Raises
    ------
    InputError
        When the file or the array is missing, damaged, no numbers, or too large.
    """
    array = _array_at(place)
    if array.dtype.kind not in "biufc":
        raise InputError(
            f"numbers were expected, received {shown(array.dtype)} from {place}; name another "
            "array."
        )
    return array


def real_at(place: Place) -> NDArray[Any]:
    """The same for positions, which are real.

    Raises
    ------
    InputError
        Also for complex numbers, and True and False.
    """
    array = array_at(place)
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"positions must be real numbers, received {array.dtype} from {place}; name another "
            "array."
        )
    return array


def _array_at(place: Place) -> NDArray[Any]:
    path, key = place.path, place.key
    if path.is_dir() and not tiff.matches(path):
        return zarr_store.array_in(path, key)
    images = path.is_dir() or signature(path).startswith(tiff.SIGNATURES)
    head = b"" if path.is_dir() else signature(path)
    if key is not None and (images or head.startswith(NPY_SIGNATURE)):
        raise InputError(
            f"an existing file, or an array in '{path}', was expected, received '{key}', which is "
            "no file, and that one has no names of arrays; check the path."
        )
    if images:
        return _tiff(path)
    if head.startswith(NPY_SIGNATURE):
        return read_npy(path)
    if head.startswith((ZIP_SIGNATURE, BZIP2_SIGNATURE)):
        with Archive(path) as archive:
            return archive.numbers(_only(place, archive.keys()))
    if is_version_5(path):
        from ptychopinn.io.matlab import variables

        return read_version_5(path, _only(place, list(variables(path))))
    if is_hdf5(path):
        with reading(path) as file:
            name = key or _only(place, file.datasets())
            if file.shape(name) is None:
                file.refuse_broken(name)
                raise InputError(
                    f"the dataset '{name}' was expected in '{path}', received "
                    f"{listed(file.datasets())}; name another one, or leave out the option that "
                    "names it, of a recipe too."
                )
            return read_field(file, name)
    raise InputError(
        f"an array was expected in an HDF5, NPZ, NPY, MATLAB or TIFF file, received '{path}'; "
        "convert it."
    )


def _only(place: Place, names: list[str]) -> str:
    if place.key is not None:
        return place.key
    if len(names) != 1:
        raise InputError(
            f"one array was expected in '{place.path}', received {listed(names)}; name one of "
            "them as FILE:KEY."
        )
    return names[0]


def _tiff(path: Path) -> NDArray[Any]:
    frames = tiff.open_source(path, None).patterns
    count, height, width = frames.shape
    declared = count * height * width * frames.dtype.itemsize
    files = tiff.inside(path) if path.is_dir() else [path]
    stored = sum(file.stat().st_size for file in files)
    check_size(declared, stored, f"the pages of '{path}'")
    array = frames.read(np.arange(count), (slice(0, height), slice(0, width)))
    return array[0] if count == 1 else array


def image_at(place: Place, shape: tuple[int, int], what: str, average: bool) -> NDArray[Any]:
    """A picture of the detector (H, W); of a stack of them the mean, or with any bad the bad one.

    Raises
    ------
    InputError
        When it is of another shape, or complex.
    """
    array = array_at(place)
    if array.dtype.kind == "c" or array.ndim < 2 or array.shape[-2:] != shape or not array.size:
        raise InputError(
            f"{what} must be real and as large as the stored patterns, {shape[0]} x {shape[1]}, "
            f"received {array.dtype} of shape {array.shape} from {place}; name another one."
        )
    stack = array.reshape(-1, *shape)
    if len(stack) == 1 or not average:
        return stack[0]
    return np.asarray(stack.mean(axis=0, dtype=np.float64))
