"""Positions of a scan: read from any file, or made of a grid, and brought to object pixels."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import LARGEST_POSITION
from ptychopinn.errors import InputError
from ptychopinn.io.axis_names import axes_of, places_among, unit_in_name
from ptychopinn.io.base import BZIP2_SIGNATURE, ZIP_SIGNATURE, is_hdf5, signature
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.layout import as_points
from ptychopinn.io.matlab import is_version_5
from ptychopinn.io.probes import NPY_SIGNATURE
from ptychopinn.io.quantities import check_axis_units
from ptychopinn.sources.base import ScanPoints
from ptychopinn.sources.columns import Table, read_table
from ptychopinn.sources.experiment_numbers import metres, unit_of_axes
from ptychopinn.sources.places import Place, place_of, real_at
from ptychopinn.sources.tiff import SIGNATURES

# A scan that spans less than this many object pixels has no diversity.
SMALLEST_SPAN = 1.0
# Neighbours must overlap; beyond a whole pattern they cannot.
LARGEST_STEP = 1.0
# Names of a column that numbers the frames, in small letters only.
FRAME_NUMBERS = (
    "index", "frame", "framenumber", "frameindex", "number", "no", "n", "point", "image", "pattern",
)  # fmt: skip

_log = logging.getLogger("ptychopinn")


def read_points(
    text: str, source: Path, order: str | None, patterns: int, *, said: bool = True
) -> ScanPoints:
    """The positions that the option names.

    Parameters
    ----------
    text : ``FILE:KEY``, two of them with a comma, ``FILE`` or ``FILE:COLUMN,COLUMN``; without
        FILE a key in ``source``.
    order : "yx" or "xy", what the first of two columns is; None where their names tell.
    patterns : how many there are, to tell two axes of a raster from two columns.
    said : whether it is said when rows are put in the order of their numbers.

    Raises
    ------
    InputError
        When nothing is there, the shapes do not fit, or the order cannot be told.
    """
    first, *others = (part.strip() for part in text.split(","))
    place = place_of(first, source, "positions")
    places = [place, *(_next(part, place) for part in others)]
    if len(places) > 2:
        raise InputError(
            f"positions must be one array or two columns, received {len(places)} of them in "
            f"'{text}'; name y and x only."
        )
    if _is_text(place.path):
        columns, names, units = _of_table(places, patterns, said)
    else:
        columns, names, units = _of_arrays(places, patterns, order)
    if _is_xy(names, order, text):
        columns, units = columns[::-1], units[::-1]
    values = np.stack(columns, axis=1).astype(np.float64)
    # The columns of a table that were not named are told, those that were are known.
    own = place.key is None and all(names)
    where = f"'{names[0]}' and '{names[1]}' in '{place.path}'" if own else str(place)
    return ScanPoints(values, unit_of_axes(units), where)


def _next(part: str, first: Place) -> Place:
    return Place(first.path, part) if ":" not in part else place_of(part, first.path, "positions")


def _is_text(path: Path) -> bool:
    known = (NPY_SIGNATURE, ZIP_SIGNATURE, BZIP2_SIGNATURE, *SIGNATURES)
    if path.is_dir() or signature(path).startswith(known):
        return False
    return not (is_version_5(path) or is_hdf5(path))


Columns = tuple[list[NDArray[Any]], list[str], list[str | None]]


def _of_table(places: list[Place], patterns: int, said: bool) -> Columns:
    table = read_table(places[0].path, patterns)
    # In tables a unit stands behind a slash, as in x/um; elsewhere what does is the name.
    called = [re.sub(r"\s*/\s*", " ", name) for name in table.names]
    if places[0].key is None:
        places_of = places_among(called)
        if places_of is not None:
            chosen = list(places_of)
        elif table.values.shape[1] == 2:
            chosen = [0, 1]
        else:
            there = f"{table.values.shape[1]} columns without names"
            if table.names:
                there = f"the columns {', '.join(table.names)}"
            raise InputError(
                f"two columns of positions were expected, received '{table.path}' with {there}; "
                "name two of them as FILE:COLUMN,COLUMN."
            )
    else:
        keys = [place.key or "" for place in places]
        if len(keys) != 2:
            raise InputError(
                f"two columns were expected, received '{keys[0]}' of '{table.path}'; name both as "
                "FILE:COLUMN,COLUMN."
            )
        chosen = [table.column(key) for key in keys]
    names = [called[k] if called else "" for k in chosen]
    for k, name in zip(chosen, names, strict=True):
        if np.isnan(table.values[:, k]).all():
            raise InputError(
                f"columns of positions must hold numbers, received column '{name or k + 1}' of "
                f"'{table.path}' without any; name another one."
            )
    values = _in_order_of_frames(table, chosen, said)
    return [values[:, k] for k in chosen], names, [unit_in_name(name) for name in names]


def _in_order_of_frames(table: Table, chosen: list[int], said: bool) -> NDArray[np.float64]:
    """The rows of a table in the order of a column that numbers the frames, where there is one
    beside those that are ``chosen``."""
    for k, name in enumerate(table.names):
        word = re.sub(r"[^a-z]", "", name.lower())
        if k in chosen or word not in FRAME_NUMBERS:
            continue
        order = np.argsort(table.values[:, k], kind="stable")
        numbers = table.values[order, k]
        if (np.diff(numbers) != 1).any() or (np.diff(order) == 1).all():
            continue
        _log.log(
            logging.WARNING if said else logging.DEBUG,
            "the rows of '%s' are not in the order of their column '%s', which numbers them from "
            "%.0f to %.0f: the positions are taken in the order of these numbers",
            table.path, name, numbers[0], numbers[-1],
        )  # fmt: skip
        return table.values[order]
    return table.values


def _of_arrays(places: list[Place], patterns: int, order: str | None) -> Columns:
    arrays = [real_at(place) for place in places]
    units = [_units(place) for place in places]
    if len(arrays) == 2:
        one, two = (array.ravel() for array in arrays)
        if len(one) != len(two) and len(one) * len(two) == patterns:
            # The two axes of a raster, whose first one is slow.
            one, two = (axis.ravel() for axis in np.meshgrid(one, two, indexing="ij"))
        if len(one) != len(two):
            raise InputError(
                f"both columns of the positions must be of one length, received {len(one)} from "
                f"{places[0]} and {len(two)} from {places[1]}; use those of one scan."
            )
        each = [unit_of_axes(stated) for stated in units]
        return [one, two], [place.key or "" for place in places], each
    array = np.squeeze(arrays[0])
    # Of (x, y, z) the first two count, which only an order that begins with x can mean.
    axes = (2, 3) if order == "xy" else (2,)
    if array.ndim < 2 or not {array.shape[0], array.shape[-1]} & set(axes):
        raise InputError(
            f"positions must have shape (M, 2), received {arrays[0].shape} from {places[0]}; name "
            "two arrays, with a comma between them."
        )
    columns = as_points(array, patterns, axes, str(places[0]), "(M, 2)").T
    stated = units[0]
    if len(stated) > 1:
        check_axis_units(stated, len(columns), str(places[0]))
    return [columns[0], columns[1]], ["", ""], list(stated[:2])


def _units(place: Place) -> tuple[str, ...]:
    """The unit of an array, or those of its axes; () where nothing states any."""
    if place.key is None:
        return ()
    if place.path.is_file() and is_hdf5(place.path):
        with reading(place.path) as file:
            stated = file.units(place.key)
            if stated:
                return stated
    named = unit_in_name(place.key)
    return () if named is None else (named,)


def _is_xy(names: list[str], order: str | None, text: str) -> bool:
    """Whether the first column is x."""
    if order is not None:
        return order == "xy"
    told = axes_of(names[0], names[1])
    if told is not None:
        return told == "xy"
    raise InputError(
        f"the order of the two columns of positions must be known, received '{text}', whose names "
        "do not tell; give order='yx' or order='xy'."
    )


def grid_points(grid: tuple[int, int], step: tuple[float, float], unit: str | None) -> ScanPoints:
    """A raster whose rows are scanned one after the other, each from its first column."""
    rows, columns = np.indices(grid)
    values = np.stack([rows.ravel() * step[0], columns.ravel() * step[1]], axis=1)
    return ScanPoints(values.astype(np.float64), unit, f"a grid of {grid[0]} x {grid[1]}")


def turned(values: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Positions (y, x) turned about their middle from +x towards +y."""
    if not degrees:
        return values
    a = np.deg2rad(degrees)
    with np.errstate(over="ignore", invalid="ignore"):
        y, x = (values - values.mean(axis=0)).T
    return np.stack([x * np.sin(a) + y * np.cos(a), x * np.cos(a) - y * np.sin(a)], axis=1)


def to_pixels(points: ScanPoints, unit: str | None, pixel_size_m: float | None) -> Any:
    """Positions in object pixels and the unit that was taken.

    Raises
    ------
    InputError
        When no unit is known, or no pixel size where one is needed.
    """
    taken = unit or points.unit
    if taken is None:
        raise InputError(
            f"the unit of the positions must be known, received {points.where} which does not "
            "state it; give unit='um', for example."
        )
    if taken == "px":
        return points.values, taken
    scale = np.array([metres(unit) for unit in taken.split(", ")])
    if pixel_size_m is None:
        raise InputError(
            f"positions in {taken} need the size of an object pixel, received too few numbers to "
            "compute it; give energy_eV=..., distance_m=... and detector_pixel_m=..., or "
            "pixel_size_m=...."
        )
    with np.errstate(over="ignore"):
        return points.values * (scale / pixel_size_m), taken


def check_places(positions: NDArray[np.float64], where: str, unit: str) -> None:
    """Raise InputError unless positions (M, 2) in object pixels are numbers that one can have."""
    far = ~(np.abs(positions).max(axis=1, initial=0) <= LARGEST_POSITION)
    if far.any():
        k = int(np.flatnonzero(far)[0])
        y, x = positions[k]
        raise InputError(
            f"positions must be finite numbers, received ({y:.6g}, {x:.6g}) px (y, x) for pattern "
            f"{k} from {where} when their unit is {unit}; correct it."
        )


def check_span(
    positions: NDArray[np.float64], n: int, unit: str, pixel_size_m: float | None
) -> None:
    """Raise InputError for positions whose unit cannot be right.

    ``positions`` (M, 2) are in object pixels, ``n`` is the size of a pattern, ``unit`` is what was
    taken for theirs.
    """
    taken, remedy = f"their unit is {unit}", "give the right one with the option unit"
    if unit != "px" and pixel_size_m is not None:
        taken += f" and an object pixel {pixel_size_m:.4g} m"
        remedy += ", or correct energy, distance or detector pixel"
    if len(positions) < 2:
        return
    span = float((positions.max(axis=0) - positions.min(axis=0)).max())
    if span < SMALLEST_SPAN:
        raise InputError(
            f"the positions must span several object pixels, received a span of {span:.3g} px when "
            f"{taken}; {remedy}."
        )
    from scipy.spatial import cKDTree

    steps = cKDTree(positions).query(positions, k=2)[0][:, 1]
    step = float(np.median(steps))
    if step > LARGEST_STEP * n:
        raise InputError(
            f"neighbouring patterns must overlap, received a step of {step:.4g} px between "
            f"patterns of {n} px when {taken}; {remedy}."
        )
