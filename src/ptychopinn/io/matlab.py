"""Arrays of MATLAB files of version 5; those of version 7.3 are HDF5."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, listed, shown
from ptychopinn.io.reading import check_size, guarded

NUMBER_BYTES = 16


def names_and_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The variables of a file and their shapes.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    from scipy.io import whosmat

    with guarded(path):
        return {name: tuple(map(int, shape)) for name, shape, _ in whosmat(str(path))}


def read_matlab(path: Path, key: str) -> NDArray[Any]:
    """The array of numbers under ``key``, its axes as MATLAB has them.

    Raises
    ------
    InputError
        When it is missing, no array of numbers, or declares more than the file holds.
    """
    from scipy.io import loadmat

    shapes = names_and_shapes(path)
    if key not in shapes:
        raise InputError(
            f"the variable '{key}' was expected in '{path}', received {listed(shapes)}; name "
            "another one as FILE:KEY."
        )
    with guarded(path) as size:
        what = f"'{key}' in '{path}', of shape {shown(shapes[key])},"
        check_size(prod(shapes[key]) * NUMBER_BYTES, size, what)
        found = np.asarray(loadmat(str(path), variable_names=[key])[key])
    if found.dtype.kind not in "fciub":
        raise InputError(
            f"'{key}' in '{path}' must be an array of numbers, received {shown(found.dtype)}; save "
            "it as a plain array."
        )
    return found.astype(found.dtype.newbyteorder("="), copy=False)
