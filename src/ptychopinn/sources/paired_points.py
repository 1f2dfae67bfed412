"""Which patterns of a source are taken, and which position belongs to each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.errors import InputError, listed
from ptychopinn.io.guess import PLACE_WORDS, check_readable, guess
from ptychopinn.io.layout import (
    LEAST_SCATTER,
    MORE_SCATTER,
    SLICES,
    counts_last,
    frame_first,
    is_cube,
    one_channel,
    scatter,
    too_small_last,
)
from ptychopinn.io.listing import items_of
from ptychopinn.io.no_counts import named_patterns
from ptychopinn.io.pairing import cut_short, nothing_chosen, which_belong
from ptychopinn.sources.base import ScanPoints, Source
from ptychopinn.sources.conditioning import no_measurement
from ptychopinn.sources.frames import StoredFrames, axes_last, stored_axes
from ptychopinn.sources.leaving_out import left_out_of, numbers_in, require_there, without
from ptychopinn.sources.recipe import Recipe, frames_of, grid_of, step_of
from ptychopinn.sources.scan_points import grid_points, read_points


@dataclass(frozen=True)
class Pairs:
    """Patterns ``indices`` (m,) of ``source``, which is the one given with its patterns one after
    the other; their ``points`` (m, 2), and what is said about both."""

    source: Source
    indices: NDArray[np.int64]
    points: ScanPoints
    findings: tuple[Finding, ...]


def paired(source: Source, recipe: Recipe) -> Pairs:
    """Which patterns of a source are taken, and a position for each.

    Raises
    ------
    InputError
        When their numbers differ, there are no positions, or no pattern is left.
    """
    source = _pattern_by_pattern(source, recipe)
    frames = None if recipe.frames is None else frames_of(recipe.frames)
    count = source.patterns.shape[0]
    left_out = left_out_of(recipe.leave_out or "")
    # Ranges, because nobody knows yet whether there are so many.
    chosen = without(range(count)[slice(None) if frames is None else frames], left_out)
    taken = sum(len(part) for part in chosen)
    points = _points(source, recipe, count, taken)
    found = len(points.values)
    require_there(left_out, max(count, found))
    said = cut_short(frames, max(count, found))
    stored = stored_axes(source.patterns)
    other = found in source.patterns.shape[1:]
    if found not in (count, taken) and (other or one_channel(stored)):
        cause = "where the last axis counts nothing; write the array anew without it"
        if other:
            cause = "as if another axis counted the patterns; write the array anew with that first"
        raise InputError(
            f"patterns must have the axes (pattern, row, column), received the shape {stored} and "
            f"{found} positions from {points.where}, {cause}."
        )
    if found > count and (frames is not None or left_out):
        # Of those that are more, as where a scan is read.
        of_points = without(range(found)[slice(None) if frames is None else frames], left_out)
        if sum(len(part) for part in of_points) == count:
            values = points.values[numbers_in(of_points)]
            return Pairs(
                source, np.arange(count, dtype=np.int64), replace(points, values=values), said
            )
    if not chosen and left_out:
        raise InputError(
            f"at least one pattern must be left, received leave_out={recipe.leave_out} for "
            f"'{source.path}' with {count} patterns; name fewer."
        )
    if not chosen:
        raise nothing_chosen(frames, count, f"'{source.path}'")
    _check_pairs(source, recipe, taken, found, points.where, points.values)
    indices = numbers_in(chosen)
    if found == count:
        points = replace(points, values=points.values[indices])
    return Pairs(source, indices, points, said)


def _pattern_by_pattern(source: Source, recipe: Recipe) -> Source:
    """The source with its patterns one after the other, where the axes of the detector come first,
    as the option, the number of positions, or their own lengths say."""
    stored = stored_axes(source.patterns)
    first = recipe.detector_first
    if first is None:
        places = _places(source, recipe)
        told = too_small_last(stored) or frame_first(stored, places)
        first = told or _first_in_cube(source, places)
    if not first:
        return source
    turned = axes_last(source.patterns)
    if turned is None:
        raise InputError(
            "patterns whose first two axes are those of the detector must be in one array (row, "
            f"column, ...), and in files of MATLAB with one axis of the scan, received the shape "
            f"{stored} from '{source.path}'; write the array anew with the patterns one after the "
            "other."
        )
    grid = source.grid if len(stored) != 4 else (stored[2], stored[3])
    return replace(source, patterns=turned, grid=grid)


def _first_in_cube(source: Source, places: int | None) -> bool:
    """Whether the numbers of an array (n, n, n) say that its last axis counts the patterns."""
    frames = source.patterns
    count, height, width = frames.shape
    if not is_cube(stored_axes(frames), places) or axes_last(frames) is None:
        return False
    few = np.arange(0, count, max(1, count // SLICES), dtype=np.int64)
    block = frames.read(few, (slice(0, height), slice(0, width)))
    block = np.where(no_measurement(block), 0, block)
    # MATLAB has the axes of its files in reverse.
    swapped = isinstance(frames, StoredFrames) and frames.swapped
    return counts_last(block.swapaxes(1, 2) if swapped else block)


def _places(source: Source, recipe: Recipe) -> int | None:
    """How many positions there are, as far as that is known before they are paired."""
    if recipe.grid is not None:
        return prod(grid_of(recipe.grid))
    if recipe.positions is not None:
        count = source.patterns.shape[0]
        points = read_points(recipe.positions, source.path, recipe.order, count, said=False)
        return len(points.values)
    return None if source.points is None else len(source.points.values)


def doubt_axes(
    source: Source, recipe: Recipe, sample: NDArray[np.int64], bad: NDArray[np.bool_]
) -> tuple[Finding, ...]:
    """What is said of patterns in an array (A, A, B, C) whose first axes may be the detector's.

    The light of a pattern is in some of its pixels, and about as much in one pattern as in another.
    """
    stored = stored_axes(source.patterns)
    numbered = source.grid is None and prod(stored[:2]) != prod(stored[2:])
    square = len(stored) == 4 and stored[0] == stored[1]
    if not square or numbered or recipe.grid is not None or recipe.detector_first is not None:
        return ()
    _, height, width = source.patterns.shape
    block = source.patterns.read(sample, (slice(0, height), slice(0, width)))
    counts = np.where(no_measurement(block) | bad, 0, block).astype(np.float64)
    patterns, pixels = scatter(counts.sum(axis=(1, 2))), scatter(counts.mean(axis=0)[~bad])
    if patterns < LEAST_SCATTER or patterns < MORE_SCATTER * pixels:
        return ()
    words = (
        f"in the array of shape {stored} the sums of patterns scatter by {patterns:.3g} times "
        f"their mean, and the pixels of the mean pattern by {pixels:.3g} only, as if the first two "
        "axes were those of the detector: if they are, give detector_first=True"
    )
    return (Finding("detector-axes", "doubt", words, {"patterns": patterns, "pixels": pixels}),)


def _check_pairs(
    source: Source,
    recipe: Recipe,
    chosen: int,
    found: int,
    where: str,
    values: NDArray[np.float64] | None = None,
) -> None:
    """Raise InputError unless ``found`` positions, ``values`` (n, 2) where they are known, are as
    many as all patterns or as those that were ``chosen``."""
    count, height, width = source.patterns.shape
    if found in (count, chosen):
        return
    options = ", ".join(
        f"{name}={value}"
        for name, value in (("frames", recipe.frames), ("leave_out", recipe.leave_out))
        if value
    )
    taken = f", of which {options} takes {chosen}" if options else ""
    whole = (slice(0, height), slice(0, width))
    one = len(source.odd) == 1
    if source.odd and found == count - len(source.odd):
        belong = (
            f"{listed(source.odd)} {'has' if one else 'have'} another name than the others, as if "
            "no pattern of the scan were in there: take "
            f"{'it' if one else 'them'} out of the folder"
        )
    elif found == count + len(source.gaps) and source.gaps:
        numbers = [k + missing for missing, k in enumerate(source.gaps)]
        belong = (
            f"the numbers {source.numbered} leave out those of {named_patterns(numbers)}, counted "
            "from 0: bring those patterns, or leave out their positions with "
            f"leave_out='{','.join(map(str, numbers))}'"
        )
    else:
        belong = which_belong(count, found, lambda few: source.patterns.read(few, whole), values)
    raise InputError(
        f"each pattern must have a position, received {count} patterns{taken} and {found} "
        f"positions from {where}; {belong}."
    )


def _points(source: Source, recipe: Recipe, count: int, chosen: int) -> ScanPoints:
    if recipe.positions is not None:
        if recipe.grid is not None:
            raise InputError(
                "positions must be given once, received the options positions and grid; leave one "
                "of them out."
            )
        return read_points(recipe.positions, source.path, recipe.order, count)
    grid = source.grid if recipe.grid is None else grid_of(recipe.grid)
    if recipe.grid is None and source.points is not None:
        return source.points
    if source.without_points:
        raise InputError(
            f"positions were expected in all sources, received {listed(source.without_points)} "
            "without any that could be recognised; name those of all patterns with the option "
            "positions."
        )
    if grid is None:
        shape = source.patterns.shape
        odd = shape[0] in shape[1:] and shape[1] != shape[2]
        last = (
            f", and patterns of the shape {shape}, whose first axis must count them" if odd else ""
        )
        items = items_of(source.path) if source.path.is_file() else []
        check_readable(items, PLACE_WORDS)
        maybe = guess(items).positions
        if len(maybe) == 1:
            # An array whose columns do not say which of them is y.
            raise InputError(
                f"positions were expected, received '{source.path}' with '{maybe[0]}', which may "
                f"be theirs; name them with positions='{maybe[0]}' and their order, order='yx' or "
                "order='xy'."
            )
        raise InputError(
            f"positions were expected, received '{source.path}' without any that could be "
            f"recognised{last}; name them with the option positions, or a raster with grid='Y,X' "
            "and step=...."
        )
    name = f"a grid of {grid[0]} x {grid[1]}"
    if recipe.grid is None and grid[0] * grid[1] not in (count, chosen):
        raise InputError(
            f"a raster must have a position for each pattern, received '{source.path}' with "
            f"{count} patterns, and {grid[0]} x {grid[1]} positions as it says itself; give the "
            "right rows and columns with grid='Y,X', or bring the whole file."
        )
    _check_pairs(source, recipe, chosen, grid[0] * grid[1], name)
    if recipe.step is not None:
        return grid_points(grid, step_of(recipe.step), recipe.unit)
    if source.step_m is None:
        raise InputError(
            f"the step of the raster of {grid[0]} x {grid[1]} positions must be known, received "
            "none; give step=... with its unit."
        )
    return grid_points(grid, source.step_m, "m")
