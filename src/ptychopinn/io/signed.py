"""Negative counts: noise about zero, or those of the type in which they were stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.data.scan import PatternArray
from ptychopinn.errors import InputError
from ptychopinn.io.base import batches
from ptychopinn.io.no_counts import Mask, named_patterns

NEGATIVE = "negative-counts"
# Noise about zero: at least this share of all numbers is negative, at most this part of those near
# zero, none is farther than so many standard deviations, and all are this small a part of the
# counts.
NOISE_SHARE, NOISE_PART, NOISE_REACH, NOISE_SUM = 1e-3, 0.55, 8.0, 0.05
# Read in another way, neighbouring pixels differ by this share of what they do, or less.
SMOOTHER = 0.8
# The reading in the middle, as a share of the largest.
DARK = 0.1
# Unsigned numbers below zero: at this share of the pixels, in less than that share of the patterns
# (more is a gap), this share of all readings; down to so much whatever the bright ones are.
WRAPPED_PIXELS, MOST_OFTEN, WRAPPED, LOWEST_SURE = 0.05, 0.95, 0.005, -20
# Counts that go on below zero come so near to both ends of their type.
NEAR_END = 0.9


def negative(
    patterns: PatternArray, few: NDArray[Any], bad: Mask, where: str, clip_negative: bool
) -> Finding | None:
    """What is said about negative counts that are set to zero; None when there are none."""
    if few.dtype.kind == "u" or not any((patterns[k] < 0).any() for k in batches(patterns)):
        return None
    lowest, number, total, low_sum, high_sum, worst = 0.0, 0, 0, 0.0, 0.0, []
    for part in batches(patterns, 8):
        values = patterns[part][:, ~bad].astype(np.float64)
        values[~np.isfinite(values)] = 0
        low = values.min(initial=0.0)
        if low < 0:
            each = (values < 0).sum(axis=1)
            worst += (np.flatnonzero(each) + (part.start or 0)).tolist()
            number += int(each.sum())
            low_sum -= float(values[values < 0].sum())
            lowest = min(lowest, float(low))
        total += values.size
        high_sum += float(values[values > 0].sum())
    if not number:
        return None
    share = number / total
    said = f"{number} numbers below zero ({100 * share:.2g} % of all, down to {lowest:.4g})"
    details = {"numbers": number, "share": share, "lowest": lowest}
    reason = _no_noise(few[:, ~bad], lowest, share, low_sum, high_sum)
    if reason is not None and not clip_negative:
        # A few of all may be beyond the end of their type: look at those.
        refuse_spoilt(np.asarray(patterns[np.array(worst[: len(few)])]), ~bad, where)
        raise InputError(
            f"{where} must hold photon counts >= 0, received {said} in {named_patterns(worst)}, "
            f"which are no noise about zero: {reason}; subtract the offset of the detector, mark "
            "bad pixels in the mask, or pass clip_negative=True to set them to 0."
        )
    if reason is None:
        return Finding(
            NEGATIVE, "mended", f"set {said} to 0, which look like noise about zero", details
        )
    words = f"set {said} to 0 as asked, though they are no noise about zero: {reason}"
    return Finding(NEGATIVE, "doubt", words, details)


def _no_noise(
    few: NDArray[Any], lowest: float, share: float, low_sum: float, high_sum: float
) -> str | None:
    """Why negative numbers are no noise about zero; None when they look like it."""
    values = few[np.isfinite(few)].astype(np.float64)
    below = values[values < 0]
    if share < NOISE_SHARE or not below.size:
        return "they are only a few"
    width = float(np.sqrt((below**2).mean()))
    if -lowest > NOISE_REACH * width + 1:
        return f"the lowest is {-lowest / width:.3g} times as far as they usually are"
    near = values[(np.abs(values) <= 3 * width) & (values != 0)]
    part = float((near < 0).mean())
    if part > NOISE_PART:
        return (
            f"{100 * part:.0f} % of the numbers near zero are negative, and their middle is "
            f"{np.median(near):.3g}, as if too much had been subtracted"
        )
    if low_sum > NOISE_SUM * high_sum:
        return f"their sum is {100 * low_sum / max(high_sum, 1e-300):.2g} % of the counts"
    return None


def refuse_spoilt(patterns: NDArray[Any], good: NDArray[np.bool_], where: str) -> None:
    """Raise InputError that names the true cause where signed whole numbers (m, H, W) below zero
    are counts beyond the end of their type, or have their bytes in the opposite order."""
    kind = patterns.dtype
    if kind.kind != "i" or kind.itemsize > 4:
        return
    unsigned = np.dtype(f"u{kind.itemsize}")
    native, ends = patterns.astype(kind.newbyteorder("=")), np.iinfo(kind)
    back = native.byteswap().view(unsigned)
    # Most of a pattern is dark; a small negative number with its bytes swapped is a large one.
    dark = np.median(back) <= DARK * back.max()
    given = _roughness(np.abs(native.astype(np.int64)), good)
    if dark and _roughness(back, good) <= SMOOTHER * given:
        raise InputError(
            f"{where} must hold photon counts >= 0, received numbers whose bytes are in the "
            "opposite order; write the patterns anew in the order that the file states (little or "
            "big endian)."
        )
    near = native.max() >= NEAR_END * ends.max and native.min() <= NEAR_END * ends.min
    below = native < 0
    given = _roughness(np.maximum(native, 0), good, below)
    if not near or _roughness(native.view(unsigned), good, below) > SMOOTHER * given:
        return
    raise InputError(
        f"{where} must hold photon counts >= 0, received counts that go on below zero where the "
        f"type that stores them, {kind.name}, ends at {ends.max}; write the patterns "
        "anew in a larger type, such as uint32."
    )


def refuse_wrapped(patterns: NDArray[Any], good: NDArray[np.bool_], where: str) -> None:
    """Raise InputError where unsigned whole numbers (m, H, W) hold counts below zero, which became
    the largest numbers of their type: at pixels that are dark in other patterns, unlike a gap, a
    mark of bad pixels or saturated light."""
    kind = patterns.dtype
    if kind.kind != "u" or kind.itemsize > 4 or not patterns.size:
        return
    top = np.iinfo(kind).max
    if patterns.max() < top:
        return
    signed = patterns.astype(kind.newbyteorder("=")).view(f"i{kind.itemsize}")
    below = signed < 0
    often = below.mean(axis=0)
    now_and_then = good & (often > 0) & (often < MOST_OFTEN)
    readings = below[:, now_and_then]
    if now_and_then.sum() < WRAPPED_PIXELS * good.sum() or readings.sum() < WRAPPED * below.size:
        return
    counts = np.maximum(signed, 0)
    bright = float(counts[:, good].max())
    dark = float(np.median(counts[:, now_and_then][~readings])) <= DARK * bright
    lowest = int(signed[:, now_and_then].min())
    near = -lowest <= max(DARK * bright, -LOWEST_SURE)
    some = good & (often < MOST_OFTEN)
    if not (dark and near) or _roughness(counts, some) > SMOOTHER * _roughness(patterns, some):
        return
    numbers = f"{top}" if lowest == -1 else f"{top + 1 + lowest} to {top}"
    raise InputError(
        f"{where} must hold photon counts >= 0, received {numbers} in {readings.mean():.0%} of the "
        f"readings of {int(now_and_then.sum())} pixels that are dark otherwise, as where an offset "
        f"was subtracted from unsigned numbers: they stand for {lowest} to -1; subtract it from "
        f"signed numbers (such as int32), or write these anew as {kind.name.lstrip('u')}."
    )


def _roughness(
    patterns: NDArray[Any], good: NDArray[np.bool_], beside: NDArray[np.bool_] | None = None
) -> float:
    """Differences between the amplitudes of pixels next to each other, relative to these; only of
    pairs with one of the readings ``beside`` (m, H, W) where given."""
    amplitudes = np.sqrt(patterns.astype(np.float64))
    both = np.broadcast_to(good[:, 1:] & good[:, :-1], amplitudes[:, :, 1:].shape)
    if beside is not None:
        both = both & (beside[:, :, 1:] | beside[:, :, :-1])
    one, other = amplitudes[:, :, 1:][both], amplitudes[:, :, :-1][both]
    return float(np.abs(one - other).sum() / max((one + other).sum(), 1e-30))
