"""The noise of a detector that does not count: its photons, and normal noise of every reading.

A reading is y = q n + s z, set to 0 where it is negative: n photons of q counts each, z normal. Its
variance grows with the light, q I + s^2, and so both numbers are read off the patterns themselves
(photon transfer, J. Janesick, *Photon Transfer*, SPIE 2007). What the light writes into a pattern
is smooth: it is the transform of an autocorrelation, which ends at twice the width of the
illumination. Noise is not. A filter that lets the finest frequencies pass leaves it alone, whatever
the object is, so that no wrong object can pass for noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptychopinn.physics.clipped_readings import MOST_PHOTONS, TABULATED, clipped_variance
from ptychopinn.physics.noise import noise_of_amplitude
from ptychopinn.physics.photon import photon_of_patterns

Float = NDArray[np.float64]

# The filters are differences of twice this order, along both axes. What they leave of the light
# differs, of noise it does not: by this share of its variance at most.
ORDERS, ALIKE = (3, 5), 0.15
# Pixels are taken together, by their mean, in so many bins; of fewer pixels nothing is told.
BINS, FEWEST, LIT_BINS = 12, 200, 2
# So many pairs of photon and noise are followed at a time.
STARTS = 3
# Readings differ from the model of their noise by this share of the variance, in the median bin.
FITS = 0.15
# Patterns that are filtered at most, and values.
PATTERNS, VALUES = 64, 1 << 19
# Patterns that are asked first whether their noise exceeds that of their steps, so many times.
FEW, NOISIER = 8, 1.5
# Readout noise of so many photons is worth a model of its own; with more than the second number
# single photons no longer show.
SEEN, SMEARED = 0.02, 2.0
# Roots of counts have their variance from this mean on, within these limits; it grows less than by
# this for each time that the mean is more. That of counts times a factor, and rounded, grows twice
# as fast where it is as large.
ROOT_LIT, ROOT_VARIANCE, ROOT_GROWTH = 1.5, (0.25, 0.65), 0.08
# Pixels with these means count few photons, darker ones none, and the variance of the brightest is
# their mean within these limits where the readings are counts.
FEW_COUNTS, COUNTED, COARSE = (0.02, 2.0), (0.75, 1.25), (2, 3)
# The variances that two filters leave differ by this factor at most where it is noise of pixels.
FILTERS_ALIKE = 1.6
# Patterns in a row that tell what one has of the one before, at pixels with so many counts at
# least, deviations beyond which a reading counts as less, and so many times the variance over the
# mean of a quiet pixel at most.
FEWEST_IN_A_ROW, LEAST_LIGHT, TAIL, NO_LIGHT = 8, 0.05, 4.0, 1.3
# So many filtered readings are as one, and the share is told beyond so many standard deviations.
FILTERED_ALIKE, SHARED_SIGMA = 9.0, 4.0


@dataclass(frozen=True)
class DetectorNoise:
    """photon : what one photon adds to the counts.  readout : standard deviation of the normal
    noise of a reading, in counts; 0 for a detector that counts."""

    photon: float
    readout: float = 0.0

    @property
    def steadying(self) -> float:
        """Counts c that make the scatter of sqrt(y + c) that of a photon, whatever the light
        (F. Murtagh, J.-L. Starck, A. Bijaoui, Astron. Astrophys. Suppl. 112, 179, 1995)."""
        return self.readout**2 / self.photon

    def of_amplitude(self, counts: ArrayLike, added: float = 0.0) -> Float:
        """E[(sqrt(y + c) - sqrt(I + c))^2] in counts, for readings y with the mean I = ``counts``;
        c counts are ``added`` to both where the detector reads with noise.

        Below the mean that noise about 0 has once it is set to 0 where negative, readings are taken
        as such noise.
        """
        mean = np.asarray(counts) / self.photon
        if not self.readout > 0:
            noise = noise_of_amplitude(mean)
            noise *= self.photon
            return noise
        c, squared = added / self.photon, (self.readout / self.photon) ** 2
        means, noises, dark_root = _table(self.readout / self.photon, c)
        expected = np.interp(mean, means, noises)
        dark = mean < means[0]
        root = np.sqrt(mean[dark] + c)
        expected[dark] = means[0] + c - 2 * dark_root * root + root**2
        bright = mean > means[-1]
        lam, variance = mean[bright] + c, mean[bright] + squared
        third = mean[bright] / (8 * lam**2)
        expected[bright] = variance / (4 * lam) - third + 15 * variance**2 / (64 * lam**3)
        return np.asarray(expected * self.photon, np.float64)

    def variance(self, counts: ArrayLike) -> Float:
        """Of readings with the mean ``counts``."""
        return np.asarray(self.photon * np.asarray(counts) + self.readout**2, np.float64)

    @property
    def dark(self) -> float:
        """The mean of readings without light, in counts."""
        return self.readout / float(np.sqrt(2 * np.pi))


@lru_cache(maxsize=8)
def _table(ratio: float, added: float) -> tuple[Float, Float, float]:
    """Means of readings (in photons) and the noise of their amplitudes, from no light on; and the
    mean root of a reading without light. ``ratio`` is that of readout noise to a photon, ``added``
    photons are under all roots."""
    z = np.linspace(-6, 6, 241)
    weight = np.exp(-(z**2) / 2)
    weight /= weight.sum()
    lam = np.linspace(0, np.sqrt(max(TABULATED, 20 * ratio)), 400) ** 2
    if ratio > SMEARED:
        readings = np.maximum(lam[:, None] + np.sqrt(lam[:, None] + ratio**2) * z, 0)
        mean, root = readings @ weight, np.sqrt(readings + added) @ weight
    else:
        from scipy.special import gammaln

        n = np.arange(MOST_PHOTONS)
        log_lam = np.log(np.maximum(lam, 1e-300))[:, None]
        poisson = np.exp(n * log_lam - lam[:, None] - gammaln(n + 1))
        readings = np.maximum(n[:, None] + ratio * z, 0)
        mean = poisson @ (readings @ weight)
        root = poisson @ (np.sqrt(readings + added) @ weight)
    noise = 2 * (mean + added) - 2 * np.sqrt(mean + added) * root
    return mean, noise, float(root[0])


def noise_of_patterns(patterns: NDArray[Any], good: NDArray[np.bool_]) -> DetectorNoise | None:
    """The noise of patterns (m, N, N), from what is too fine for light; None where it is not plain.

    Parameters
    ----------
    good : (N, N) pixels that measure.
    """
    some = patterns[: max(1, min(PATTERNS, VALUES // good.size))].astype(np.float32)
    first, second = (_fine(some, good, order) for order in ORDERS)
    if first is None or second is None:
        return None
    found = _fitted(*second)
    if found is None:
        return None
    # The same pixels by a filter that passes more of the light.
    other = _fitted(*first)
    top = float(second[0].max())
    if other is None or abs(other.variance(top) / found.variance(top) - 1) > ALIKE:
        return None
    return found


def noise_by_steps(patterns: NDArray[Any], good: NDArray[np.bool_]) -> DetectorNoise | None:
    """The noise of patterns (m, N, N) whose values come in steps; None for others.

    Where the noise is clearly more than that of so many photons, the steps are those of the digits.
    """
    quantum = photon_of_patterns(patterns[:, good])
    if quantum is None:
        return None
    counting = DetectorNoise(quantum)
    few = patterns[:: max(1, len(patterns) // FEW)][:FEW]
    seen = _fine(few.astype(np.float32), good, ORDERS[-1])
    # Dark readings whose noise is about a step vary as so many photons would: the lit ones tell.
    if seen is None or not (seen[1] > NOISIER * quantum * seen[0])[-LIT_BINS:].all():
        return counting
    found = noise_of_patterns(patterns, good)
    return found if found is not None and found.photon > NOISIER * quantum else counting


def beyond_counting(patterns: NDArray[Any], good: NDArray[np.bool_]) -> float | None:
    """How much more counts (m, N, N) vary where they are few than photons do, as a share.

    About 0 for counts, whatever the light is, and rarely above 0.2; about 0.3 where one was
    subtracted and what was negative set to 0, and 0.8 where five were, or small ones are missing.
    None where the bright ones are no counts, or nothing is dark, as of a detector that reads with
    noise.
    """
    some = patterns[: max(1, min(PATTERNS, VALUES // good.size))].astype(np.float32)
    seen = _fine(some, good, ORDERS[-1])
    if seen is None:
        return None
    bright = seen[0][-3:] > FEW_COUNTS[1]
    plain = (
        np.median((seen[1][-3:] / np.maximum(seen[0][-3:], 1e-30))[bright]) if any(bright) else 0
    )
    if not COUNTED[0] <= plain <= COUNTED[1]:
        return None
    shares = []
    # Few photons hide the light that coarser filters leave, which know the noise better.
    for order in COARSE:
        means, variances = _fine(some, good, order) or seen
        few = (means > FEW_COUNTS[0]) & (means < FEW_COUNTS[1])
        if means[0] > FEW_COUNTS[0] or not few.any():
            return None
        # A variance of n readings has the error (2 + 1 / mean) / n.
        weight = 1 / (1 + 2 * means[few])
        more = (variances - means)[few]
        shares.append(float((more * weight).sum() / (means[few] * weight).sum()))
    return min(shares)


def variance_of_counts(patterns: NDArray[Any], good: NDArray[np.bool_]) -> float | None:
    """The variance of bright readings (m, N, N) over their mean: 1 for counts of photons.

    None where filters disagree, as where light is as fine as noise or noise spreads over pixels.
    """
    some = patterns[: max(1, min(PATTERNS, VALUES // good.size))].astype(np.float32)
    found = []
    for order in (COARSE[0], ORDERS[-1]):
        seen = _fine(some, good, order)
        if seen is None:
            return None
        means, variances = seen
        bright = means > max(FEW_COUNTS[1], float(means[-4]))
        if not bright.any():
            return None
        found.append(float(np.median(variances[bright] / means[bright])))
    return found[1] if max(found) <= FILTERS_ALIKE * min(found) else None


def shared_with_next(patterns: NDArray[Any], good: NDArray[np.bool_]) -> float | None:
    """The share of its noise that each of the patterns (m, N, N) has in common with the next one,
    beyond what it has with those after that and by chance; None where too few pixels tell.

    Only pixels count where filtered readings vary as little as photons do, so that no light is left
    that neighbours have in common.
    """
    if len(patterns) < FEWEST_IN_A_ROW:
        return None
    kernel = _kernel(ORDERS[0])
    if min(good.shape) <= 2 * len(kernel):
        return None
    fine = _filtered(_filtered(patterns.astype(np.float32), kernel, 1), kernel, 2)
    around = _around(patterns.mean(axis=0, dtype=np.float64), kernel)
    variance = np.einsum("myx,myx->yx", fine, fine, dtype=np.float64) / len(fine)
    told = _usable(good, kernel) & (around > LEAST_LIGHT) & (variance > 0)
    if int(told.sum()) < FEWEST:
        return None
    steady = variance / np.where(told, around, 1.0)
    told &= steady < NO_LIGHT * np.quantile(steady[told], 0.25)
    noise = np.clip(fine[:, told] / np.sqrt(variance[told]), -TAIL, TAIL)
    whole = float((noise**2).mean())
    shares = [float((noise[k:] * noise[:-k]).mean()) / whole for k in (1, 2, 3)]
    shared = shares[0] - max(shares[1:])
    error = float(np.sqrt(FILTERED_ALIKE / noise.size))
    return shared if shared > SHARED_SIGMA * error else 0.0


@dataclass(frozen=True)
class RootNoise:
    """scatter : standard deviation of readings with the mean ``bright``, where counts of photons
    have the root of that."""

    scatter: float
    bright: float


def noise_of_roots(patterns: NDArray[Any], good: NDArray[np.bool_]) -> RootNoise | None:
    """The noise of whole numbers (m, N, N) that are rounded roots of counts; None for others.

    A root of counts has the variance 1/4, whatever the light, and 1/12 more when it is rounded.
    """
    some = patterns[:: max(1, len(patterns) // FEW)]
    seen = _fine(some[: max(1, min(FEW, VALUES // good.size))].astype(np.float32), good, ORDERS[-1])
    if seen is None:
        return None
    lit = seen[0] > ROOT_LIT
    means, variances = seen[0][lit], seen[1][lit]
    if len(means) < 2 or means[-1] < 2 * means[0]:
        return None
    low, high = ROOT_VARIANCE
    # Counts times a factor scatter the more the brighter they are.
    grown = (variances[-1] - variances[0]) / (means[-1] / means[0] - 1)
    if variances.min() < low or variances.max() > high or grown > ROOT_GROWTH:
        return None
    return RootNoise(float(np.sqrt(variances[-1])), float(means[-1]))


def _fine(
    patterns: NDArray[Any], good: NDArray[np.bool_], order: int
) -> tuple[Float, Float] | None:
    """Means (BINS,) of pixels, and the variance that a filter of this order leaves of them."""
    kernel = _kernel(order)
    if min(good.shape) <= 2 * len(kernel):
        return None
    power = _filtered(_filtered(patterns, kernel, 1), kernel, 2)
    variance = np.einsum("myx,myx->yx", power, power, dtype=np.float64) / len(patterns)
    around = _around(patterns.mean(axis=0, dtype=np.float64), kernel)
    usable = _usable(good, kernel)
    if int(usable.sum()) < FEWEST:
        return None
    means, variances = around[usable], variance[usable]
    bins = np.array_split(np.argsort(means, kind="stable"), BINS)
    return (
        np.array([means[one].mean() for one in bins]),
        np.array([variances[one].mean() for one in bins]),
    )


def _kernel(order: int) -> NDArray[np.float32]:
    """Differences of twice this order; of noise they leave the variance."""
    kernel = np.ones(1)
    for _ in range(order):
        kernel = np.convolve(kernel, (1.0, -2.0, 1.0))
    return np.asarray(kernel / np.sqrt((kernel**2).sum()), np.float32)


def _around(mean: Float, kernel: NDArray[np.float32]) -> Float:
    """The mean (N, N) of what is filtered, with the weights of the filter."""
    weights = kernel.astype(np.float64) ** 2
    return np.asarray(_filtered(_filtered(mean[None], weights, 1), weights, 2)[0])


def _usable(good: NDArray[np.bool_], kernel: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N, N) where a filter meets good pixels only."""
    ones = np.ones(len(kernel))
    found = _filtered(_filtered((~good).astype(float)[None], ones, 1), ones, 2)[0] < 0.5
    return np.asarray(found, bool)


def _filtered(values: NDArray[Any], kernel: NDArray[Any], axis: int) -> NDArray[Any]:
    """Values (m, H, W) filtered along an axis, on which patterns repeat as their transforms do."""
    half, length = len(kernel) // 2, values.shape[axis]
    moved = np.moveaxis(values, axis, 0)
    wide = np.concatenate([moved[-half:], moved, moved[:half]])
    total = np.zeros_like(moved)
    for k, weight in enumerate(kernel):
        total += weight * wide[k : k + length]
    return np.moveaxis(total, 0, axis)


def _fitted(means: Float, variances: Float) -> DetectorNoise | None:
    """Photon and readout noise for which pixels of these means have these variances."""
    # A scan is prepared for every trial of it, with the same patterns.
    return _fit_of(means.tobytes(), variances.tobytes())


@lru_cache(maxsize=32)
def _fit_of(means_bytes: bytes, variances_bytes: bytes) -> DetectorNoise | None:
    means, variances = np.frombuffer(means_bytes), np.frombuffer(variances_bytes)
    lit = (means > 0) & (variances > 0)
    means, variances = means[lit], variances[lit]
    if len(means) < BINS // 2:
        return None
    # Readings without light, set to 0 where negative, have these moments for a noise of 1.
    photon, least = float((variances / means)[-4:].max()), float(variances.min() / 0.341)
    tried = _around_these([(photon, least)], 4.0, 9)
    # Light and noise make up for each other: the best of a coarse grid may lie in a side valley.
    for reach in (1.4, 1.2, 1.06):
        tried = _around_these(_best_of(tried, means, variances, STARTS), reach, 5)
    (photon, squared) = _best_of(tried, means, variances, 1)[0]
    off = _off(means, variances, photon, squared)
    if off > FITS:
        return None
    readout = float(np.sqrt(squared))
    return DetectorNoise(photon, readout if readout > SEEN * photon else 0.0)


def _around_these(
    starts: list[tuple[float, float]], reach: float, steps: int
) -> list[tuple[float, float]]:
    """Pairs of a photon and a squared noise around each of these, and without that noise."""
    factors = [float(f) for f in np.geomspace(1 / reach, reach, steps)]
    return [(q * f, squared * g) for q, squared in starts for f in factors for g in (0.0, *factors)]


def _best_of(
    tried: list[tuple[float, float]], means: Float, variances: Float, count: int
) -> list[tuple[float, float]]:
    """Those with which pixels of these means come nearest to these variances."""
    return sorted(set(tried), key=lambda pair: _off(means, variances, *pair))[:count]


def _off(means: Float, variances: Float, photon: float, squared: float) -> float:
    """How far, as the mean logarithm."""
    model = clipped_variance(means, photon, squared)
    return float(np.abs(np.log(variances / np.maximum(model, 1e-300))).mean())
