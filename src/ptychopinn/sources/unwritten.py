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
from ptychopinn.sources.frames import (
    ChangedFrames,
    Frames,
    JoinedFrames,
    ReorderedFrames,
    StoredFrames,
    ZeroedFrames,
)
from ptychopinn.sources.zarr_store import ZarrFrames, written_chunks

UNWRITTEN = "unwritten-patterns"


def unwritten(
    frames: Frames, indices: NDArray[np.int64], mean: NDArray[np.float64]
) -> tuple[Frames, tuple[Finding, ...]]:
    """The patterns, and what is said about those of ``indices`` that are not in the file; ``mean``
    is (H, W). They are read as 0, whatever number a file gives where none was written.

    Raises
    ------
    InputError
        Where a lit part of a pattern is missing, and the rest of it is there.
    """
    total = float(mean.sum())
    if not total > 0:
        return frames, ()
    missed = _missed(frames, mean / total)
    refuse_parts(missed, indices, "leave these patterns out with the option leave_out")
    gone = indices[missed[indices] >= 1 - LIT]
    if not len(gone):
        return frames, ()
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
    said = Finding(UNWRITTEN, "doubt", words, {"numbers": gone.tolist()})
    return ZeroedFrames(frames, gone), (said,)


def _missed(frames: Frames, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of the light of each pattern (M,) falls where nothing is in the file; ``share``
    (H, W) is what falls on a pixel."""
    if isinstance(frames, JoinedFrames):
        return np.concatenate([_missed(part, share) for part in frames.parts])
    if isinstance(frames, ReorderedFrames):
        return _missed(frames.source, share)[frames.order]
    if isinstance(frames, ChangedFrames):
        return _missed(frames.source, share)
    missed = np.zeros(frames.shape[0])
    if isinstance(frames, StoredFrames):
        missed += missed_light(
            _missing(frames), frames.stored, share, swapped=frames.swapped, last=frames.last
        )
    return missed


def _missing(frames: StoredFrames) -> Iterator[Chunk]:
    if isinstance(frames, ZarrFrames):
        with parsing(frames.path):
            shape, written = written_chunks(frames.path, frames.key)
        yield from others(frames.stored, shape, written)
        return
    with reading(frames.path, again=True) as file:
        gone = list(missing_in(file.dataset(frames.key, REAL)))
    yield from gone
