"""Single positions that belong to no scan: no numbers, or far away from all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.far_away import lonely_positions, position_text
from ptychopinn.data.findings import Finding
from ptychopinn.data.views import chosen_patterns
from ptychopinn.io.base import ScanFields

FAR = "far-positions"
# Of fewer positions none stands out; a larger share of them is no slip.
FEWEST, MOST = 16, 0.05


def far_positions(positions: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Numbers of the few positions (M, 2) in pixels that can be left out, mostly none.

    Where there are more of them nothing tells which ones are right.
    """
    if positions.ndim != 2 or positions.shape[1:] != (2,) or len(positions) < FEWEST:
        return np.zeros(0, np.int64)
    far = np.flatnonzero(lonely_positions(positions, n)).astype(np.int64)
    return far if len(far) <= max(1, int(MOST * len(positions))) else far[:0]


def far_finding(positions: NDArray[np.float64], far: NDArray[np.int64]) -> Finding:
    """What is said about positions that were left out."""
    places = ", ".join(position_text(positions, int(k)) for k in far[:6])
    more = f" and {len(far) - 6} more" if len(far) > 6 else ""
    one = len(far) == 1
    return Finding(
        FAR,
        "mended",
        f"left out {len(far)} of {len(positions)} patterns: {places}{more} "
        f"{'is no place' if one else 'are no places'} of this scan; the others are numbered "
        f"without {'it' if one else 'them'} from here on.",
        {"positions": far.tolist(), "of": len(positions)},
    )


def without_far_positions(fields: ScanFields) -> ScanFields:
    """The fields without the patterns of such positions, which is a finding."""
    positions = np.asarray(fields.positions_px, np.float64)
    shape = tuple(fields.diffraction.shape)
    if len(shape) != 3 or len(positions) != shape[0]:
        return fields  # refused by the scan
    far = far_positions(positions, shape[-1])
    if not len(far):
        return fields
    kept = np.setdiff1d(np.arange(len(positions)), far)
    return replace(
        fields,
        diffraction=chosen_patterns(fields.diffraction, kept),
        positions_px=positions[kept],
        findings=(*fields.findings, far_finding(positions, far)),
    )
