"""Numbers whose bytes are in the opposite order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bytes were swapped when swapping them back leaves this share of the roughness; or the second one
# where most of the readings end with a byte of 0, as small counts then do.
SMOOTHER, SMOOTHER_OF_SMALL, SMALL = 0.8, 0.9999, 0.5
# Fractional numbers beyond these sizes are no readings of a detector. A fifth of swapped ones are,
# since any byte may come to be their exponent; all are next to 0 where they were whole.
TINY, HUGE = 1e-30, 1e30
ABSURD, SANE = 0.05, 0.001
# Whole numbers below this are next to 0 when their bytes are read as fractional ones.
LARGEST_WHOLE = 1 << 23


@dataclass(frozen=True)
class Swapped:
    """Puts the low bytes of counts in the opposite order: those of a file may lie in a larger type
    by now."""

    width: int

    def __call__(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return patterns.astype(f"u{self.width}").byteswap().astype(patterns.dtype)


@dataclass(frozen=True)
class ByteOrder:
    """What was found: ``width`` bytes are swapped, mean differences of neighbours, largest ones."""

    width: int
    roughness: float
    roughness_as_given: float
    largest: int
    largest_as_given: int

    @property
    def message(self) -> str:
        return (
            f"the bytes of the counts are in the opposite order: swapped, so that neighbouring "
            f"pixels differ by {self.roughness:.1%} of their amplitudes instead of "
            f"{self.roughness_as_given:.1%}, and the largest reading is {self.largest} instead of "
            f"{self.largest_as_given}; write the patterns anew in the order that the file states "
            "(little or big endian)."
        )

    @property
    def details(self) -> dict[str, float]:
        return {"roughness": self.roughness, "roughness_as_given": self.roughness_as_given}


def opposite_order(
    few: NDArray[Any], good: NDArray[np.bool_], largest: float | None = None
) -> ByteOrder | None:
    """Whether the bytes of patterns (m, H, W) are swapped, seen at the good pixels (H, W).

    Of small numbers only the scale changes, but from 256 on neighbouring counts become numbers that
    have nothing to do with each other. ``largest`` is that of all patterns.
    """
    if few.dtype.kind != "u" or few.dtype.itemsize not in (2, 4):
        return None
    seen = few[:, good]
    lit = seen[seen > 0]
    if not lit.size:
        return None
    most = float(few.max()) if largest is None else largest
    # Four bytes with the opposite order hold no count below 2^16.
    width = 2 if most < 1 << 16 else few.dtype.itemsize
    right = Swapped(width)(few)
    given, swapped = (_roughness(part, good) for part in (few, right))
    small = float((lit & 0xFF == 0).mean()) >= SMALL
    if not swapped < (SMOOTHER_OF_SMALL if small else SMOOTHER) * given:
        return None
    return ByteOrder(width, swapped, given, int(right[:, good].max()), int(seen.max()))


@dataclass(frozen=True)
class SwappedFloats:
    """Puts the bytes of fractional numbers in the opposite order."""

    def __call__(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return patterns.byteswap()


def absurd_as_stored(few: NDArray[Any]) -> str | None:
    """What is wrong with fractional numbers (...) whose bytes are swapped; None for others: their
    exponents are absurd, and those of the same bytes in the opposite order are not."""
    if few.dtype.kind != "f" or few.dtype.itemsize not in (4, 8):
        return None
    given, swapped = (_absurd(part) for part in (few, few.byteswap()))
    if given < ABSURD or swapped > SANE:
        return None
    return (
        f"{given:.0%} of the numbers were below {TINY:g}, above {HUGE:g} or none, and hardly any "
        "are once their bytes are in the opposite order"
    )


def whole_as_fractional(few: NDArray[Any]) -> int | None:
    """The largest of whole numbers whose bytes are read as fractional ones (...); None for others:
    nearly all but 0 are far too small, and counts as they may be when read as whole numbers."""
    if few.dtype.kind != "f" or few.dtype.itemsize not in (4, 8):
        return None
    if _absurd(few) < 1 - SANE:
        return None
    whole = np.ascontiguousarray(few).view(f"u{few.dtype.itemsize}")
    largest = int(whole.max())
    return largest if largest < LARGEST_WHOLE else None


def _absurd(values: NDArray[Any]) -> float:
    """The share of the numbers beside 0 that no detector reads."""
    seen = np.abs(values[values != 0])
    return float((~((seen > TINY) & (seen < HUGE))).mean()) if seen.size else 0.0


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
