"""Reading one complex or real array, the object or the probe, from NPY, NPZ or HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, listed
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.npz_members import Archive, read_npy

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".cxi")


def read_array(path: Path, names: tuple[str, ...]) -> NDArray[Any]:
    """Read the array called one of ``names``, or the only one in the file.

    Returns a finite float64 or complex128 array.

    Raises
    ------
    InputError
        When the file cannot be read, holds no such array, or the array is not finite numbers.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = read_npy(path)
    elif suffix == ".npz":
        with Archive(path) as archive:
            array = archive.numbers(_choose(path, archive.keys(), names))
    elif suffix in HDF5_SUFFIXES:
        with reading(path) as file:
            array = file.array(_choose(path, file.datasets(), names), "biufc")
    else:
        raise InputError(
            f"an object or probe must be an NPY, NPZ or HDF5 file, received '{path}'; "
            "convert it to one of them."
        )
    if array.dtype.kind not in "biufc" or not np.isfinite(array).all():
        raise InputError(
            f"the array in '{path}' must be finite numbers, received dtype {array.dtype} or "
            "NaN/infinity; repair the file."
        )
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _choose(path: Path, keys: list[str], names: tuple[str, ...]) -> str:
    for name in names:
        matching = [key for key in keys if key.rsplit("/", 1)[-1] == name]
        if len(matching) == 1:
            return matching[0]
    if len(keys) == 1:
        return keys[0]
    raise InputError(
        f"'{path}' must hold one array or one called {' or '.join(names)}, received "
        f"{listed(keys)}; rename the array."
    )
