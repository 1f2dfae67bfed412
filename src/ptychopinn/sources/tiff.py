"""TIFF images: one file with a page per pattern, or many files in a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.base import signature
from ptychopinn.io.reading import guarded
from ptychopinn.sources.base import Source
from ptychopinn.sources.frames import Frames, Window, check_frames, joined, native
from ptychopinn.sources.places import TIFF_SIGNATURES

NAME = "tiff"
DESCRIPTION = "TIFF images: one file with many pages, or a folder of them"

SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class PageFrames:
    """The pages of a TIFF file; each is read when it is asked for."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`ptychopinn.sources.frames.Frames`."""
        import tifffile

        with guarded(self.path), tifffile.TiffFile(self.path) as file:
            pages = [self._page(file, int(k))[window] for k in indices]
        return native(np.stack(pages))

    def _page(self, file: Any, k: int) -> NDArray[Any]:
        page = _page(self.path, file, k)
        if page.shape != self.shape[1:]:
            raise InputError(
                f"all pages of '{self.path}' must be of one size, received {self.shape[1:]} and, "
                f"as page {k}, {page.shape}; leave it out."
            )
        return page


def _page(path: Path, file: Any, k: int) -> NDArray[Any]:
    try:
        page: NDArray[Any] = file.pages[k].asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        raise InputError(
            f"uncompressed images were expected, received '{path}', whose compression needs the "
            "package imagecodecs; install it, or write the images without compression."
        ) from error
    return page


def matches(path: Path) -> bool:
    """Whether this is a TIFF file, or a folder with such files."""
    if path.is_dir():
        return bool(_inside(path))
    return signature(path).startswith(TIFF_SIGNATURES)


def _inside(folder: Path) -> list[Path]:
    """The images of a folder, numbers in their names in their order."""

    def key(path: Path) -> list[Any]:
        parts = re.split(r"(\d+)", path.name.lower())
        return [(part.isdigit(), int(part) if part.isdigit() else part) for part in parts]

    return sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES), key=key)


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the images."""
    if patterns is not None:
        raise InputError(
            f"images have no keys, received patterns='{patterns}' for '{path}'; leave it out."
        )
    files = _inside(path) if path.is_dir() else [path]
    parts = [_frames(file) for file in files]
    return Source(
        kind=NAME,
        path=path,
        patterns=joined(parts, [str(file) for file in files]),
        notes={"patterns": f"{len(files)} file(s)"},
    )


def _frames(path: Path) -> Frames:
    import tifffile

    with guarded(path), tifffile.TiffFile(path) as file:
        first = file.pages[0]
        shape, dtype = first.shape, np.dtype(first.dtype)
        count = len(file.pages)
    if len(shape) != 2:
        raise InputError(
            f"images with one number per pixel were expected, received pages of shape {shape} in "
            f"'{path}'; convert them to grey values."
        )
    check_frames((count, *shape), dtype, f"'{path}'")
    return PageFrames(path, (count, shape[0], shape[1]), dtype)
