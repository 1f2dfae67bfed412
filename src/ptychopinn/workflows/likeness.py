"""Do frames and positions belong together? Told by the patterns alone, without probe and object.

Patterns that were recorded near each other are alike, as far as they show the same part of the
object. Where frames so many apart in the scan are alike, all along it, and those at neighbouring
positions are not, the frames are in another order than the positions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan

# A result that explains more of the structure has the frames where they belong: 0.3 to 0.8 are
# explained where they are interleaved.
ASKED_BELOW = 0.9
# Patterns that are compared, one after the other in the scan, and how many are needed.
MOST, FEWEST = 600, 32
# Frames up to so many apart are looked at: along a row, across it, along the arms of a spiral.
FARTHEST = 40
# They are alike by so much more than any two, and by so many standard errors.
ALIKE, ERRORS = 0.2, 6.0
# So many neighbours of each position, and the nearest, are more alike than any two by this share of
# that or less: in 34 of 80 scans whose frames were interleaved, as neighbours may still be alike,
# and in none of 40 in order.
NUMBER, NEAR = 4, 0.2


class Likeness(NamedTuple):
    """Correlations of what distinguishes patterns, beyond those of any two of them.

    following : of frames so many apart in the scan, the most alike ones.  nearest : of frames at
    neighbouring positions.
    """

    following: float
    nearest: float


def unlike_neighbours(scan: Scan, result: Reconstruction) -> Likeness | None:
    """How much frames are like those that follow, and like those at neighbouring positions, where
    that says that they are in another order than the positions, of a result that explains little;
    None elsewhere."""
    fit = result.fit
    assert fit is not None  # every verb states it
    if fit.verdict == "good" or fit.explained >= ASKED_BELOW:
        return None
    return likeness(scan)


def likeness(scan: Scan) -> Likeness | None:
    """The same of patterns and positions alone."""
    if scan.M < FEWEST or not scan.propagator.measures_momentum:
        return None
    first = max(scan.M - MOST, 0) // 2
    amplitudes = np.sqrt(np.asarray(scan.diffraction[first : first + MOST], np.float32).clip(0))
    varied = (amplitudes - amplitudes.mean(axis=0))[:, scan.good_pixels]
    varied = varied / np.maximum(np.linalg.norm(varied, axis=1, keepdims=True), 1e-12)
    alike = np.asarray(varied @ varied.T, np.float64)
    m = len(alike)
    alike -= (alike.sum() - np.trace(alike)) / (m * (m - 1))
    apart = range(1, min(FARTHEST, m // 2) + 1)
    following = max((np.diagonal(alike, frames) for frames in apart), key=np.mean)
    least = max(ALIKE, ERRORS * float(following.std()) / np.sqrt(len(following)))
    places = scan.positions_px[first : first + MOST]
    distance = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(distance, np.inf)
    beside = np.argsort(distance, axis=1, kind="stable")[:, :NUMBER]
    along = np.take_along_axis(alike, beside, axis=1)
    # The nearest alone may be alike, as where patterns are images that move with their positions.
    nearest = max(float(along.mean()), float(along[:, 0].mean()))
    most = float(following.mean())
    if most < least or nearest > NEAR * most:
        return None
    return Likeness(most, max(nearest, 0.0))
