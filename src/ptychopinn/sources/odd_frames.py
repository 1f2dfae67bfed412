"""Patterns of raw data that do not belong together, or are one and the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.io.no_counts import named_patterns
from ptychopinn.sources.frames import ChangedFrames, Frames, JoinedFrames


def doubt_frames(frames: Frames, sample: NDArray[np.int64]) -> tuple[Finding, ...]:
    """What is said of patterns of several types, and of some that are all the same."""
    return (*_types(frames), *_same(frames, sample))


def _types(frames: Frames) -> tuple[Finding, ...]:
    while isinstance(frames, ChangedFrames):
        frames = frames.source
    if not isinstance(frames, JoinedFrames):
        return ()
    numbers: dict[str, list[int]] = {}
    first = 0
    for part in frames.parts:
        numbers.setdefault(part.dtype.name, []).extend(range(first, first + part.shape[0]))
        first += part.shape[0]
    if len(numbers) < 2:
        return ()
    each = "; ".join(f"{name} in {named_patterns(found)}" for name, found in numbers.items())
    words = (
        f"the patterns are stored as numbers of several types, {each}: they may have been cut off "
        "at the end of the smaller one, or scaled to it; write all of them anew in the type of the "
        "detector"
    )
    counted = {name: len(found) for name, found in numbers.items()}
    return (Finding("mixed-types", "doubt", words, {"patterns": counted}),)


def _same(frames: Frames, sample: NDArray[np.int64]) -> tuple[Finding, ...]:
    if len(sample) < 2:
        return ()
    _, height, width = frames.shape
    whole = (slice(0, height), slice(0, width))
    first = frames.read(sample[:1], whole)[0]
    for number in sample[1:]:
        if not np.array_equal(frames.read(np.array([number]), whole)[0], first, equal_nan=True):
            return ()
    words = (
        f"the {len(sample)} patterns that were looked at all hold the same numbers: one image was "
        "written again and again; write the patterns anew from the files of the detector"
    )
    return (Finding("repeated-patterns", "doubt", words, {"patterns": len(sample)}),)
