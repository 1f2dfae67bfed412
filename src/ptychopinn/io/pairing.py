"""Which pattern belongs to which position, where they are paired by their order.

``frames`` chooses by number, as a slice or as the text "A:B". Where there are as many positions as
patterns it chooses of both; where their numbers differ, of those that are more, so that "1:" leaves
out a first pattern that was taken before the scan began.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.errors import InputError, shown
from ptychopinn.io.base import sample_indices
from ptychopinn.io.no_counts import named_patterns
from ptychopinn.io.whole_multiples import Read, which_to_take

CUT = "frames-cut"
# Patterns that are looked at, numbers that are read at once and in all, to find those without
# light, which have less than this part of the median counts, and sums, which have more than that.
LOOKED, BLOCK, MOST_READ, DARK, BRIGHT = 12, 1 << 22, 1 << 28, 0.02, 8.0
_TEXT = re.compile(r"\s*(-?\d{1,12})?\s*:\s*(-?\d{1,12})?\s*(?::\s*(\d{1,12}))?\s*")


def parse_frames(frames: slice | str | None) -> slice | None:
    """The slice that the option ``frames`` names.

    Raises
    ------
    InputError
        When it is neither a slice nor a text like "1:", ":100" or "10:200".
    """
    if frames is None:
        return None
    if isinstance(frames, str):
        found = _TEXT.fullmatch(frames)
        if found is not None:
            first, last, step = (None if text is None else int(text) for text in found.groups())
            if step != 0:
                return slice(first, last, step)
    elif isinstance(frames, slice):
        whole = all(
            v is None or isinstance(v, int | np.integer)
            for v in (frames.start, frames.stop, frames.step)
        )
        if whole and (frames.step is None or frames.step > 0):
            return frames
    raise InputError(
        "the option frames must choose patterns as A:B, the first and the one behind the last, "
        f"received {shown(frames)}; leave out A or B for the first or the last, as in 1: or :100."
    )


def chosen(
    patterns: int,
    positions: int,
    frames: slice | None,
    where: str,
    *,
    read: Read | None = None,
    values: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the patterns and of the positions that belong together, one for one.

    ``read`` gives patterns by their numbers and ``values`` (n, 2) are the positions: both are for
    the message about numbers that differ.

    Raises
    ------
    InputError
        When their numbers differ, or ``frames`` leaves none.
    """
    rows, places = np.arange(patterns), np.arange(positions)
    if frames is not None:
        if patterns >= positions:
            rows = rows[frames]
        if positions >= patterns:
            places = places[frames]
    if len(rows) != len(places):
        raise InputError(unequal(patterns, positions, frames, where, read, values))
    if patterns and positions and not len(rows):
        raise nothing_chosen(frames, max(patterns, positions), where)
    return rows, places


def nothing_chosen(frames: slice | None, count: int, where: str) -> InputError:
    """The error for a range that takes none of ``count`` patterns."""
    first, last, _ = (frames or slice(None)).indices(count)
    cause = f"ends before it has begun, since pattern {last} itself is not taken"
    if first >= count:
        cause = f"begins behind the last of {count} patterns, number {count - 1}"
    return InputError(
        f"the option frames must leave at least one pattern, received {text_of(frames)} for "
        f"{where}, which {cause}; choose other numbers."
    )


def cut_short(frames: slice | None, count: int) -> tuple[Finding, ...]:
    """What is said about a range that names more patterns than the ``count`` that are there."""
    if frames is None:
        return ()
    first, last, step = frames.start, frames.stop, frames.step or 1
    if last is not None and last >= 0 and (first is None or first >= 0):
        whole = range(first or 0, last, step)
    elif first is not None and first < 0 and (last is None or last < 0):
        whole = range(first, last or 0, step)
    else:
        # Where one end follows from the number of patterns.
        return ()
    named, there = len(whole), len(range(count)[frames])
    if named <= there:
        return ()
    words = (
        f"frames={text_of(frames)} names {named} patterns, and {there} of them are there, since "
        f"there are {count} in all: check that this is the whole scan, or name those only"
    )
    return (Finding(CUT, "doubt", words, {"named": named, "taken": there, "patterns": count}),)


def unequal(
    patterns: int,
    positions: int,
    frames: slice | None,
    where: str,
    read: Read | None = None,
    values: NDArray[np.float64] | None = None,
) -> str:
    """The message for numbers that differ; see :func:`chosen`."""
    taken = "" if frames is None else f", of which frames='{text_of(frames)}' does not leave equal"
    return (
        f"{where} must hold one position per pattern, received {patterns} patterns and {positions} "
        f"positions{taken}; {which_belong(patterns, positions, read, values)}."
    )


def which_belong(
    patterns: int,
    positions: int,
    read: Read | None = None,
    values: NDArray[np.float64] | None = None,
) -> str:
    """What to type where numbers differ; see :func:`chosen`."""
    multiple = which_to_take(patterns, positions, read, values)
    if multiple is not None:
        return multiple
    more, less = max(patterns, positions), min(patterns, positions)
    if less < 2:
        return "store one position for each pattern"
    told = _told_by(patterns, read) if patterns > positions else _repeated(values)
    for numbers, verbs, words in told:
        if len(numbers) == more - less:
            one = len(numbers) == 1
            return (
                f"{named_patterns(numbers, 'pattern' if patterns > positions else 'position')} "
                f"{verbs[0] if one else verbs[1]} {words}: "
                f"{_without(numbers, words == AGAIN, more)}"
            )
    what = "patterns" if patterns > positions else "positions"
    number = "" if more - less == 1 else f" {more - less}"
    return (
        f"say which {what} to use: frames='{more - less}:' leaves out the first{number}, "
        f"frames=':{less}' the last{number}"
    )


def _without(numbers: list[int], again: bool, count: int) -> str:
    """How these numbers of ``count`` are left out; of what is there twice also the one before."""
    them, many = ("it" if len(numbers) == 1 else "them"), len(numbers)
    if numbers in ([*range(many)], [*range(1, many + 1)] if again else []):
        return f"frames='{many}:' leaves {them} out"
    if numbers == [*range(count - many, count)]:
        return f"frames=':{count - many}' leaves {them} out"
    return f"take {them} out of the file"


# Numbers of patterns or positions, the verb for one and for several, and what they have.
_Told = tuple[list[int], tuple[str, str], str]
AGAIN = "the same to the last digit as the one before, as what was written twice"


def _told_by(patterns: int, read: Read | None) -> list[_Told]:
    """Patterns that are not those of a place; nothing where there is too much to read."""
    if read is None:
        return []
    some = read(sample_indices(patterns, LOOKED)).astype(np.float64)
    if patterns * some[0].size > MOST_READ:
        return []
    # Pixels that always say the same are hot, or none.
    lit = some.max(axis=0) > some.min(axis=0)
    step = max(1, BLOCK // some[0].size)
    sums, again, before = [], [], None
    for k in range(0, patterns, step):
        block = read(np.arange(k, min(k + step, patterns)))
        sums.append(np.nan_to_num(block[:, lit]).sum(axis=1, dtype=np.float64))
        for number, frame in enumerate(block, start=k):
            if before is not None and frame[lit].any() and np.array_equal(frame, before):
                again.append(number)
            before = frame
    counts = np.concatenate(sums)
    usual = np.median(counts)
    dark, bright = np.flatnonzero(counts < DARK * usual), np.flatnonzero(counts > BRIGHT * usual)
    return [
        (dark.tolist(), ("holds", "hold"), "hardly any light, as dark frames do"),
        (again, ("is", "are"), AGAIN),
        (bright.tolist(), ("holds", "hold"), "far more light than the others, as sums of them do"),
    ]


def _repeated(values: NDArray[np.float64] | None) -> list[_Told]:
    """Positions that are the same as the one before them."""
    if values is None:
        return []
    again = np.flatnonzero((np.diff(values, axis=0) == 0).all(axis=1)) + 1
    return [(again.tolist(), ("is", "are"), AGAIN)]


def text_of(frames: slice | None) -> str:
    """The slice as it is typed."""
    if frames is None:
        return ":"
    first, last = ("" if v is None else v for v in (frames.start, frames.stop))
    return f"{first}:{last}" + ("" if frames.step in (None, 1) else f":{frames.step}")
