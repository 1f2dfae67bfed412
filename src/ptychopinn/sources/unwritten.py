"""Parts of an array that its file does not hold: read as zeros, they look like counts.

Stores leave out chunks that hold nothing but the fill value, so that a chunk may be missing because
it is dark, because the scan was stopped, or because a file was lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.errors import InputError
from ptychopinn.io.hdf5 import REAL, reading
from ptychopinn.io.no_counts import named_patterns
from ptychopinn.io.reading import parsing
from ptychopinn.sources.frames import ChangedFrames, Frames, JoinedFrames, StoredFrames
from ptychopinn.sources.zarr_store import ZarrFrames, written_chunks

UNWRITTEN = "unwritten-patterns"
# A part of a pattern is missed when it has this share of the light, and a whole pattern is missing
# when what is left of it has no more.
LIT = 0.01

# The corner of a chunk in its array, and its shape.
Chunk = tuple[tuple[int, ...], tuple[int, ...]]


def unwritten(
    frames: Frames, indices: NDArray[np.int64], mean: NDArray[np.float64]
) -> tuple[Finding, ...]:
    """What is said about patterns ``indices`` that are not in the file; ``mean`` is (H, W).

    Raises
    ------
    InputError
        Where a lit part of a pattern is missing, and the rest of it is there.
    """
    total = float(mean.sum())
    missed = np.zeros(frames.shape[0])
    if not total > 0:
        return ()
    for first, part in _parts(frames):
        for numbers, share in _places(part, mean / total):
            missed[first + numbers] += share
    missed = missed[indices]
    gone = indices[missed >= 1 - LIT]
    partly = indices[(missed > LIT) & (missed < 1 - LIT)]
    if len(partly):
        raise InputError(
            f"the patterns must be there as a whole, received {named_patterns(partly.tolist())} "
            f"of which chunks were never written, or their files are lost: up to "
            f"{missed[np.isin(indices, partly)].max():.0%} of the light falls there; copy the data "
            "again, or leave these patterns out with the option frames."
        )
    if not len(gone):
        return ()
    if len(gone) == len(indices):
        raise InputError(
            f"patterns were expected, received none of the {len(indices)} that are taken: their "
            "chunks were never written, or their files are lost; copy the data again."
        )
    words = (
        f"{named_patterns(gone.tolist())} of {len(indices)} "
        f"{'is' if len(gone) == 1 else 'are'} not in the file, whose chunks were never written, or "
        "are lost: they are read as 0, and are left out when they are reconstructed"
    )
    return (Finding(UNWRITTEN, "doubt", words, {"numbers": gone.tolist()}),)


def _parts(frames: Frames, first: int = 0) -> Iterator[tuple[int, StoredFrames]]:
    """Arrays of files among the frames, and the number of the first pattern of each."""
    if isinstance(frames, ChangedFrames):
        yield from _parts(frames.source, first)
    elif isinstance(frames, JoinedFrames):
        for part in frames.parts:
            yield from _parts(part, first)
            first += part.shape[0]
    elif isinstance(frames, StoredFrames):
        yield first, frames


def _places(
    frames: StoredFrames, light: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], float]]:
    """Numbers of patterns of each lit chunk that is not there, and the light (H, W) in it."""
    axes = len(frames.stored)
    pixels = (0, 1) if frames.last else (axes - 2, axes - 1)
    lead = [k for k in range(axes) if k not in pixels]
    shape = tuple(frames.stored[k] for k in lead)
    shares: dict[tuple[int, ...], float] = {}
    for corner, chunk in _missing(frames):
        # One part of the detector is missing in many patterns.
        at = tuple(corner[k] for k in pixels)
        if at not in shares:
            window = tuple(slice(corner[k], corner[k] + chunk[k]) for k in pixels)
            shares[at] = float(light[window[::-1] if frames.swapped else window].sum())
        if not shares[at]:
            continue
        ends = (min(corner[k] + chunk[k], frames.stored[k]) for k in lead)
        inside = (np.arange(corner[k], end) for k, end in zip(lead, ends, strict=True))
        grid = np.meshgrid(*inside, indexing="ij")
        yield np.ravel_multi_index([one.ravel() for one in grid], shape), shares[at]


def _missing(frames: StoredFrames) -> Iterator[Chunk]:
    if isinstance(frames, ZarrFrames):
        with parsing(frames.path):
            shape, written = written_chunks(frames.path, frames.key)
        yield from _others(frames.stored, shape, written)
        return
    with reading(frames.path, again=True) as file:
        dataset = file.dataset(frames.key, REAL)
        chunk: tuple[int, ...] | None = dataset.chunks
        if chunk is None or dataset.id.get_num_chunks() >= _count(frames.stored, chunk):
            return
        found: set[tuple[int, ...]] = set()

        def note(one: Any) -> None:
            found.add(tuple(c // n for c, n in zip(one.chunk_offset, chunk, strict=True)))

        dataset.id.chunk_iter(note)
    yield from _others(frames.stored, chunk, found)


def _count(stored: tuple[int, ...], chunk: tuple[int, ...]) -> int:
    return prod(ceil(whole / n) for whole, n in zip(stored, chunk, strict=True))


def _others(
    stored: tuple[int, ...], chunk: tuple[int, ...], written: set[tuple[int, ...]]
) -> Iterator[Chunk]:
    """The chunks of a grid that are not among the numbers of those that were written."""
    if len(written) >= _count(stored, chunk):
        return
    ranges = (range(ceil(whole / n)) for whole, n in zip(stored, chunk, strict=True))
    for number in product(*ranges):
        if number not in written:
            yield tuple(k * n for k, n in zip(number, chunk, strict=True)), chunk
