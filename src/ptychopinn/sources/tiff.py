"""TIFF images: one file with a page per pattern, or many files in a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.base import signature
from ptychopinn.io.reading import check_declared, damaged, guarded
from ptychopinn.io.unpacking import check_unpacked
from ptychopinn.sources.base import Source
from ptychopinn.sources.file_names import by_number, gaps_between, odd_names
from ptychopinn.sources.frames import Frames, Window, check_frames, joined, native

NAME = "tiff"
DESCRIPTION = "TIFF images: one file with many pages, or a folder of them"

SUFFIXES = (".tif", ".tiff")
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class PageFrames:
    """The pages of a TIFF file; each is read when it is asked for."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`ptychopinn.sources.frames.Frames`."""
        with _opened(self.path) as file:
            pages = [self._page(file, int(k))[window] for k in indices]
        return native(np.stack(pages))

    def _page(self, file: Any, k: int) -> NDArray[Any]:
        page = file.pages[k]
        if page.shape != self.shape[1:] or page.dtype != self.dtype:
            raise InputError(
                f"all pages of '{self.path}' must be of one size and type, received "
                f"{self.shape[1:]} {self.dtype} and, as page {k}, {page.shape} {page.dtype}; leave "
                "it out."
            )
        _check_packed(self.path, page)
        try:
            array: NDArray[Any] = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise InputError(
                f"uncompressed images were expected, received '{self.path}', whose compression "
                "needs the package imagecodecs; install it, or write the images without "
                "compression."
            ) from error
        return array


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, open.

    Raises
    ------
    InputError
        Also for what tifffile only logs, and goes on with the pages before it: a chain of pages
        that leads nowhere.
    """
    import tifffile

    heard = _Heard(logging.ERROR)
    logger = logging.getLogger("tifffile")
    logger.addHandler(heard)
    try:
        with guarded(path), tifffile.TiffFile(path) as file:
            yield file
            if heard.errors:
                raise damaged(path, heard.errors[0])
    finally:
        logger.removeHandler(heard)


class _Heard(logging.Handler):
    """Keeps what is said."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(record.getMessage())


# The numbers of compressions that unpack far more than a page holds, if they want.
PACKED = {8: "zlib", 32946: "zlib", 50013: "zlib", 34925: "lzma"}


def _check_packed(path: Path, page: Any) -> None:
    """Raise InputError where a part of a page unpacks to far more than its pixels."""
    kind = PACKED.get(int(page.compression))
    if kind is None:
        return
    file = page.parent.filehandle
    for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        check_unpacked(file.read(size), kind, page.nbytes, path)


def matches(path: Path) -> bool:
    """Whether this is a TIFF file, or a folder with such files."""
    if path.is_dir():
        return bool(inside(path))
    return signature(path).startswith(SIGNATURES)


def inside(folder: Path) -> list[Path]:
    """The images of a folder, numbers in their names in their order; no hidden files."""
    return by_number(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the images."""
    if patterns is not None:
        raise InputError(
            f"images have no keys, received patterns='{patterns}' for '{path}'; leave it out."
        )
    files = inside(path) if path.is_dir() else [path]
    parts: list[Frames] = [frames_of(file) for file in files]
    return Source(
        kind=NAME,
        path=path,
        patterns=joined(parts, [str(file) for file in files]),
        gaps=gaps_between(files),
        odd=odd_names(files),
        notes={"patterns": f"{len(files)} file(s)"},
    )


def frames_of(path: Path) -> PageFrames:
    """The pages of one file.

    Raises
    ------
    InputError
        When they are no patterns, or declared only.
    """
    with _opened(path) as file:
        first = file.pages[0]
        shape, dtype = first.shape, first.dtype
        count = len(file.pages)
    if len(shape) != 2 or dtype is None or not all(isinstance(side, int) for side in shape):
        raise InputError(
            f"images with one number per pixel were expected, received pages of shape {shape} in "
            f"'{path}'; convert them to grey values."
        )
    found = PageFrames(path, (count, shape[0], shape[1]), np.dtype(dtype))
    check_frames(found.shape, found.dtype, f"'{path}'")
    declared = count * shape[0] * shape[1] * found.dtype.itemsize
    check_declared(declared, path.stat().st_size, f"the {count} pages of '{path}'")
    return found
