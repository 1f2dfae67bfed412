"""The mean pattern that tells of the beam where some patterns or pixels of a scan are spoilt.

A start probe is made of it before anything else is known of a scan: one flooded pattern of a
hundred, or one hot pixel, outweighs all that the beam lights up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.normalization import batch_length, mean_pattern, slices
from ptychopinn.data.scan import Scan

# Patterns with fewer or more counts than these shares of the median are left aside; the median is
# that of patterns with at least the first share of what the brightest tenth begins with.
LEAST, MOST, BRIGHT = 0.02, 4.0, 0.9
# No beam lights up so few pixels and so much less beside them: light of a probe that fits into its
# array spreads over more than a pixel.
SPIKE, LARGEST_SPIKE = 20.0, 4
# The usual pixel is the mean of this share of them, the darker ones.
BELOW = 0.98
# What is outside of the light, as far from it as the middle of a shadow is from its rim, has so
# many counts in all patterns: scattered light would have reached the shadow, too.
DUE = 40.0


def usual_pattern(scan: Scan) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The mean (N, N) of the patterns that count about as much as most do, zero on bad pixels, and
    the pixels (N, N) that tell of the beam: neither bad, nor spikes, nor behind a beam stop."""
    good = scan.good_pixels
    sums = np.concatenate(
        [
            np.asarray(scan.diffraction[part])[:, good].sum(axis=1, dtype=np.float64)
            for part in slices(scan.M, batch_length(scan.N, 8))
        ]
    )
    lit = sums > max(LEAST * float(np.quantile(sums, BRIGHT)), 0.0)
    middle = float(np.median(sums[lit])) if lit.any() else 0.0
    usual = np.flatnonzero((sums >= LEAST * middle) & (sums <= MOST * middle))
    chosen = scan if len(usual) in (0, scan.M) else scan.select(usual)
    mean = mean_pattern(chosen)
    good = good & ~_spikes(mean, good)
    good = good & ~_shadows(mean * chosen.M, good)
    return np.where(good, mean, 0.0), good


def _spikes(mean: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels, or a few together, with far more than all that are beside them; none where nothing
    else is lit."""
    from scipy import ndimage

    # A few of them together hide each other: they stand out of most that are around them.
    around = ndimage.median_filter(mean, 5, mode="nearest")
    # Where all are dark one photon stands out; only what counts for something matters.
    lit = mean[good]
    level = float(lit[lit <= np.quantile(lit, BELOW)].mean())
    bright = good & (mean > SPIKE * np.maximum(around, level))
    found = np.zeros_like(good)
    clusters, count = ndimage.label(bright, np.ones((3, 3)))
    for k in range(1, count + 1):
        ours = clusters == k
        rim = ndimage.binary_dilation(ours, np.ones((3, 3))) & ~ours & good
        beside = mean[rim].max(initial=0.0)
        if ours.sum() <= LARGEST_SPIKE and mean[ours].min() > SPIKE * beside:
            found |= ours
    return found & bool(mean[good & ~found].any())


def _shadows(counts: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels without any count in the middle of the light, where a stop in the lens would let
    scattered light through: ``counts`` (N, N) are those of all patterns."""
    from scipy import ndimage

    silent = good & (counts <= 0)
    light = ndimage.binary_fill_holes(counts > 0.25 * np.percentile(counts[good], 95))
    found = np.zeros_like(good)
    if not silent.any() or light.all():
        return found
    outside = ndimage.distance_transform_edt(~light)
    regions, count = ndimage.label(silent & light)
    for k in range(1, count + 1):
        ours = regions == k
        deep = float(ndimage.distance_transform_edt(ours).max())
        as_far = good & (np.abs(outside - deep) <= 0.5)
        if as_far.any() and np.median(counts[as_far]) >= DUE:
            found |= ours
    return found
