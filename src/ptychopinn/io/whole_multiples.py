"""Several patterns for each position, or several positions for each pattern: which is which.

A scan may have been written twice over, each of its patterns twice in a row, or measured several
times, position by position or pass by pass. All of these give a whole multiple of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.io.base import sample_indices

Read = Callable[[NDArray[np.int64]], NDArray[Any]]

# Places that are looked at. Most repeats differ by less than this part of what neighbours do.
LOOKED, MOST, ALIKE = 12, 0.8, 0.6


def which_to_take(
    patterns: int, positions: int, read: Read | None, places: NDArray[np.float64] | None
) -> str | None:
    """What to say where there are k times as many patterns as positions, or the other way round.

    ``read`` gives patterns (m, H, W) by their numbers, ``places`` (n, 2) are the positions. None
    where the numbers are no such multiple.
    """
    less, more = sorted((patterns, positions))
    if less < 2 or more % less:
        return None
    times = more // less
    first = f"frames='::{times}'"
    if patterns > positions:
        row, passes = _told(read, less, times)
        name = "pattern"
    else:
        # Positions are repeated to the last digit, or measured anew; both are alike.
        row, passes = _told(None if places is None else places.__getitem__, less, times)
        name = "position"
    if row == "same":
        return (
            f"each {name} is there {times} times in a row, the same to the last digit: {first} "
            "takes one of each"
        )
    if row == "alike":
        return (
            f"{times} {name}s in a row are alike and the next one is not, as if {times} were taken "
            f"at each place: {first} takes the first of each"
        )
    if passes is not None:
        how = "are the same as" if passes == "same" else "are like"
        return (
            f"the {name}s from {less} on {how} the first {less}, as those of {times} passes: "
            f"frames=':{less}' takes the first pass, frames='{more - less}:' the last"
        )
    return (
        f"that is {times} {name}s for each: frames=':{less}' takes the first {less}, "
        f"frames='{more - less}:' the last, and {first} one of {times} in a row"
    )


def _told(read: Read | None, less: int, times: int) -> tuple[str | None, str | None]:
    """Whether values in a row, and those of later passes, are the "same", "alike", or neither."""
    if read is None:
        return None, None
    k = sample_indices(less - 1, LOOKED)
    in_row = _apart(read, times * k, times * k + 1)
    after = _apart(read, times * k + times - 1, times * k + times)
    later, neighbours = _apart(read, k, k + less), _apart(read, k, k + 1)
    return _named(in_row, after), _named(later, neighbours)


def _apart(read: Read, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far values of these numbers are from one another."""
    first, second = (read(numbers).astype(np.float64) for numbers in (one, other))
    if first.ndim == 3:
        # Of roots, photon noise is the same everywhere.
        first, second = (np.sqrt(np.maximum(np.nan_to_num(v), 0)) for v in (first, second))
    away: NDArray[np.float64] = np.abs(first - second).reshape(len(one), -1).sum(axis=1)
    return away


def _named(repeats: NDArray[np.float64], others: NDArray[np.float64]) -> str | None:
    usual = float(np.median(others))
    if not usual > 0:
        return None
    if not repeats.any():
        return "same"
    return "alike" if float(np.quantile(repeats, MOST)) < ALIKE * usual else None
