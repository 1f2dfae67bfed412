"""What is said about patterns of raw data that are not in their file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.errors import InputError
from ptychopinn.io.hdf5 import REAL, reading
from ptychopinn.io.missing_chunks import (
    LIT,
    Chunk,
    missed_light,
    missing_in,
    others,
    refuse_parts,
)
from ptychopinn.io.no_counts import named_patterns
from ptychopinn.io.reading import parsing
from ptychopinn.sources.frames import ChangedFrames, Frames, JoinedFrames, StoredFrames
from ptychopinn.sources.zarr_store import ZarrFrames, written_chunks

UNWRITTEN = "unwritten-patterns"


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
        missed[first : first + part.shape[0]] += missed_light(
            _missing(part), part.stored, mean / total, swapped=part.swapped, last=part.last
        )
    refuse_parts(missed, indices, "leave these patterns out with the option leave_out")
    gone = indices[missed[indices] >= 1 - LIT]
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


def _missing(frames: StoredFrames) -> Iterator[Chunk]:
    if isinstance(frames, ZarrFrames):
        with parsing(frames.path):
            shape, written = written_chunks(frames.path, frames.key)
        yield from others(frames.stored, shape, written)
        return
    with reading(frames.path, again=True) as file:
        gone = list(missing_in(file.dataset(frames.key, REAL)))
    yield from gone
