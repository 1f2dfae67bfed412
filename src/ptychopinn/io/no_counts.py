"""Numbers that stand for no measurement: at a pixel, and in a whole pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.errors import listed

Mask = NDArray[np.bool_]

LOST, ONE_BIT = "lost-patterns", "one-bit"
# Pixels of each pattern that are looked at first, to find those that are no patterns.
LOOKED_AT = 64
# A pixel is none when it holds such a number in this share of all patterns.
NEARLY_ALL = 0.95
# What programs write for "no value" in 64 bits; no counter ends there.
WIDEST = (2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
# The largest number of half precision, and the part of it that counts reach that go beyond it.
HALF_END, HALF_FULL = 65504.0, 0.5
# Numbers a little below a power of two, from this on, are the largest a counter or a type holds.
SMALLEST_TOP = 2.0**12


def impossible(values: NDArray[Any]) -> Mask:
    """Whether numbers may stand for "no pixel": no numbers, negative, or the top of some type."""
    if values.dtype.kind == "u":
        wide = values.astype(np.uint64)
        # Of numbers just below a power of two, the next one shares no bit with it; the largest of
        # all wraps round to zero.
        top = ((wide & (wide + np.uint64(1))) == 0) | (
            ((wide + np.uint64(1)) & (wide + np.uint64(2))) == 0
        )
        large: Mask = (top & (wide >= SMALLEST_TOP - 2)) | (wide >= 2**32 - 2)
        return large | (values == np.iinfo(values.dtype).max)
    if values.dtype.kind == "i":
        negative = values < 0
        size = np.where(negative, 0, values).astype(np.uint64)
        return negative | impossible(size) | (values == np.iinfo(values.dtype).max)
    with np.errstate(all="ignore"):
        found = ~np.isfinite(values) | (values < 0) | (values >= 2.0**32 - 2)
        exact = values.astype(np.float64)
        for numbers in (exact, exact**2):
            # sqrt(65535) is as impossible among amplitudes as 65535 among counts.
            smallest = SMALLEST_TOP - 2 if numbers is exact else 2.0**16 - 2
            power = 2.0 ** np.rint(np.log2(np.maximum(numbers, 1)))
            near = 2e-7 * power if numbers is not exact else 6e-8 * power * (power >= 2**24)
            below = power - numbers
            top = (np.abs(below - 1) <= near) | (np.abs(below - 2) <= near)
            found |= top & (numbers >= smallest)
    return found


def beyond_counters(values: NDArray[Any]) -> Mask:
    """Whether numbers are those that stand for no value in 64 bits, also in single patterns."""
    kind = values.dtype
    found = np.zeros(values.shape, bool)
    wide = kind.itemsize == 8 if kind.kind in "iu" else kind.kind == "f" and kind.itemsize >= 4
    if not wide or not values.size or values.max() < WIDEST[0]:
        return found
    for top in WIDEST:
        if kind.kind == "f" or top <= np.iinfo(kind).max:
            found |= values == kind.type(top)
    return found


def half_overflowed(largest: float) -> str | None:
    """What to say of infinity beside finite numbers up to ``largest``, where it looks like counts
    beyond the end of half precision, which may have been widened since; None where it does not."""
    if not HALF_FULL * HALF_END <= largest <= HALF_END:
        return None
    return (
        f"the others end at {largest:.6g}, as counts do that were once stored as float16, whose "
        f"largest number is {HALF_END:.0f}: write the patterns anew from the measurement, as "
        "uint32 or float32"
    )


def lost(patterns: NDArray[Any], bad: Mask | None) -> Mask:
    """(m,) which patterns (m, H, W) hold no measurement at all, but one number that stands for none
    nearly everywhere apart from ``bad`` pixels."""
    m = len(patterns)
    flat = patterns.reshape(m, -1)
    used = np.arange(flat.shape[1]) if bad is None else np.flatnonzero(~bad.reshape(-1))
    found = np.zeros(m, bool)
    if len(used):
        few = flat[:, used[np.linspace(0, len(used) - 1, LOOKED_AT).astype(np.int64)]]
        for k in np.flatnonzero(impossible(few).mean(axis=1) >= NEARLY_ALL):
            values = flat[k, used]
            usual = _usual(values)
            same = (values == usual) | (no_number(values) & no_number(usual))
            found[k] = impossible(usual)[0] and same.mean() >= NEARLY_ALL
    return found


def _usual(values: NDArray[Any]) -> NDArray[Any]:
    """The number in the middle, as an array of one; not the mean of two."""
    return np.sort(values, axis=None)[values.size // 2 :][:1]


def one_bit_finding(patterns: NDArray[np.bool_]) -> Finding:
    """What is said about patterns of True and False."""
    share = float(patterns.mean())
    words = (
        f"the patterns are True and False, read as counts of 0 and 1, {share:.2%} of which are 1: "
        "right for a detector of one bit only, check that they are no masks and not cut off at 1"
    )
    return Finding(ONE_BIT, "doubt", words, {"share": share})


def lost_finding(first: NDArray[Any], numbers: NDArray[np.int64]) -> Finding:
    """What is said about the patterns of these numbers; ``first`` are the first of them."""
    values = list(dict.fromkeys(text_of_number(_usual(pattern)[0]) for pattern in first))
    hold = "holds" if len(numbers) == 1 else "hold"
    words = (
        f"set {named_patterns(numbers.tolist())} to 0, which {hold} {listed(values, 80)} throughout"
    )
    return Finding(LOST, "mended", words, {"numbers": numbers.tolist(), "values": values[:4]})


def no_number(values: NDArray[Any]) -> Mask:
    return ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)


def text_of_number(value: Any) -> str:
    if isinstance(value, np.floating):
        if not np.isfinite(value):
            return "NaN" if np.isnan(value) else "infinity" if value > 0 else "-infinity"
        return f"{float(value):.10g}"
    return str(value)


def named_patterns(numbers: list[int], what: str = "pattern") -> str:
    """These patterns, or other things that are numbered, in words."""
    names = ", ".join(map(str, numbers[:6])) + (", ..." if len(numbers) > 6 else "")
    return f"{what} {names}" if len(numbers) == 1 else f"{len(numbers)} {what}s ({names})"
