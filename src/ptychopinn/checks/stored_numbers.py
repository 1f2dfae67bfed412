"""Counts that were spoilt when they were stored: bytes in the wrong order, counts beyond what the
numbers hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, Swapped, check, finding

# Patterns that are looked at.
PATTERNS = 48
# Bytes were swapped when swapping them back leaves this share of the roughness; or the second one
# where most of the readings end with a byte of 0, as small counts then do.
SMOOTHER, SMOOTHER_OF_SMALL, SMALL = 0.8, 0.9999, 0.5
# Counters and types end at powers of two; wrapped counts come so near to one and never reach it.
FIRST_BITS, LAST_BITS, NEAR_TOP = 8, 16, 0.97
# Between two readings above the first share of the end, one below the second is none of light. So
# many of them, at so many pixels, and this share of all readings between two bright ones.
BRIGHT, DARK = 0.5, 0.2
HOLES, PLACES, HOLES_SHARE = 10, 3, 5e-4


def _roughness(patterns: NDArray[Any], good: NDArray[np.bool_]) -> float:
    """By how much the amplitudes of neighbouring pixels differ, relative to their sum: the mean of
    all that are lit, so that a few pixels with any number in them hardly count."""
    amplitudes = np.sqrt(patterns.astype(np.float64))
    difference = pairs = 0.0
    for axis in (1, 2):
        one, other = np.moveaxis(amplitudes, axis, 0)[:-1], np.moveaxis(amplitudes, axis, 0)[1:]
        lit = np.moveaxis(good[None], axis, 0)
        both = lit[:-1] & lit[1:] & (one + other > 0)
        apart = np.divide(np.abs(one - other), one + other, out=np.zeros_like(one), where=both)
        difference += float(apart.sum())
        pairs += float(both.sum())
    return difference / pairs if pairs > 0 else 0.0


@check("swapped-bytes")
def swapped_bytes(look: Look) -> Iterator[Noticed]:
    """Whole numbers whose bytes are in the opposite order: of small ones only the scale changes,
    but from 256 on neighbouring counts become numbers that have nothing to do with each other."""
    patterns = look.scan.diffraction
    kind = np.dtype(patterns.dtype)
    if kind.kind != "u" or kind.itemsize not in (2, 4):
        return
    few = np.asarray(patterns[look.numbers[:: max(1, len(look.numbers) // PATTERNS)]])
    lit = few[few > 0]
    if not lit.size:
        return
    # Four bytes with the opposite order hold no count below 2^16.
    width = 2 if look.largest.max() < 1 << 16 else kind.itemsize
    right = Swapped(width)(few)
    given, swapped = (_roughness(part, look.good) for part in (few, right))
    small = float((lit & 0xFF == 0).mean()) >= SMALL
    if not swapped < (SMOOTHER_OF_SMALL if small else SMOOTHER) * given:
        return
    yield (
        finding(
            "swapped-bytes", "mended",
            f"the bytes of the counts are in the opposite order: swapped, so that neighbouring "
            f"pixels differ by {swapped:.1%} of their amplitudes instead of {given:.1%}, and the "
            f"largest reading is {int(right.max())} instead of {int(few.max())}; write "
            "the patterns anew in the order that the file states (little or big endian).",
            roughness=swapped, roughness_as_given=given,
        ),
        Mend(swapped=width),
    )  # fmt: skip


@check("wrapped-counts")
def wrapped_counts(look: Look) -> Iterator[Noticed]:
    """Counts that began again at 0 where the numbers that store them end."""
    top = float(look.largest[look.good].max(initial=0.0))
    ends = [2**bits for bits in range(FIRST_BITS, LAST_BITS + 1)]
    end = next((end for end in ends if NEAR_TOP * end <= top < end), None)
    if end is None or np.dtype(look.scan.diffraction.dtype).kind != "u":
        return
    # A dead pixel is dark between bright ones as well, but always.
    alive = look.good & (look.largest >= end / 2)
    holes, between = np.zeros(look.good.shape, np.int64), 0
    for axis in (1, 2):
        readings = np.moveaxis(look.sample, axis, 1)
        bright = readings >= BRIGHT * end
        usable = np.moveaxis(look.good[None], axis, 1)
        both = (bright & usable)[:, :-2] & (bright & usable)[:, 2:]
        both &= np.moveaxis(alive[None], axis, 1)[:, 1:-1]
        dark = both & (readings[:, 1:-1] < DARK * end)
        between += int(both.sum())
        found = np.zeros((look.scan.N, look.scan.N), np.int64)
        found[1:-1] = dark.sum(axis=0)
        holes += np.moveaxis(found[None], 1, axis)[0]
    count, places = int(holes.sum()), int((holes > 0).sum())
    if count < max(HOLES, HOLES_SHARE * between) or places < PLACES:
        return
    bits = int(end).bit_length() - 1
    yield (
        finding(
            "wrapped-counts", "fault",
            f"counts must fit into the numbers that store them, received none above {top:.0f} and "
            f"{count} readings at {places} pixels that are nearly dark between two bright ones: "
            f"counts from {end} on began again at 0, as in numbers of {bits} bits; write the "
            "patterns anew from the files of the detector into a larger type, such as uint32.",
            end=end, readings=count, places=places,
        ),
        None,
    )  # fmt: skip
