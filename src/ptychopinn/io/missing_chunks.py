"""Chunks of an array that its file does not hold: read as zeros, they look like counts.

Stores leave out chunks that hold nothing but the fill value, so that a chunk may be missing because
it is dark, because the scan was stopped, or because a file was lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import PatternArray
from ptychopinn.errors import InputError
from ptychopinn.io.base import sample_indices
from ptychopinn.io.no_counts import impossible, named_patterns

# A part of a pattern is missed when it has this share of the light, and a whole pattern is missing
# when what is left of it has no more.
LIT = 0.01
# Patterns that tell where light is.
SAMPLE = 32

# The corner of a chunk in its array, and its shape.
Chunk = tuple[tuple[int, ...], tuple[int, ...]]


def missing_in(dataset: Any) -> Iterator[Chunk]:
    """The chunks of a dataset of HDF5 that were never written."""
    chunk: tuple[int, ...] | None = dataset.chunks
    if chunk is None or dataset.id.get_num_chunks() >= _count(dataset.shape, chunk):
        return
    found: set[tuple[int, ...]] = set()

    def note(one: Any) -> None:
        found.add(tuple(c // n for c, n in zip(one.chunk_offset, chunk, strict=True)))

    dataset.id.chunk_iter(note)
    yield from others(dataset.shape, chunk, found)


def others(
    stored: tuple[int, ...], chunk: tuple[int, ...], written: set[tuple[int, ...]]
) -> Iterator[Chunk]:
    """The chunks of a grid that are not among the numbers of those that were written."""
    if len(written) >= _count(stored, chunk):
        return
    ranges = (range(ceil(whole / n)) for whole, n in zip(stored, chunk, strict=True))
    for number in product(*ranges):
        if number not in written:
            yield tuple(k * n for k, n in zip(number, chunk, strict=True)), chunk


def _count(stored: tuple[int, ...], chunk: tuple[int, ...]) -> int:
    return prod(ceil(whole / n) for whole, n in zip(stored, chunk, strict=True))


def missed_light(
    chunks: Iterable[Chunk],
    stored: tuple[int, ...],
    light: NDArray[np.float64],
    *,
    swapped: bool,
    last: bool = False,
) -> NDArray[np.float64]:
    """The share of the ``light`` (H, W), whose sum is 1, that is missing in each pattern.

    The array ``stored`` has the axes (..., H, W), or (..., W, H) when ``swapped``, and those of the
    scan at the end when they come ``last``.
    """
    axes = len(stored)
    pixels = (0, 1) if last else (axes - 2, axes - 1)
    lead = [k for k in range(axes) if k not in pixels]
    shape = tuple(stored[k] for k in lead)
    missed = np.zeros(prod(shape))
    shares: dict[tuple[int, ...], float] = {}
    for corner, chunk in chunks:
        # One part of the detector is missing in many patterns.
        at = tuple(corner[k] for k in pixels)
        if at not in shares:
            window = tuple(slice(corner[k], corner[k] + chunk[k]) for k in pixels)
            shares[at] = float(light[window[::-1] if swapped else window].sum())
        if not shares[at]:
            continue
        ends = (min(corner[k] + chunk[k], stored[k]) for k in lead)
        inside = (np.arange(corner[k], end) for k, end in zip(lead, ends, strict=True))
        grid = np.meshgrid(*inside, indexing="ij")
        missed[np.ravel_multi_index([one.ravel() for one in grid], shape)] += shares[at]
    return missed


def refuse_parts(missed: NDArray[np.float64], numbers: NDArray[np.int64], remedy: str) -> None:
    """Raise InputError where a lit part of one of the patterns ``numbers`` is missing, and the rest
    of it is there."""
    share = missed[numbers]
    partly = (share > LIT) & (share < 1 - LIT)
    if partly.any():
        raise InputError(
            f"the patterns must be there as a whole, received "
            f"{named_patterns(numbers[partly].tolist())} "
            f"of which chunks were never written, or their files are lost: up to "
            f"{share[partly].max():.0%} of the light falls there; copy the data again, or {remedy}."
        )


def refuse_missing_parts(
    dataset: Any,
    patterns: PatternArray,
    *,
    swapped: bool = False,
    numbers: NDArray[np.int64] | None = None,
) -> None:
    """The same for the patterns (M, H, W) of a dataset, whose last axes are those of a pattern; all
    without ``numbers``."""
    chunk: tuple[int, ...] | None = dataset.chunks
    if chunk is None or not len(patterns):
        return
    if all(part >= side for part, side in zip(chunk[-2:], dataset.shape[-2:], strict=True)):
        return  # no pattern can be there in part
    gone = list(missing_in(dataset))
    if not gone:
        return
    light = np.zeros(patterns.shape[1:])
    for number in sample_indices(len(patterns), SAMPLE):
        one = np.asarray(patterns[[number]])
        light += np.where(impossible(one), 0, one)[0]
    if light.sum() > 0:
        missed = missed_light(gone, dataset.shape, light / light.sum(), swapped=swapped)
        refuse_parts(
            missed,
            np.arange(len(missed)) if numbers is None else numbers,
            "make a scan of the other patterns with ptychopinn prepare and its option frames",
        )
