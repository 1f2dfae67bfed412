"""Do frames and positions belong together? Told by the patterns alone, without probe and object.

Patterns that were recorded near each other are alike, as far as they show the same part of the
object. Where each has others that it is like, and those at its side are no more like it than any,
the frames are in another order than the positions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import Scan

# Patterns that are compared, one after the other in the scan, and how many are needed.
MOST, FEWEST = 600, 32
# As many patterns are taken as the likest ones of each, and as the nearest.
NUMBER = 4
# The likest are alike by so much more than any two, and by so many standard errors.
ALIKE, ERRORS = 0.1, 6.0
# The nearest are more alike than any two by this share of that or less: -0.15 to 0.07 where frames
# are interleaved, 0.17 and more of straight lines in order, 0.3 and more of other objects.
NEAR = 0.1


class Likeness(NamedTuple):
    """Correlations of what distinguishes patterns, beyond those of any two of them.

    likest : of each and those that are most like it.  nearest : of each and those nearest to it.
    """

    likest: float
    nearest: float


def unlike_neighbours(scan: Scan) -> Likeness | None:
    """How much patterns are like others, and how much like those nearest to them, where that says
    that they are in another order than the positions; None elsewhere.

    Which are alike is looked for in every second pixel, as of a chessboard, and how much they are
    in the others, so that noise does not choose.
    """
    if scan.M < FEWEST or not scan.propagator.measures_momentum:
        return None
    first = max(scan.M - MOST, 0) // 2
    amplitudes = np.sqrt(np.asarray(scan.diffraction[first : first + MOST], np.float32).clip(0))
    varied = amplitudes - amplitudes.mean(axis=0)
    chess = np.indices(scan.good_pixels.shape).sum(axis=0) % 2 == 0
    chosen_by = _correlations(varied[:, scan.good_pixels & chess])
    found = _correlations(varied[:, scan.good_pixels & ~chess])
    places = scan.positions_px[first : first + MOST]
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    np.fill_diagonal(chosen_by, -np.inf)
    m = len(places)
    any_two = float((found.sum() - np.trace(found)) / (m * (m - 1)))
    likest, nearest = (
        np.take_along_axis(found, np.argsort(by, axis=1, kind="stable")[:, :NUMBER], axis=1)
        for by in (-chosen_by, apart)
    )
    alike = float(likest.mean()) - any_two
    error = float(likest.mean(axis=1).std()) / np.sqrt(m)
    beside = float(nearest.mean()) - any_two
    if alike < max(ALIKE, ERRORS * error) or beside > NEAR * alike:
        return None
    return Likeness(alike, max(beside, 0.0))


def _correlations(varied: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each row (m, pixels) and each other one: (m, m)."""
    norms = np.linalg.norm(varied, axis=1, keepdims=True)
    unit = varied / np.maximum(norms, 1e-12)
    return np.asarray(unit @ unit.T, np.float64)
