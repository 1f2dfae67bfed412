"""Rows and columns of the detector that are not where they belong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptychopinn.checks.base import Look, Noticed, check, finding
from ptychopinn.data.findings import Finding
from ptychopinn.physics.row_likeness import RowLikeness, row_likeness

NAME = "torn-patterns"
AXES = (("row", "y"), ("column", "x"))
# Patterns and numbers that are looked at.
PATTERNS, NUMBERS, LEAST = 32, 1 << 18, 4
# Lines tell something when those beside each other, or the likest ones, are alike by this much.
ALIKE, CLEARLY = 0.15, 0.3
# Lines further away are never as much alike as those beside each other, unless they belong there;
# and of the seams every second one is as good as the others.
FURTHER, FURTHER_ON, PARITY = 1.2, 1.03, 0.75
# Every second line is moved along itself by so many pixels; told by so many lines.
MOVED, FEWEST = 0.6, 12


@check(NAME)
def torn_patterns(look: Look) -> Iterator[Noticed]:
    """Light goes on smoothly from line to line, in the order of the lines."""
    if len(look.sample) < LEAST:
        return
    for axis in (0, 1):
        found = _torn(lines_of(look, axis), *AXES[axis])
        if found is not None:
            yield found, None


def lines_of(look: Look, axis: int) -> RowLikeness:
    """How much the rows (``axis`` 0) or columns (1) of some patterns are alike."""
    count = max(LEAST, min(PATTERNS, NUMBERS // look.scan.N**2))
    some = look.sample[:: max(1, len(look.sample) // count)][:count]
    return row_likeness(some, look.good, axis)


def _torn(lines: RowLikeness, line: str, name: str) -> Finding | None:
    next_one, second = lines.at(1), lines.at(2)
    half = lines.at(lines.count // 2)
    best = max(next_one, second, half)
    if best < ALIKE:
        return None
    remedy = f"write the {line}s of the patterns anew in their order"
    if second > FURTHER * max(next_one, 0.0):
        return finding(
            NAME, "fault",
            f"the {line}s of a pattern must be of one frame, received patterns of which each "
            f"{line} is like the second next ({second:.0%}) and not like the next one "
            f"({max(next_one, 0.0):.0%}): every second {line} is that of another frame, or lies "
            f"elsewhere; {remedy}.",
            axis=name, next=next_one, second=second,
        )  # fmt: skip
    if half > FURTHER_ON * next_one and best > CLEARLY:
        return finding(
            NAME, "fault",
            f"the {line}s of a pattern must be in their order, received patterns of which each "
            f"{line} is like the one {lines.count // 2} further on ({half:.0%}) more than like the "
            f"next one ({next_one:.0%}): first come the even {line}s, then the odd ones; {remedy}.",
            axis=name, next=next_one, half=half,
        )  # fmt: skip
    if next_one < CLEARLY:
        return None
    even, odd = lines.parity
    if min(even, odd) < PARITY * max(even, odd):
        return finding(
            NAME, "fault",
            f"the {line}s of a pattern must be in their order, received pairs of {line}s that are "
            f"alike by {max(even, odd):.0%} and those between the pairs by {min(even, odd):.0%}: "
            f"the two {line}s of each pair are swapped, or doubled; {remedy}.",
            axis=name, even=even, odd=odd,
        )  # fmt: skip
    return _moved(lines, line, name)


def _moved(lines: RowLikeness, line: str, name: str) -> Finding | None:
    """Every second line is moved along itself."""
    known = np.flatnonzero(lines.lit)
    if len(known) < FEWEST:
        return None
    even, odd = (float(np.median(lines.along[known[known % 2 == k]])) for k in (0, 1))
    if abs(even - odd) <= 2 * MOVED:
        return None
    moved = abs(even - odd) / 2
    return finding(
        NAME, "doubt",
        f"every second {line} of the patterns is moved by {moved:.2g} pixels along itself: the "
        f"next {line} is likest {even:+.2g} pixels on, and {odd:+.2g}, by turns; write them anew "
        "where they belong.",
        axis=name, moved=moved,
    )  # fmt: skip
