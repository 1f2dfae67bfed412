"""TIFF images: one file with a page per pattern, or many files in a folder."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.base import signature
from ptychopinn.io.reading import check_declared, damaged, guarded
from ptychopinn.io.unpacking import check_unpacked
from ptychopinn.sources.base import Source
from ptychopinn.sources.frames import Frames, Window, check_frames, joined, native

NAME = "tiff"
DESCRIPTION = "TIFF images: one file with many pages, or a folder of them"

SUFFIXES = (".tif", ".tiff")
# Images that may be missing among those that names count.
MOST_MISSING = 20
# The share of images at most that may have a name of another form.
MOST_ODD = 0.1
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
        return bool(_inside(path))
    return signature(path).startswith(SIGNATURES)


def _inside(folder: Path) -> list[Path]:
    """The images of a folder, numbers in their names in their order."""

    def key(path: Path) -> list[Any]:
        parts = re.split(r"([0-9]+)", path.name.lower())
        # Every second part is a number.
        return [(k % 2, int(part) if k % 2 else part) for k, part in enumerate(parts)]

    return sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES), key=key)


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the images."""
    if patterns is not None:
        raise InputError(
            f"images have no keys, received patterns='{patterns}' for '{path}'; leave it out."
        )
    files = _inside(path) if path.is_dir() else [path]
    parts: list[Frames] = [frames_of(file) for file in files]
    return Source(
        kind=NAME,
        path=path,
        patterns=joined(parts, [str(file) for file in files]),
        gaps=_gaps(files),
        odd=_odd(files),
        notes={"patterns": f"{len(files)} file(s)"},
    )


def _odd(files: list[Path]) -> tuple[str, ...]:
    """Names that differ from nearly all others by more than numbers, as of a dark frame."""
    forms = [re.sub(r"[0-9]+", "#", file.stem.lower()) for file in files]
    usual, often = Counter(forms).most_common(1)[0]
    if len(files) - often > MOST_ODD * len(files):
        return ()
    return tuple(f.name for f, form in zip(files, forms, strict=True) if form != usual)


def _gaps(files: list[Path]) -> tuple[int, ...]:
    """How many images come before each number that is left out in the last numbers of names."""
    numbers = [re.findall(r"[0-9]+", file.stem)[-1:] for file in files]
    known = [int(found[0]) for found in numbers if found]
    if len(known) < len(files) or len(set(known)) < len(known):
        return ()
    step = min((b - a for a, b in pairwise(known)), default=1)
    gaps: list[int] = []
    for k, (before, after) in enumerate(pairwise(known), start=1):
        missing = (after - before) // step - 1 if step > 0 else 0
        # Of a few numbers only; others count something else.
        if missing > MOST_MISSING:
            return ()
        gaps += [k] * missing
    return tuple(gaps) if len(gaps) <= MOST_MISSING else ()


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
