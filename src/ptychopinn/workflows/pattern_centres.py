"""Where the patterns of a scan lie on the detector, to begin the fit of their shifts with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.normalization import batch_length, slices
from ptychopinn.data.scan import Scan
from ptychopinn.physics.pattern_shift import PatternShift


def centres_of_mass(scan: Scan) -> NDArray[np.float64]:
    """(M, 2) of the counts on good pixels (y, x), in pixels from the middle [N/2, N/2]; NaN for a
    pattern without counts."""
    good, n = scan.good_pixels, scan.N
    k = np.arange(n) - n // 2
    found = np.full((scan.M, 2), np.nan)
    for part in slices(scan.M, batch_length(n, 8)):
        counts = np.where(good, scan.diffraction[part], 0).astype(np.float64)
        total = counts.sum(axis=(1, 2))
        sums = np.stack([counts.sum(axis=2) @ k, counts.sum(axis=1) @ k], axis=1)
        lit = total > 0
        found[part][lit] = sums[lit] / total[lit, None]
    return found


def likely_shifts(scan: Scan) -> PatternShift:
    """The shifts of a scan that a fit begins with."""
    return PatternShift.of_centres(centres_of_mass(scan))
