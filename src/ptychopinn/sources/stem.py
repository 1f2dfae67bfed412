"""4D-STEM in HDF5: arrays (scan_y, scan_x, ky, kx), with the calibration of py4DSTEM and EMD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptychopinn.data.units import ELECTRON_VOLTS, METRES, spelled
from ptychopinn.errors import InputError
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.guess import guess
from ptychopinn.io.hdf5 import Reader, reading, to_text
from ptychopinn.io.layout import too_small_last
from ptychopinn.io.listing import items_of
from ptychopinn.io.matlab import is_version_73
from ptychopinn.sources.base import Source
from ptychopinn.sources.by_keys import named_points, numbers_in
from ptychopinn.sources.experiment_numbers import number_at
from ptychopinn.sources.frames import frames_in

NAME = "4dstem"
DESCRIPTION = "4D-STEM in HDF5 (py4DSTEM, EMD, or any array of four axes)"

SMALLEST = 16
# Reciprocal lengths and angles, as these programs write them.
RECIPROCAL = {"a^-1": 1e10, "1/a": 1e10, "å^-1": 1e10, "1/å": 1e10, "nm^-1": 1e9, "1/nm": 1e9}
RECIPROCAL |= {"m^-1": 1.0, "1/m": 1.0, "pm^-1": 1e12, "1/pm": 1e12}
ANGLES = {"mrad": 1e-3, "rad": 1.0, "urad": 1e-6}


def matches(path: Path) -> bool:
    """Whether the file has an array of four axes and none of three that could be patterns."""
    if not path.is_file() or not is_hdf5(path) or is_version_73(path):
        return False
    with reading(path) as file:
        return _cube(file) is not None


def _cube(file: Reader) -> str | None:
    """The largest array of real numbers with four axes."""
    best, size = None, 0
    for key in file.datasets():
        item = file.item(key)
        if not isinstance(item, h5py.Dataset) or item.shape is None or len(item.shape) != 4:
            continue
        real = item.dtype.kind in "iuf" and item.dtype.subdtype is None
        frame = min(item.shape[2:]) >= SMALLEST or too_small_last(item.shape)
        if real and frame and item.size > size:
            best, size = key, item.size
    return best


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the file; step and reciprocal pixel are read where their units are there."""
    with reading(path) as file:
        key = patterns or _cube(file)
        if key is None:
            raise InputError(
                f"an array (scan_y, scan_x, ky, kx) was expected in '{path}', received none; name "
                "the patterns with the option patterns."
            )
        frames = frames_in(file, key)
        step, reciprocal, angle = _calibration(file, key)
        lead = frames.stored[:-2]
        return Source(
            kind=NAME,
            path=path,
            patterns=frames,
            points=named_points(path),
            grid=(lead[0], lead[1]) if len(lead) == 2 else None,
            step_m=step,
            sampling_1_m=reciprocal,
            angle_rad=angle,
            # An array of four axes may be a raster with X-rays.
            electrons=True if reciprocal or angle or _is_emd(file) else None,
            units="counts",
            notes={"patterns": key},
            found=(
                [
                    (
                        "energy_eV",
                        number_at(file, name, ELECTRON_VOLTS, None),
                        f"'{name}' in '{path}'",
                    )
                    for name in ("beam_energy", "metadata/beam_energy", "voltage")
                ]
                # A raster with X-rays has those of any other file.
                + ([] if reciprocal or angle else numbers_in(path, guess(items_of(path))))
            ),
        )


def _is_emd(file: Reader) -> bool:
    """Whether a program for electron microscopy wrote the file."""
    marks = ("emd_group_type", "version_major", "py4dstem_version")
    return any(
        file.attribute(name, mark) is not None
        for name in ("/", *file.names()[:5])
        for mark in marks
    )


Calibration = tuple[tuple[float, float] | None, float | None, float | None]


def _calibration(file: Reader, key: str) -> Calibration:
    """Step (y, x) in metres, pixel in 1/m, pixel in rad; None for what is not stated."""
    found = _of_py4dstem(file)
    parent = key.rpartition("/")[0]
    for numbers in ((0, 1, 2, 3), (1, 2, 3, 4)):
        axes = [_axis(file, f"{parent}/dim{k}" if parent else f"dim{k}") for k in numbers]
        if all(axes):
            break
    else:
        return found
    known: list[tuple[float, str]] = [axis for axis in axes if axis is not None]
    step = found[0]
    if step is None and all(unit in METRES for _, unit in known[:2]):
        step = (known[0][0] * METRES[known[0][1]], known[1][0] * METRES[known[1][1]])
    size, unit = known[2]
    reciprocal, angle = found[1:]
    if reciprocal is None and angle is None:
        reciprocal = size * RECIPROCAL[unit] if unit in RECIPROCAL else None
        angle = size * ANGLES[unit] if unit in ANGLES else None
    return step, reciprocal, angle


def _axis(file: Reader, name: str) -> tuple[float, str] | None:
    """Distance of two points on an axis, and its unit."""
    shape = file.shape(name)
    if shape is None or len(shape) != 1 or shape[0] < 2:
        return None
    first, second = file.dataset(name, "iuf")[:2]
    unit = file.attribute(name, "units")
    if unit is None or not np.isfinite(second - first) or second == first:
        return None
    return abs(float(second) - float(first)), _unit(unit)


def _of_py4dstem(file: Reader) -> Calibration:
    """What py4DSTEM writes as attributes of its calibration."""
    for root in file.names():
        name = f"{root}/metadatabundle/calibration"
        if not isinstance(file.item(name), h5py.Group):
            continue
        values = {}
        for key in ("R_pixel_size", "R_pixel_units", "Q_pixel_size", "Q_pixel_units"):
            values[key] = _value(file, name, key)
        step = reciprocal = angle = None
        unit = _unit(values["R_pixel_units"] or "")
        if values["R_pixel_size"] is not None and unit in METRES:
            size = float(values["R_pixel_size"]) * METRES[unit]
            step = (size, size)
        unit = _unit(values["Q_pixel_units"] or "")
        if values["Q_pixel_size"] is not None:
            size = float(values["Q_pixel_size"])
            reciprocal = size * RECIPROCAL[unit] if unit in RECIPROCAL else None
            angle = size * ANGLES[unit] if unit in ANGLES else None
        return step, reciprocal, angle
    return None, None, None


def _value(file: Reader, name: str, key: str) -> Any:
    """An attribute, or a dataset of that name."""
    value = file.attribute(name, key)
    if value is None and file.shape(f"{name}/{key}") == ():
        value = file.item(f"{name}/{key}")[()]
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value


def _unit(value: Any) -> str:
    return spelled(to_text(value)).replace("**", "^").replace("{", "").replace("}", "")
