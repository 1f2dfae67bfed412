"""NPZ archives, read without ever unpickling and with one-sentence errors."""

from __future__ import annotations

import bz2
import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, listed, shown
from ptychopinn.io.base import BZIP2_SIGNATURE, ZIP_SIGNATURE, signature
from ptychopinn.io.reading import LARGEST_RATIO, SMALL, check_size, damaged, guarded, parsing

BLOCK = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether the file is a ZIP that holds at least one array (``*.npy``).

    Raises
    ------
    InputError
        For a ZIP whose directory is missing, which is what truncation does.
    """
    if not signature(path).startswith(ZIP_SIGNATURE):
        return False
    with guarded(path), zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


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
        with guarded(path) as size:
            self._size = size
            source: Path | io.BytesIO = path
            if signature(path).startswith(BZIP2_SIGNATURE):
                source = _unpacked(path, size)
                self._size = len(source.getvalue())
                # Cut short, bzip2 itself says so.
                if not source.getvalue().startswith(ZIP_SIGNATURE):
                    raise InputError(
                        f"an NPZ file was expected inside '{path}', received another file that was "
                        "compressed with bzip2; unpack it first."
                    )
            self._zip = zipfile.ZipFile(source)
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
            with self._zip.open(info) as file, _of_python_2():
                shape, dtype = _header(file)
            if dtype.hasobject:
                raise InputError(
                    f"plain arrays were expected, received Python objects under '{key}' in "
                    f"'{self.path}', which could execute code when read; save that key again as "
                    "numbers or as a JSON string, or leave it out."
                )
            if info.file_size < prod(shape) * dtype.itemsize:
                raise damaged(self.path, f"'{key}' is shorter than its shape {shown(shape)}")
            self.shapes[key], self.dtypes[key] = shape, dtype

    def __enter__(self) -> Archive:
        self._border = parsing(self.path)
        self._border.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._zip.close()
        return self._border.__exit__(kind, error, trace)

    def __contains__(self, key: str) -> bool:
        return key in self.shapes

    def keys(self) -> list[str]:
        return list(self.shapes)

    def read(self, key: str) -> NDArray[Any]:
        """The array under ``key``, byte order native; InputError when it is missing or damaged."""
        if key not in self.shapes:
            raise InputError(
                f"the key '{key}' was expected in '{self.path}', received "
                f"{listed(self.shapes)}; add it or name another key."
            )
        with guarded(self.path):
            check_size(
                prod(self.shapes[key]) * self.dtypes[key].itemsize,
                min(self._zip.getinfo(key + ".npy").compress_size, self._size),
                f"'{key}' in '{self.path}', of shape {shown(self.shapes[key])},",
            )
            with self._zip.open(key + ".npy") as file, _of_python_2():
                array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def numbers(self, key: str) -> NDArray[Any]:
        """Like :meth:`read`, for an array that must hold numbers."""
        if key in self.dtypes and self.dtypes[key].kind not in "biufc":
            raise InputError(
                f"'{key}' in '{self.path}' must hold numbers, received {self.dtypes[key]}; "
                "save it again as numbers."
            )
        return self.read(key)


def npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Shape, type, whether the first axis counts fastest, and where the numbers of an NPY file
    begin.

    Raises
    ------
    InputError
        When the file is damaged, shorter than it declares, or holds Python objects.
    """
    with guarded(path) as size, path.open("rb") as file, _of_python_2():
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"array format version {version} is not known")
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        if dtype.hasobject or any(length < 0 for length in shape):
            raise InputError(
                f"plain numbers were expected, received Python objects in '{path}', which could "
                "execute code when read; save the array again as numbers."
            )
        if prod(shape) * dtype.itemsize > size - file.tell():
            raise damaged(path, f"it is shorter than its shape {shown(shape)}")
        return shape, dtype, fortran, file.tell()


def read_npy(path: Path) -> NDArray[Any]:
    """The array of an NPY file, byte order native; never unpickled.

    Raises
    ------
    InputError
        When the file is damaged, declares more than it holds, or holds Python objects.
    """
    with guarded(path) as size, path.open("rb") as file, _of_python_2():
        shape, dtype = _header(file)
        if dtype.hasobject:
            raise InputError(
                f"plain numbers were expected, received Python objects in '{path}', which could "
                "execute code when read; save the array again as numbers."
            )
        declared = prod(shape) * dtype.itemsize
        if declared > size - file.tell():
            raise damaged(path, f"it is shorter than its shape {shown(shape)}")
        check_size(declared, size, f"the array in '{path}', of shape {shown(shape)},")
        file.seek(0)
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


@contextmanager
def _of_python_2() -> Iterator[None]:
    """Arrays that Python 2 wrote are read as they are; NumPy would advise to save them again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required", UserWarning)
        yield


def _unpacked(path: Path, size: int) -> io.BytesIO:
    """The content of a bzip2 file, refused where it grows beyond what a scan can."""
    content = io.BytesIO()
    with bz2.open(path) as file:
        while block := file.read(BLOCK):
            content.write(block)
            if content.tell() > max(SMALL, LARGEST_RATIO * size):
                raise damaged(path, f"{size} bytes that unpack to more than {content.tell()}")
    return content


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"array format version {version} is not known")
    if any(length < 0 for length in shape):
        raise ValueError(f"the shape {shown(shape)} is negative")
    return shape, dtype
