"""Negative counts that come from the type in which they were stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError

# Read in another way, neighbouring pixels differ by this share of what they do, or less.
SMOOTHER = 0.8
# The reading in the middle, as a share of the largest.
DARK = 0.1
# Counts that go on below zero come so near to both ends of their type.
NEAR_END = 0.9


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
    given = _roughness(np.maximum(native, 0), good)
    if not near or _roughness(native.view(unsigned), good) > SMOOTHER * given:
        return
    raise InputError(
        f"{where} must hold photon counts >= 0, received counts that go on below zero where the "
        f"type that stores them, {kind.name}, ends at {ends.max}; write the patterns "
        "anew in a larger type, such as uint32."
    )


def _roughness(patterns: NDArray[Any], good: NDArray[np.bool_]) -> float:
    """Differences between the amplitudes of pixels beside each other, relative to these."""
    amplitudes = np.sqrt(patterns.astype(np.float64))
    both = good[:, 1:] & good[:, :-1]
    one, other = amplitudes[:, :, 1:][:, both], amplitudes[:, :, :-1][:, both]
    return float(np.abs(one - other).sum() / max((one + other).sum(), 1e-30))
