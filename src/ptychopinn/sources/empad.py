"""Raw files of the EMPAD detector: frames of 130 x 128 float32, the last two rows no pixels."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ptychopinn.errors import InputError
from ptychopinn.sources.base import Source
from ptychopinn.sources.frames import RawFrames

NAME = "empad"
DESCRIPTION = "EMPAD raw file (.raw, 130 x 128 float32)"

ROWS, COLUMNS, PIXELS = 130, 128, 128
FRAME = ROWS * COLUMNS * 4
RASTER = re.compile(r"x(\d+)_?y(\d+)", re.IGNORECASE)


def matches(path: Path) -> bool:
    """Whether the name ends in ``.raw``, and the size is that of whole frames or the name that of a
    raster, as the detector writes it."""
    if not path.is_file() or path.suffix.lower() != ".raw":
        return False
    size = path.stat().st_size
    return (size > 0 and size % FRAME == 0) or RASTER.search(path.stem) is not None


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the file; the raster is in its name (``scan_x64_y32.raw``), or a square. One in the
    name that the file does not hold is refused once it is needed."""
    if patterns is not None:
        raise InputError(
            f"an EMPAD file has no keys, received patterns='{patterns}' for '{path}'; leave it out."
        )
    size = path.stat().st_size
    count = size // FRAME
    if not count or size % FRAME:
        raise InputError(
            f"an EMPAD file must hold whole frames of {FRAME} bytes ({ROWS} x {COLUMNS} numbers of "
            f"4 bytes), received '{path}' with {size} bytes, which are {size / FRAME:.4g}; bring "
            "the whole file, or store patterns of another detector as NPY or HDF5."
        )
    frames = RawFrames(path, 0, FRAME, (count, PIXELS, COLUMNS), np.dtype("<f4"))
    named = RASTER.search(path.stem)
    grid = (int(named[2]), int(named[1])) if named else (math.isqrt(count), math.isqrt(count))
    return Source(
        kind=NAME,
        path=path,
        patterns=frames,
        grid=grid if named or grid[0] * grid[1] == count else None,
        electrons=True,
        units="counts",
        notes={"patterns": "the detector's own unit of charge"},
    )
