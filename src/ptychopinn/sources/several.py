"""Several sources of one scan, one after the other: what they say must be one and the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.data.units import PIXELS
from ptychopinn.errors import InputError, listed
from ptychopinn.sources import open_source
from ptychopinn.sources.base import ScanPoints, Source
from ptychopinn.sources.experiment_numbers import CALLED, metres
from ptychopinn.sources.file_names import gaps_between, odd_names
from ptychopinn.sources.frames import Frames, joined
from ptychopinn.sources.recipe import Recipe, crop_of

# Numbers that differ by this share, and centres by so many pixels, are of two experiments.
ALIKE, SAME_CENTRE = 0.01, 0.5


def opened(paths: Sequence[Path], recipe: Recipe, noticed: tuple[Finding, ...] = ()) -> Source:
    """Several sources of one scan as one; their probe is that of the first.

    ``noticed`` is what was found out about their names. What the recipe gives need not agree.

    Raises
    ------
    InputError
        When they do not belong together.
    """
    parts = [open_source(path, recipe.patterns) for path in paths]
    first = parts[0]
    if len(parts) == 1:
        return first
    names = [str(path) for path in paths]
    frames: Frames = joined([part.patterns for part in parts], names)
    for name, (called, unit) in CALLED.items():
        if getattr(recipe, name) is None:
            _require_one(called, unit, [part.numbers.get(name) for part in parts], names)
    crop = None if recipe.crop is None else crop_of(recipe.crop)[1]
    if recipe.centre is None and crop is None:
        _require_one_centre(parts, names)
    units = {part.units for part in parts} - {None}
    if len(units) > 1 and recipe.units is None:
        raise InputError(
            f"the sources of one scan must hold the same kind of numbers, received {listed(names)} "
            "with counts and amplitudes; give units='counts' or units='amplitude' where that holds "
            "for all of them."
        )
    single = all(part.patterns.shape[0] == 1 for part in parts)
    points, without = _points(parts, names, recipe)
    mask, mask_from = _mask(parts, names)
    limits = [part.saturation for part in parts if part.saturation is not None]
    return replace(
        first,
        patterns=frames,
        points=points,
        without_points=without,
        grid=None,
        mask=mask,
        mask_from=mask_from,
        saturation=min(limits, default=None),
        findings=(*noticed, *(finding for part in parts for finding in part.findings)),
        # Where each file is a pattern, their names count them.
        gaps=gaps_between(paths) if single else (),
        odd=odd_names(paths) if single else (),
    )


def _require_one(
    called: str, unit: str, values: Sequence[float | None], names: Sequence[str]
) -> None:
    """Raise InputError for a number that is another one in another source."""
    known = [(value, name) for value, name in zip(values, names, strict=True) if value is not None]
    for value, name in known[1:]:
        if abs(value / known[0][0] - 1) > ALIKE:
            raise InputError(
                f"{called} of all sources must be the same, received {known[0][0]:.6g} {unit} in "
                f"'{known[0][1]}' and {value:.6g} {unit} in '{name}'; prepare them one by one, or "
                "give the right one."
            )


def _require_one_centre(parts: Sequence[Source], names: Sequence[str]) -> None:
    known = [(p.centre, name) for p, name in zip(parts, names, strict=True) if p.centre is not None]
    for centre, name in known[1:]:
        if np.abs(np.subtract(centre, known[0][0])).max() > SAME_CENTRE:
            raise InputError(
                "the centre of all sources must be the same, received (y, x) = "
                f"{tuple(map(float, known[0][0]))} in '{known[0][1]}' and "
                f"{tuple(map(float, centre))} in '{name}'; prepare them one by one, or give the "
                "right one with centre='y,x'."
            )


def _points(
    parts: Sequence[Source], names: Sequence[str], recipe: Recipe
) -> tuple[ScanPoints | None, tuple[str, ...]]:
    """The positions of all sources, in one unit, and the sources without any where others have
    them."""
    points = [part.points for part in parts]
    known = [point for point in points if point is not None]
    if len(known) < len(parts):
        lacking = [name for name, point in zip(names, points, strict=True) if point is None]
        return None, tuple(lacking) if known else ()
    values, unit = [point.values for point in known], known[0].unit
    units = [point.unit for point in known]
    asked = (recipe.unit, recipe.positions, recipe.grid) == (None, None, None)
    if len(set(units)) > 1 and asked:
        if None in units or PIXELS in units:
            there = listed(
                f"{unit or 'none'} in '{name}'" for unit, name in zip(units, names, strict=True)
            )
            raise InputError(
                f"the positions of all sources must be in units of length, or all in the same one, "
                f"received {there}; give the one of all with the option unit."
            )
        values, unit = [_in_metres(point) for point in known], "m"
    return ScanPoints(np.concatenate(values), unit, known[0].where), ()


def _in_metres(points: ScanPoints) -> NDArray[np.float64]:
    scale = [metres(unit) for unit in (points.unit or "").split(", ")]
    return np.asarray(points.values * np.array(scale), np.float64)


def _mask(parts: Sequence[Source], names: Sequence[str]) -> tuple[NDArray[Any] | None, str]:
    """Pixels that are good in all sources, and where the first mask is."""
    known = [(p, name) for p, name in zip(parts, names, strict=True) if p.mask is not None]
    if not known:
        return None, ""
    good, where = np.asarray(known[0][0].mask), known[0][0].mask_from
    for part, name in known[1:]:
        other = np.asarray(part.mask)
        if other.shape != good.shape:
            raise InputError(
                f"the masks of all sources must be of one size, received {good.shape} in "
                f"'{known[0][1]}' and {other.shape} in '{name}'; prepare them one by one."
            )
        good = good & other
    return good, where
