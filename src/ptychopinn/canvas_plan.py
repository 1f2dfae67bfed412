"""How the patterns of a scan are placed on a canvas and divided into ordered subsets, without a
framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.sampling import ordered_subsets
from ptychopinn.networks.unrolled import LEFT_OUT, subset_count
from ptychopinn.physics.geometry import mean_overlap, split_positions

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Places:
    """Where patches lie on a canvas.

    corner : (M, 2) their first pixels.  fraction : (M, 2) sub-pixel remainders.
    centre : (M,) flat canvas pixel of each patch's pixel [N/2, N/2].
    """

    corner: Index
    fraction: NDArray[np.float64]
    centre: Index


def places(
    positions_px: NDArray[np.float64], n: int, shape: tuple[int, int], origin_px: Any
) -> Places:
    """Place patches of n x n pixels on the canvas (H, W) with this origin."""
    corner, fraction = split_positions(positions_px, n, origin_px)
    rows, columns = (corner + n // 2).T
    return Places(corner, fraction, rows * shape[1] + columns)


def canvas_subsets(
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
    return [used[s] for s in canvas_subsets(positions_px[used], probe, updates)], left_out
