"""Do whole lines of the detector read more, or less, together, and otherwise in each pattern?

The amplifier of a readout block adds the same number to all its pixels, another one in each frame
(common mode). Objects, probes and positions that are wrong leave residuals of both signs along any
line. So pixels of a line have most of their residual in common where few photons fall, or little.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST, neighbours
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.physics.effects import Values
from ptychopinn.workflows.exposure import modelled_counts

# The darker half of the pixels, and so many of a line at least.
DARK, FEWEST_PIXELS = 0.5, 6
# Of the variance of a residual pixels of a line have this share in common, and of what is beyond
# that of photons the second: 0.83 and 1.1 where they read together, 0.25 and 0.28 at most with
# other faults.
SHARED, BEYOND = 0.3, 0.6


def common_mode(scan: Scan, result: Reconstruction) -> float | None:
    """The share of the variance that dark pixels of a line have in common, the larger one of rows
    and columns, where they read together; None elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result.
    """
    assert result.fit is not None  # every verb states it
    if scan.M < FEWEST:
        return None
    numbers, good, noise = neighbours(scan), scan.good_pixels, result.fit.noise
    model = modelled_counts(result, numbers)
    mean = model.mean(axis=0)
    dark = good & (mean <= np.quantile(mean[good], DARK))
    measured = np.asarray(scan.diffraction[numbers], np.float64)
    if scan.saturation is not None:
        dark &= ~(measured >= scan.saturation).any(axis=0)
    missing = np.where(dark, measured - model, 0.0)
    variance = np.where(dark, noise.variance(np.maximum(model, 0)), 0.0)
    shares = [_in_common(dark, missing, variance, axis) for axis in (0, 1)]
    return max((share for share in shares if share is not None), default=None)


def _in_common(
    dark: NDArray[np.bool_], missing: Values, variance: Values, axis: int
) -> float | None:
    """Of the lines along ``axis`` of the pixels ``dark`` (N, N): pairs of the pixels of a line give
    the covariance, whatever the others are."""
    count = dark.sum(axis=axis)
    told = count >= FEWEST_PIXELS
    if not told.any():
        return None
    frames, count = len(missing), count[told].astype(np.float64)
    sums = missing.sum(axis=axis + 1)[:, told]
    squares = (missing**2).sum(axis=axis + 1)[:, told]
    common = float((sums**2 - squares).sum() / (frames * (count * (count - 1)).sum()))
    whole = float(squares.sum() / (frames * count.sum()))
    photons = float(variance.sum(axis=axis + 1)[:, told].sum() / (frames * count.sum()))
    if not whole > photons or common < max(SHARED * whole, BEYOND * (whole - photons)):
        return None
    return common / whole
