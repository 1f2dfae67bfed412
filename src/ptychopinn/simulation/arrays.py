"""Reading one complex or real array, the object or the probe, from NPY, NPZ or HDF5."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError

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
    try:
        if suffix == ".npy":
            array = np.load(path, allow_pickle=False)
        elif suffix == ".npz":
            array = _from_npz(path, names)
        elif suffix in HDF5_SUFFIXES:
            array = _from_hdf5(path, names)
        else:
            raise InputError(
                f"an object or probe must be an NPY, NPZ or HDF5 file, received '{path}'; "
                "convert it to one of them."
            )
    except InputError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"the file must be readable as {suffix[1:].upper()} without pickle, received '{path}': "
            f"{reason}; check the path and the format."
        ) from error
    if array.dtype.kind not in "biufc" or not np.isfinite(array).all():
        raise InputError(
            f"the array in '{path}' must be finite numbers, received dtype {array.dtype} or "
            "NaN/infinity; repair the file."
        )
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _from_npz(path: Path, names: tuple[str, ...]) -> NDArray[Any]:
    with np.load(path, allow_pickle=False) as archive:
        array: NDArray[Any] = archive[_choose(path, archive.files, names)]
    return array


def _from_hdf5(path: Path, names: tuple[str, ...]) -> NDArray[Any]:
    import h5py

    with h5py.File(path, "r") as file:
        found: list[str] = []
        file.visititems(
            lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None
        )
        array: NDArray[Any] = np.asarray(file[_choose(path, found, names)][()])
    return array


def _choose(path: Path, keys: list[str], names: tuple[str, ...]) -> str:
    for name in names:
        matching = [key for key in keys if key.rsplit("/", 1)[-1] == name]
        if len(matching) == 1:
            return matching[0]
    if len(keys) == 1:
        return keys[0]
    raise InputError(
        f"'{path}' must hold one array or one called {' or '.join(names)}, received "
        f"{', '.join(keys) or 'none'}; rename the array."
    )
