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


def wrapped_counts(
    readings: NDArray[Any], good: NDArray[np.bool_], largest: NDArray[Any]
) -> Wrapped | None:
    """Whether counts that are stored unsigned began again at 0, as some of them show.

    Parameters
    ----------
    readings : (m, H, W) as they are stored.
    good : (H, W) pixels that are looked at.
    largest : (H, W) the largest reading of each pixel.
    """
    top = float(largest[good].max(initial=0.0))
    ends = [2**bits for bits in range(FIRST_BITS, LAST_BITS + 1)]
    end = next((end for end in ends if NEAR_TOP * end <= top < end), None)
    if end is None:
        return None
    # A dead pixel is dark between bright ones as well, but always.
    alive = good & (largest >= end / 2)
    holes, between = np.zeros(good.shape, np.int64), 0
    for axis in (1, 2):
        along = np.moveaxis(readings, axis, 1)
        bright = (along >= BRIGHT * end) & np.moveaxis(good[None], axis, 1)
        both = bright[:, :-2] & bright[:, 2:] & np.moveaxis(alive[None], axis, 1)[:, 1:-1]
        dark = both & (along[:, 1:-1] < DARK * end)
        between += int(both.sum())
        found = np.zeros(along.shape[1:], np.int64)
        found[1:-1] = dark.sum(axis=0)
        holes += np.moveaxis(found[None], 1, axis)[0]
    count, places = int(holes.sum()), int((holes > 0).sum())
    if count < max(HOLES, HOLES_SHARE * between) or places < PLACES:
        return None
    return Wrapped(end, top, count, places)
