"""HDF5 files of others: every surprise is one sentence, and no link leads out of the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.atomic import atomic_path
from ptychopinn.io.base import HDF5_DAMAGE, HDF5_SIGNATURE, damaged, signature


class Reader:
    """An open HDF5 file; names are paths inside it."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def _find(self, name: str) -> Any:
        """The item, or None. Soft links are followed, links into other files are refused."""
        self._refuse_external(self._file, name)
        return self._file.get(name)

    def _refuse_external(self, group: Any, name: str, depth: int = 0) -> None:
        parts = [part for part in name.split("/") if part]
        for k, part in enumerate(parts):
            link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
            if isinstance(link, h5py.ExternalLink):
                raise InputError(
                    f"a self-contained file was expected, received '{self.path}' in which "
                    f"'{name}' is a link to '{link.filename}'; copy the data into the file."
                )
            if isinstance(link, h5py.SoftLink):
                start = self._file if link.path.startswith("/") else group
                if depth > 8:
                    return
                rest = "/".join([link.path, *parts[k + 1 :]])
                self._refuse_external(start, rest, depth + 1)
                return
            if link is None:
                return
            group = group.get(part)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a dataset; None when there is no such dataset."""
        item = self._find(name)
        return tuple(item.shape) if isinstance(item, h5py.Dataset) else None

    def array(self, name: str, kinds: str = "iuf", ndim: tuple[int, ...] = ()) -> NDArray[Any]:
        """The numbers of a dataset, byte order native.

        Raises
        ------
        InputError
            When it is missing, of another kind of number or number of axes, or too large.
        """
        item = self._find(name)
        if not isinstance(item, h5py.Dataset):
            raise InputError(
                f"the dataset '{name}' was expected in '{self.path}', received "
                f"{', '.join(self._file) or 'none'}; add it."
            )
        if item.dtype.kind not in kinds or (ndim and len(item.shape) not in ndim):
            raise InputError(
                f"the dataset '{name}' in '{self.path}' must hold numbers of its kind with "
                f"{' or '.join(map(str, ndim)) or 'any number of'} axes, received {item.dtype} of "
                f"shape {item.shape}; write it again."
            )
        if item.external:
            raise InputError(
                f"a self-contained file was expected, received '{self.path}' whose '{name}' is "
                "stored in other files; copy the data into the file."
            )
        try:
            values = np.asarray(item[()])
        except MemoryError as error:
            raise InputError(
                f"'{name}' in '{self.path}' must fit into memory, received shape {item.shape}; "
                "convert a part of the scan."
            ) from error
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def optional(
        self, name: str, kinds: str = "iuf", ndim: tuple[int, ...] = ()
    ) -> NDArray[Any] | None:
        """Like :meth:`array`; None when there is no such dataset."""
        return self.array(name, kinds, ndim) if name in self else None

    def number(self, name: str, default: float | None = None) -> float:
        """A dataset that holds one number; ``default`` when it is missing, if given."""
        if default is not None and name not in self:
            return default
        values = self.array(name)
        if values.size != 1:
            raise InputError(
                f"'{name}' in '{self.path}' must be one number, received shape {values.shape}; "
                "store a single number."
            )
        return float(values.reshape(()))

    def text(self, name: str) -> str:
        """A dataset that holds one text; "" when it is missing."""
        item = self._find(name)
        return to_text(item[()]) if isinstance(item, h5py.Dataset) and item.size == 1 else ""

    def attribute(self, name: str, key: str) -> Any:
        """An attribute of an item ("/" is the file); None when it is missing."""
        item = self._file if name == "/" else self._find(name)
        return None if item is None else item.attrs.get(key)

    def attribute_number(self, name: str, key: str, default: float | None = None) -> float:
        """An attribute that must be a number; ``default`` when it is missing, if given."""
        value = self.attribute(name, key)
        if value is None and default is not None:
            return default
        try:
            return float(np.asarray(value).reshape(()))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the attribute '{key}' of '{name}' in '{self.path}' must be a number, received "
                f"{value!r}; write it again."
            ) from error


def to_text(value: Any) -> str:
    """A stored text, whatever its type."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a file for reading.

    Raises
    ------
    InputError
        When it is damaged; also when that shows only inside the block.
    """
    try:
        with h5py.File(path, "r") as file:
            yield Reader(path, file)
    except HDF5_DAMAGE as error:
        raise damaged(path, error) from error


@contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """Write a file, which appears under its name only when the block succeeds.

    Raises
    ------
    InputError
        When it cannot be written.
    """
    try:
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            yield file
    except OSError as error:
        raise InputError(
            f"the file must be writable as '{path}', received: {error.strerror or error}; "
            "choose another place or make room."
        ) from error


def holds(path: Path, *names: str) -> bool:
    """Whether the path is an HDF5 file with all these datasets; cheap.

    Raises
    ------
    InputError
        For an HDF5 file that cannot be opened.
    """
    if signature(path) != HDF5_SIGNATURE:
        return False
    with reading(path) as file:
        return all(file.shape(name) is not None for name in names)
