"""Positions in parts that are far from each other: several places, or a jump of the coordinates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Noticed, check, finding, numbered
from ptychopinn.io.summary import nearest_px

# Scans of fewer patterns may lie anywhere; parts are so many steps apart, or a pattern and more.
FEWEST, STEPS = 16, 6.0
# Single patterns that are far away are another check's: more than this share must be elsewhere.
ELSEWHERE = 0.05
# More parts than these are no parts but patterns that do not overlap.
MOST = 16


@check("separate-parts")
def separate_parts(look: Look) -> Iterator[Noticed]:
    """Parts of a scan that have no pixel of the object in common."""
    scan = look.scan
    if scan.M < FEWEST:
        return
    wide = max(float(scan.N), STEPS * float(np.median(nearest_px(scan.positions_px))))
    sizes = parts_of(scan.positions_px, wide)
    if not 1 < len(sizes) <= MOST or sizes[1:].sum() <= ELSEWHERE * scan.M:
        return
    yield (
        finding(
            "separate-parts", "doubt",
            f"the positions are in {len(sizes)} parts, of {numbered(sizes)} patterns, more than "
            f"{wide:.3g} px apart: they have nothing in common, so that neither their distances "
            "nor the phases of one beside the other are verified; right where several places were "
            "scanned, else the coordinates jump, as where a counter began again or those below "
            "zero were stored without their sign: then write the positions again.",
            parts=sizes.tolist(), apart_px=wide,
        ),
        None,
    )  # fmt: skip


def parts_of(positions_px: NDArray[np.float64], wide: float) -> NDArray[np.int64]:
    """How many of the positions (M, 2) are in each part, the largest first; parts are at least
    ``wide`` pixels apart."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    # Cells rather than positions, of which there may be very many near each other.
    cells, often = np.unique(np.floor(positions_px / wide), axis=0, return_counts=True)
    first, second = KDTree(cells).query_pairs(1.5, output_type="ndarray").T
    joined = coo_array((np.ones(len(first)), (first, second)), shape=(len(cells),) * 2)
    count, part = connected_components(joined, directed=False)
    sizes = np.bincount(part, weights=often, minlength=count).astype(np.int64)
    return np.sort(sizes)[::-1]
