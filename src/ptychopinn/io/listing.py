"""What a file of arrays holds: names, shapes, types and units, without reading any of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptychopinn.errors import InputError
from ptychopinn.io.base import BZIP2_SIGNATURE, ZIP_SIGNATURE, is_hdf5, signature
from ptychopinn.io.hdf5 import Reader, reading
from ptychopinn.io.matlab import is_version_5, is_version_73, variables
from ptychopinn.io.npz_members import Archive, npy_header
from ptychopinn.io.probes import NPY_SIGNATURE

MOST_ITEMS, DEEPEST = 2000, 20


@dataclass(frozen=True)
class Item:
    """An array; ``shape`` is that of the file, ``note`` says why it cannot be read."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    unit: str = ""
    note: str = ""

    def __str__(self) -> str:
        """Its name, the type of its numbers, and its shape."""
        return f"{self.key} {self.dtype} {self.shape}".strip()

    @property
    def is_complex(self) -> bool:
        return self.dtype.kind == "c" or self.dtype.names == ("real", "imag")

    @property
    def is_real(self) -> bool:
        return self.dtype.kind in "iufb"


def items_of(path: Path) -> list[Item]:
    """All arrays of an HDF5, NPZ, NPY or MATLAB file; an empty list for any other.

    Raises
    ------
    InputError
        When the file is missing or damaged.
    """
    head = signature(path)
    if head.startswith(NPY_SIGNATURE):
        shape, dtype, _, _ = npy_header(path)
        return [Item("", shape, dtype)]
    if head.startswith((ZIP_SIGNATURE, BZIP2_SIGNATURE)):
        with Archive(path) as archive:
            return [Item(k, archive.shapes[k], archive.dtypes[k]) for k in archive.shapes]
    if is_version_5(path):
        return [Item(name, shape, kind) for name, (shape, kind) in variables(path).items()]
    if not is_hdf5(path):
        return []
    swapped = is_version_73(path)
    with reading(path) as file:
        found = []
        for item in _walk(file, "", 0, set(), count()):
            shape = item.shape
            if swapped and len(shape) >= 2:
                shape = (*shape[:-2], shape[-1], shape[-2])
            found.append(Item(item.key, shape, item.dtype, item.unit, item.note))
            if len(found) >= MOST_ITEMS:
                break
        return found


def _walk(
    file: Reader, name: str, depth: int, seen: set[Any], visits: Iterator[int]
) -> Iterator[Item]:
    """All datasets below a group, links followed."""
    group = file.item(name)
    if not isinstance(group, h5py.Group) or depth > DEEPEST or group.id in seen:
        return
    # A few links to one group, level upon level, make a tree without end.
    if next(visits) > MOST_ITEMS:
        return
    seen = {*seen, group.id}
    for key in group:
        inner = f"{name}/{key}" if name else key
        try:
            item = file.item(inner)
        except InputError as error:
            yield Item(inner, (), np.dtype("V1"), note=str(error))
            continue
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            yield Item(inner, item.shape, item.dtype, ", ".join(file.units(inner)))
        elif item is None:
            link = group.get(key, getlink=True)
            lost = (
                f"a complete file was expected, received '{file.path}' in which '{inner}' is a "
                f"link to '{getattr(link, 'path', '')}', which is not there; write it again."
            )
            yield Item(inner, (), np.dtype("V1"), note=lost)
        elif isinstance(item, h5py.Group):
            yield from _walk(file, inner, depth + 1, seen, visits)
