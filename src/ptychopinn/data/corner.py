"""Arrays whose origin is pixel [0, 0] where the middle is expected, along one axis or both."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Half of the array away is so much more compact that it must be meant.
COMPACT = 0.6
# A beam in the corner is cut by the border into parts of about the same size; of one that is only
# near the border of a detector, the smaller part has less than this.
PART = 0.15


def rolls(intensity: NDArray[Any]) -> tuple[int, int]:
    """By how many pixels (y, x) an intensity (H, W) is to be rolled to sit in the middle.

    Half of the length along an axis whose origin is pixel 0, else 0.
    """
    return _roll(intensity.sum(axis=1)), _roll(intensity.sum(axis=0))


def _roll(profile: NDArray[Any]) -> int:
    n = len(profile)
    half = n // 2
    rolled = np.roll(profile, half)
    if not _spread(rolled) < COMPACT * _spread(profile):
        return 0
    before, after = float(rolled[:half].sum()), float(rolled[half:].sum())
    return half if min(before, after) >= PART * (before + after) else 0


def _spread(profile: NDArray[Any]) -> float:
    """Root mean square distance from pixel n/2, in pixels."""
    total = float(profile.sum())
    if total <= 0:
        return 0.0
    n = len(profile)
    return float(np.sqrt(((np.arange(n) - n // 2) ** 2 * profile).sum() / total))
