"""Counts beyond what the numbers that store them hold, which began again at 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Counters and types end at powers of two; wrapped counts come so near to one and never reach it.
FIRST_BITS, LAST_BITS, NEAR_TOP = 8, 16, 0.97
# Between two readings above the first share of the end, one below the second is none of light. So
# many of them, at so many pixels, and this share of all readings between two bright ones.
BRIGHT, DARK = 0.5, 0.2
HOLES, PLACES, HOLES_SHARE = 10, 3, 5e-4


@dataclass(frozen=True)
class Wrapped:
    """end : the power of two from which counts began again.  top : the largest reading.
    readings, places : how many are nearly dark between two bright ones, and at how many pixels."""

    end: int
    top: float
    readings: int
    places: int

    @property
    def message(self) -> str:
        """What is wrong, in one sentence."""
        return (
            f"counts must fit into the numbers that store them, received none above {self.top:.0f} "
            f"and {self.readings} readings at {self.places} pixels that are nearly dark between "
            f"two bright ones: counts from {self.end} on began again at 0, as in numbers of "
            f"{self.end.bit_length() - 1} bits; write the patterns anew from the files of the "
            "detector into a larger type, such as uint32."
        )


class WrapTally:
    """Adds up, block by block, what tells whether counts that are stored unsigned began again at 0.

    Few patterns may show it, or many a little each: so it is judged when all were added.

    Parameters
    ----------
    shape : (H, W) of a pattern.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._largest = np.zeros(shape)
        self._holes, self._between = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._end: int | None = 0

    def add(self, readings: NDArray[Any], good: NDArray[np.bool_]) -> None:
        """Readings (m, H, W) as they are stored; pixels (H, W) that are not good do not count."""
        np.maximum(self._largest, readings.max(axis=0, initial=0), out=self._largest)
        end = _end_above(float(self._largest[good].max(initial=0.0)))
        if end != self._end:
            # No reading before was bright: each was below half of a later end.
            self._holes[:], self._between[:], self._end = 0, 0, end
        if end is None:
            return
        for axis in (1, 2):
            along = np.moveaxis(readings, axis, 1)
            bright = (along >= BRIGHT * end) & np.moveaxis(good[None], axis, 1)
            both = bright[:, :-2] & bright[:, 2:]
            dark = both & (along[:, 1:-1] < DARK * end)
            for total, seen in ((self._between, both), (self._holes, dark)):
                np.moveaxis(total, axis - 1, 0)[1:-1] += seen.sum(axis=0)

    def found(self, good: NDArray[np.bool_]) -> Wrapped | None:
        """What all that was added shows on good pixels (H, W)."""
        top = float(self._largest[good].max(initial=0.0))
        if self._end is None or _end_above(top) != self._end or not nearly_full(top):
            return None
        # A dead pixel is dark between bright ones as well, but always.
        alive = good & (self._largest >= self._end / 2)
        count, places = int(self._holes[alive].sum()), int((self._holes[alive] > 0).sum())
        if count < max(HOLES, HOLES_SHARE * self._between[alive].sum()) or places < PLACES:
            return None
        return Wrapped(self._end, top, count, places)


def nearly_full(top: float) -> bool:
    """Whether the largest reading is so near the end of some numbers that they may have wrapped."""
    end = _end_above(top)
    return end is not None and top >= NEAR_TOP * end


def _end_above(top: float) -> int | None:
    """The first end of counters and types above a reading."""
    ends = (2**bits for bits in range(FIRST_BITS, LAST_BITS + 1))
    return next((end for end in ends if top < end), None)
