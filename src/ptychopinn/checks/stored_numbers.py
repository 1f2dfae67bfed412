"""Counts that were spoilt when they were stored: bytes in the wrong order, counts beyond what the
numbers hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding
from ptychopinn.data.byte_order import opposite_order

# Patterns that are looked at.
PATTERNS = 48
# Counters and types end at powers of two; wrapped counts come so near to one and never reach it.
FIRST_BITS, LAST_BITS, NEAR_TOP = 8, 16, 0.97
# Between two readings above the first share of the end, one below the second is none of light. So
# many of them, at so many pixels, and this share of all readings between two bright ones.
BRIGHT, DARK = 0.5, 0.2
HOLES, PLACES, HOLES_SHARE = 10, 3, 5e-4


@check("swapped-bytes")
def swapped_bytes(look: Look) -> Iterator[Noticed]:
    """Whole numbers whose bytes are in the opposite order."""
    few = look.numbers[:: max(1, len(look.numbers) // PATTERNS)]
    if np.dtype(look.scan.diffraction.dtype).kind != "u":
        return
    patterns = np.asarray(look.scan.diffraction[few])
    found = opposite_order(patterns, look.good, float(look.largest.max()))
    if found is not None:
        yield (
            finding("swapped-bytes", "mended", found.message, **found.details),
            Mend(swapped=found.width),
        )


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
