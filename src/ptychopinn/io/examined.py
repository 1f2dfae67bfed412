"""The same look at patterns that stay in their file as :mod:`ptychopinn.io.detector` and
:mod:`ptychopinn.io.counts` take at patterns in memory: read once, where nothing is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.io.base import batches
from ptychopinn.io.counts import FloatLook, counts_dtype, float_counts_dtype
from ptychopinn.io.detector import look, refuse_gaps, sampled
from ptychopinn.io.lazy import LazyPatterns
from ptychopinn.io.no_counts import Mask, impossible, lost, lost_finding


class _Blocks:
    """Patterns as a function gives them, by slices of the first axis."""

    def __init__(self, like: LazyPatterns, block: Callable[[NDArray[np.int64]], NDArray[Any]]):
        self.shape, self.dtype, self._block = like.shape, like.dtype, block

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        return self._block(np.arange(len(self))[key])


class _Facts:
    """Of patterns that are seen block by block: smallest and largest number, whether all are
    finite, what kind of floats they are, and their sum (N, N)."""

    def __init__(self, frame: tuple[int, ...], where: str) -> None:
        self.low: float = 0
        self.high: float = 0
        self.finite = True
        self.total, self.floats = np.zeros(frame), FloatLook(where)

    def add(self, block: NDArray[Any]) -> None:
        if not block.size:
            return
        with np.errstate(all="ignore"):
            self.total += block.sum(axis=0, dtype=np.float64)
        # They leave out NaN.
        low, high = np.fmin.reduce(block, None).item(), np.fmax.reduce(block, None).item()
        finite = bool(np.isfinite(block).all()) if block.dtype.kind == "f" else True
        if block.dtype.kind == "f" and finite and low >= 0:
            self.floats.add(block)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.finite = self.finite and finite


def examined(
    patterns: LazyPatterns,
    where: str,
    good: Mask | None,
    *,
    clip_negative: bool,
    meaning: str,
    remedy: str,
    undo: tuple[str, ...],
) -> tuple[LazyPatterns, Mask | None, tuple[Finding, ...]]:
    """Patterns (M, H, W) on disk that become counts when they are read, the good pixels (H, W), and
    what is masked, clipped and set to zero then.

    Raises
    ------
    InputError
        As ``detector.clean`` and ``counts.counts_from_array`` do; ``remedy`` is for the
        latter, ``undo`` for the former.
    """
    frame = patterns.shape[1:]
    bad = None if good is None or good.shape != frame else ~good
    gone, facts = np.zeros(len(patterns), bool), _Facts(frame, where)
    for part in batches(patterns, 8):
        block = patterns.as_stored(np.arange(part.start, part.stop))
        gone[part] = lost(block, bad)
        facts.add(block[~gone[part]] if gone[part].any() else block)
    again = 2 * gone.sum() > len(gone)
    if again:
        gone[:] = False  # most of them: then the numbers mean something else
    rest = patterns.taken(np.flatnonzero(~gone))
    few = rest.as_stored(sampled(rest))
    repair, findings = look(
        _Blocks(rest, rest.as_stored),
        few,
        where,
        good,
        clip_negative=clip_negative,
        meaning=meaning,
        lowest=None if again else facts.low,
        highest=None if again else facts.high,
    )
    repair = repair.undoing(few, undo)
    again = again or bool(repair.undo) or repair.clip or facts.low < 0 or not facts.finite
    again = again or bool(impossible(np.array([facts.high], patterns.dtype))[0])
    if again and (repair.bad is not None or repair.clip or repair.undo or not facts.finite):
        mended = _Blocks(rest, lambda numbers: repair.apply(rest.as_stored(numbers), numbers))
        if patterns.dtype.kind == "f":
            refuse_gaps(mended, where)
        facts = _Facts(frame, where)
        for part in batches(rest, 8):
            facts.add(mended[part])
    if repair.undo is not None:
        findings = (*findings, repair.undo.finding(facts.high))
    if patterns.dtype.kind == "f":
        dtype = float_counts_dtype(facts.floats, where, remedy)
    else:
        dtype = counts_dtype(facts.low, facts.high, where)
    if gone.any():
        numbers = np.flatnonzero(gone)
        first = patterns.as_stored(numbers[:100])
        findings = (lost_finding(first, numbers), *findings)
    counts = patterns.as_counts(repair, dtype, gone if gone.any() else None)
    counts.known_total = facts.total
    return counts, good if repair.bad is None else ~repair.bad, findings
