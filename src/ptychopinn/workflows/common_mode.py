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
# that of photons the second: 0.52 and 0.57 at least where they read together, or 0.22 and 0.16 at
# most of one of them with other faults.
SHARED, BEYOND = 0.3, 0.5
# A pattern with extra light is so many times the usual deviation off.
FAR = 5.0


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
    missing = measured - model
    # What all patterns have is no level of each: a background, or a probe that is wrong.
    missing = np.where(dark, missing - missing[_usual(missing[:, dark])].mean(axis=0), 0.0)
    variance = np.where(dark, noise.variance(np.maximum(model, 0)), 0.0)
    shares = [_in_common(dark, missing, variance, axis) for axis in (0, 1)]
    return max((share for share in shares if share is not None), default=None)


def _usual(missing: Values) -> NDArray[np.bool_]:
    """The patterns (m,) whose residuals (m, pixels) are not far from those of the others in all."""
    off = np.abs(missing.mean(axis=1) - np.median(missing.mean(axis=1)))
    return np.asarray(off <= FAR * np.median(off))


def _in_common(
    dark: NDArray[np.bool_], missing: Values, variance: Values, axis: int
) -> float | None:
    """Of the lines along ``axis`` of the pixels ``dark`` (N, N): pairs of the pixels of a line give
    the covariance, whatever the others are. Of the patterns the median one counts, which extra
    light in some of them does not change."""
    count = dark.sum(axis=axis)
    told = count >= FEWEST_PIXELS
    if not told.any():
        return None
    count = count[told].astype(np.float64)
    sums = missing.sum(axis=axis + 1)[:, told]
    squares = (missing**2).sum(axis=axis + 1)[:, told]
    pairs = (sums**2 - squares).sum(axis=1)
    common = float(np.median(pairs) / (count * (count - 1)).sum())
    whole = float(np.median(squares.sum(axis=1)) / count.sum())
    photons = float(np.median(variance.sum(axis=axis + 1)[:, told].sum(axis=1)) / count.sum())
    if not whole > photons or common < max(SHARED * whole, BEYOND * (whole - photons)):
        return None
    return common / whole
