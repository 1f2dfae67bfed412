"""How the patterns of a scan are divided into ordered subsets, each of which covers the scan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.sampling import ordered_subsets
from ptychopinn.physics.geometry import mean_overlap

Index = NDArray[np.int64]

# Ordered subsets are so large that this many of their patterns overlap, on average.
LEAST_OVERLAP = 1.5
# One in so many patterns of a training sub-scan is left out of the physics steps and judges their
# result, which shows whether the object is right or fits the noise.
LEFT_OUT = 5


def subset_count(overlap: float, patterns: int, updates: int) -> int:
    """How many ordered subsets a scan is divided into, given its mean overlap."""
    return max(1, min(updates, patterns, int(overlap / LEAST_OVERLAP)))


def ordered_subsets_of(
    positions_px: NDArray[np.float64], probe: NDArray[Any], updates: int
) -> list[Index]:
    """The ordered subsets of a scan: as many as its overlap allows, ``updates`` at most."""
    count = subset_count(mean_overlap(positions_px, probe), len(positions_px), updates)
    return ordered_subsets(positions_px, count, np.random.default_rng(0))


def judged_subsets(
    positions_px: NDArray[np.float64], probe: NDArray[Any], updates: int
) -> tuple[list[Index], Index]:
    """The ordered subsets of a training sub-scan, and the patterns left out to judge the result."""
    *parts, left_out = ordered_subsets(positions_px, LEFT_OUT, np.random.default_rng(0))
    used = np.sort(np.concatenate(parts))
    return [used[s] for s in ordered_subsets_of(positions_px[used], probe, updates)], left_out
