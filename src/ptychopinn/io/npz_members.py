"""NPZ archives, read without ever unpickling and with one-sentence errors."""

from __future__ import annotations

import bz2
import io
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.base import BZIP2_SIGNATURE, ZIP_SIGNATURE, damaged, signature

_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile)


def is_archive(path: Path) -> bool:
    """Whether the file is a ZIP that holds at least one array (``*.npy``).

    Raises
    ------
    InputError
        For a ZIP whose directory is missing, which is what truncation does.
    """
    if not signature(path).startswith(ZIP_SIGNATURE):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error


class Archive:
    """The arrays of an NPZ file, or of one compressed as a whole with bzip2.

    Headers are read at once, arrays on request. A context manager.

    Attributes
    ----------
    shapes, dtypes : by key

    Raises
    ------
    InputError
        For a damaged file and for any array of Python objects, whose reading would need pickle and
        could execute code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, np.dtype[Any]] = {}
        try:
            source: Path | io.BytesIO = path
            if signature(path).startswith(BZIP2_SIGNATURE):
                source = io.BytesIO(bz2.decompress(path.read_bytes()))
            self._zip = zipfile.ZipFile(source)
        except _DAMAGE as error:
            if isinstance(error, InputError):
                raise
            raise damaged(path, error) from error
        try:
            self._read_headers()
        except BaseException:
            self._zip.close()
            raise

    def _read_headers(self) -> None:
        for info in self._zip.infolist():
            if not info.filename.endswith(".npy"):
                continue
            key = info.filename.removesuffix(".npy")
            try:
                with self._zip.open(info) as file:
                    shape, dtype = _header(file)
            except _DAMAGE as error:
                raise damaged(self.path, error) from error
            if dtype.hasobject:
                raise InputError(
                    f"plain arrays were expected, received Python objects under '{key}' in "
                    f"'{self.path}', which could execute code when read; save that key again as "
                    "numbers or as a JSON string, or leave it out."
                )
            if info.file_size < int(np.prod(shape, dtype=object)) * dtype.itemsize:
                raise damaged(self.path, f"'{key}' is shorter than its shape {shape}")
            self.shapes[key], self.dtypes[key] = shape, dtype

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def __contains__(self, key: str) -> bool:
        return key in self.shapes

    def keys(self) -> list[str]:
        return list(self.shapes)

    def read(self, key: str) -> NDArray[Any]:
        """The array under ``key``, byte order native; InputError when it is missing or damaged."""
        if key not in self.shapes:
            raise InputError(
                f"the key '{key}' was expected in '{self.path}', received "
                f"{', '.join(self.shapes) or 'none'}; add it or name another key."
            )
        try:
            with self._zip.open(key + ".npy") as file:
                array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        except _DAMAGE as error:
            raise damaged(self.path, error) from error
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def numbers(self, key: str) -> NDArray[Any]:
        """Like :meth:`read`, for an array that must hold numbers."""
        if key in self.dtypes and self.dtypes[key].kind not in "biufc":
            raise InputError(
                f"'{key}' in '{self.path}' must hold numbers, received {self.dtypes[key]}; "
                "save it again as numbers."
            )
        return self.read(key)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"array format version {version} is not known")
    return shape, dtype
