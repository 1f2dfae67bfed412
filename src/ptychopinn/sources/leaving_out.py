"""Patterns that are left out by their numbers, as warnings name them: ``33,60,70:75``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError

LONGEST = 4000
WHAT = "numbers of patterns from 0 on with commas between them, as 33,60, or ranges A:B without B"
_PART = re.compile(r"\s*(\d{1,12})\s*(?::\s*(\d{1,12}))?\s*")


def left_out_of(text: str) -> tuple[range, ...]:
    """The ranges of numbers that a text names, none where it is empty.

    ValueError for any other text.
    """
    if not text.strip():
        return ()
    found = []
    for part in text.split(",") if len(text) <= LONGEST else [""]:
        numbers = _PART.fullmatch(part)
        if numbers is None:
            raise ValueError(f"it must be {WHAT}")
        first = int(numbers[1])
        found.append(range(first, first + 1 if numbers[2] is None else int(numbers[2])))
        if not found[-1]:
            raise ValueError("it must have ranges A:B with B above A")
    return tuple(found)


def without(chosen: range, left_out: Sequence[range]) -> list[range]:
    """What is left of some numbers, in rising order, as ranges: nobody knows yet whether there are
    as many patterns as a file says."""
    kept = [chosen] if chosen else []
    for out in left_out:
        parts = []
        for part in kept:
            before, behind = (_up_to(part, number) for number in (out.start, out.stop))
            parts += [part[:before], part[behind:]]
        kept = [part for part in parts if part]
    return kept


def numbers_in(kept: Sequence[range]) -> NDArray[np.int64]:
    """All numbers of some ranges, one after the other."""
    parts = [np.arange(part.start, part.stop, part.step, dtype=np.int64) for part in kept]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def require_there(left_out: Sequence[range], count: int) -> None:
    """Raise InputError for a number that none of ``count`` patterns, or positions, has."""
    last = max((part.stop for part in left_out), default=0) - 1
    if last >= count:
        raise InputError(
            f"patterns that are left out must be there, received leave_out with number {last} "
            f"where the last of {count} patterns has number {count - 1}; name others."
        )


def _up_to(numbers: range, end: int) -> int:
    """How many of some numbers are below ``end``."""
    return min(max(0, -((numbers.start - end) // numbers.step)), len(numbers))
