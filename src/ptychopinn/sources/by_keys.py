"""Any HDF5, MATLAB, NPZ or NPY file: arrays by their keys, or by what they are probably."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.data.units import ELECTRON_VOLTS, METRES, spelled
from ptychopinn.errors import InputError, listed
from ptychopinn.io.axis_names import unit_at_end, unit_in_name
from ptychopinn.io.base import BZIP2_SIGNATURE, is_hdf5, signature
from ptychopinn.io.guess import PATTERN_WORDS, Guess, check_readable, guess
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.layout import SMALLEST_FRAME
from ptychopinn.io.listing import Item, items_of
from ptychopinn.io.matlab import is_version_5, is_version_73, unread
from ptychopinn.io.npz_members import is_archive, npy_header
from ptychopinn.io.probes import NPY_SIGNATURE
from ptychopinn.physics.propagators import wavelength_of
from ptychopinn.sources.base import Found, ScanPoints, Source
from ptychopinn.sources.experiment_numbers import number_at, unit_of_axes
from ptychopinn.sources.frames import (
    ArrayFrames,
    Frames,
    RawFrames,
    check_frames,
    frames_in,
)
from ptychopinn.sources.places import Place, array_at, real_at

NAME = "keys"
DESCRIPTION = "any HDF5, MATLAB, NPZ or NPY file, by keys"

# Keys of the NPZ files of earlier programs, whose positions are in object pixels.
EARLIER = ("xcoords", "ycoords")
# Detectors are hardly longer than that many times their width; tables are.
LONGEST_SIDE = 4
# Detectors for X-rays have pixels of at least half a micrometre, objects of 100 nm at most.
SMALLEST_PIXEL = 3e-7
# Shorter wavelengths (m) are those of electrons, of which the energy is another function.
SHORTEST = 1e-11


def matches(path: Path) -> bool:
    """Whether the file is of one of these containers."""
    if not path.is_file():
        return False
    if signature(path).startswith((BZIP2_SIGNATURE, NPY_SIGNATURE)) or is_archive(path):
        return True
    return is_version_5(path) or is_hdf5(path)


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the file; arrays that were not named are guessed."""
    items = items_of(path)
    found = guess(items)
    key = patterns or found.patterns
    single = _one_pattern(path, items)
    if key is None and single:
        key = ""
    if patterns is not None and found.patterns is not None and _lacks(path, patterns):
        raise InputError(
            f"the patterns were expected as '{patterns}' in '{path}', received "
            f"{listed(item.key for item in items)}; probably "
            f"patterns='{found.patterns}'."
        )
    if key is None:
        check_readable(items, PATTERN_WORDS)
        there = listed([*map(str, items), *unread(path)])
        remedy = "name them with the option patterns"
        if _is_npy(path):
            remedy = "save real numbers with the axes (pattern, row, column)"
        raise InputError(
            f"diffraction patterns were expected in '{path}', received {there}; {remedy}."
        )
    place = Place(path, None if _is_npy(path) else key)
    frames = frames_at(place)
    points, probe = _of_earlier(path, items)
    return Source(
        kind=NAME,
        path=path,
        patterns=frames,
        points=points or _points(path, found, items),
        probe=probe,
        notes={"patterns": key},
        found=numbers_in(path, found),
    )


def _is_npy(path: Path) -> bool:
    return signature(path).startswith(NPY_SIGNATURE)


def _one_pattern(path: Path, items: list[Item]) -> bool:
    """Whether an NPY file holds a single pattern, as one of many files of a scan, and no table."""
    shape = items[0].shape if _is_npy(path) and items[0].is_real else ()
    return len(shape) == 2 and SMALLEST_FRAME <= min(shape) <= max(shape) <= LONGEST_SIDE * min(
        shape
    )


def _lacks(path: Path, key: str) -> bool:
    """Whether an HDF5 file has no array of this name."""
    if not is_hdf5(path):
        return False
    with reading(path) as file:
        return file.shape(key) is None


def frames_at(place: Place) -> Frames:
    """Patterns at a place, on disk where the file allows to read a part of them.

    Raises
    ------
    InputError
        When there is no array of real numbers with at least three axes.
    """
    path, key = place.path, place.key
    if _is_npy(path):
        shape, dtype, fortran, offset = npy_header(path)
        if len(shape) == 2:
            shape = (1, *shape)
        check_frames(shape, dtype, f"'{path}'")
        if fortran:
            return ArrayFrames(array_at(place).reshape(shape))
        height, width = shape[-2:]
        count = int(np.prod(shape[:-2]))
        stride = height * width * dtype.itemsize
        return RawFrames(path, offset, stride, (count, height, width), dtype, shape)
    if is_hdf5(path):
        with reading(path) as file:
            if key is None:
                raise InputError(
                    f"patterns must be named as FILE:KEY, received '{path}' alone; add the key."
                )
            return frames_in(file, key, is_version_73(path))
    array = array_at(place)
    check_frames(array.shape, array.dtype, str(place))
    return ArrayFrames(array)


def _of_earlier(path: Path, items: list[Item]) -> tuple[ScanPoints | None, Any]:
    """Positions and probe of the NPZ files of earlier programs."""
    known = {item.key: item for item in items}
    if not all(name in known for name in EARLIER):
        return None, None
    x, y = (real_at(Place(path, name)).ravel() for name in EARLIER)
    points = None
    if len(x) == len(y):
        values = np.stack([y, x], axis=1).astype(np.float64)
        points = ScanPoints(values, "px", f"'xcoords' and 'ycoords' in '{path}'")
    probe = array_at(Place(path, "probeGuess")) if "probeGuess" in known else None
    return points, probe


def named_points(path: Path) -> ScanPoints | None:
    """Positions in a file whose names say what they are; None where none do."""
    items = items_of(path)
    return _points(path, guess(items), items)


def _points(path: Path, found: Guess, items: list[Item]) -> ScanPoints | None:
    """Positions whose names say which is y and which is x."""
    if len(found.positions) != 2:
        return None
    y, x = (real_at(Place(path, key)).ravel() for key in found.positions)
    where = f"'{found.positions[0]}' and '{found.positions[1]}' in '{path}'"
    known = {item.key: spelled(item.unit) or unit_in_name(item.key) for item in items}
    unit = unit_of_axes([known[key] for key in found.positions])
    return ScanPoints(np.stack([y, x], axis=1).astype(np.float64), unit, where)


def numbers_in(path: Path, found: Guess) -> list[Found]:
    """Numbers whose unit the file states; of others nobody knows what they are."""
    numbers: list[Found] = []
    for name, key, units in (
        ("energy_eV", found.energy, ELECTRON_VOLTS),
        ("energy_eV", found.wavelength, METRES),
        ("distance_m", found.distance, METRES),
        ("detector_pixel_m", found.detector_pixel, METRES),
    ):
        if key is None:
            continue
        value = _number(path, key, units)
        if value is not None and key == found.wavelength:
            value = wavelength_of(1.0) / value if value >= SHORTEST else None
        if value is not None and name == "detector_pixel_m" and value < SMALLEST_PIXEL:
            # No detector has such pixels, every object has.
            name = "pixel_size_m"
        numbers.append((name, value, f"'{key}' in '{path}'"))
    return numbers


def _number(path: Path, key: str, units: Mapping[str, float]) -> float | None:
    """A number in metres or electron volts; see :func:`number_at`."""
    unit = unit_at_end(key)
    default = unit if unit in units else None
    if is_hdf5(path):
        with reading(path) as file:
            return number_at(file, key, units, default)
    values = real_at(Place(path, key)).ravel()
    usable = default is not None and len(values) and np.isfinite(values[0]) and values[0] > 0
    return float(values[0]) * units[default] if usable and default is not None else None
