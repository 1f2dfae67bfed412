"""What photon noise alone does to the amplitudes of a pattern, and what shows more than noise."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Float = NDArray[np.float64]

# A larger share of the counts left unexplained beyond the photon noise is a poor fit.
POOR_EXCESS = 0.05

# Structure is what a flat object leaves unexplained beyond the photon noise. Less than this share
# of the counts, or of the noise, cannot be told from none.
STRUCTURE_OF_COUNTS = 0.005
STRUCTURE_OF_NOISE = 0.1

# Above this expectation the asymptotic series of the noise is exact to 1e-5; below it is tabulated.
_ASYMPTOTIC_FROM = 36.0
_TABLE_DENSITY = 1000
# Below every ratio of a count to its expectation.
NO_COUNT = 1e-30


@lru_cache(maxsize=1)
def _noise_table() -> Float:
    """E[(sqrt(n) - sqrt(lam))^2] on a fine grid of t = sqrt(lam), by summing over n, and what it
    grows by from each point to the next.

    As a function of t the expectation is smooth down to zero (2 t^2 - 2 t^3 + ...), so that linear
    interpolation with this step is exact to 1e-6.
    """
    from scipy.special import gammaln

    # Two points more than needed: the last interval is always complete.
    t = np.arange(round(np.sqrt(_ASYMPTOTIC_FROM) * _TABLE_DENSITY) + 2) / _TABLE_DENSITY
    # 120 is 14 standard deviations above the largest tabulated mean of 36; n = 0 adds nothing.
    n = np.arange(1, 121)
    log_lam = 2 * np.log(np.maximum(t, 1e-150))[:, None]
    mean_root = np.exp(n * log_lam - t[:, None] ** 2 - gammaln(n + 1)) @ np.sqrt(n)
    table = 2 * t**2 - 2 * t * mean_root
    steps: Float = np.stack([table[:-1], np.diff(table)])
    steps.flags.writeable = False
    return steps


@lru_cache(maxsize=1)
def _short_noise_table() -> NDArray[np.float32]:
    """The same in single precision."""
    return _noise_table().astype(np.float32)


def noise_of_amplitude(lam: ArrayLike) -> Array:
    """E[(sqrt(n) - sqrt(lam))^2] for n ~ Poisson(lam), elementwise; in single precision where
    ``lam`` is.

    Since E[n] = lam it equals ``2*lam - 2*sqrt(lam)*E[sqrt(n)]``. Up to lam = 36 the sum over n is
    tabulated; above, E[sqrt(n)] = sqrt(lam)*(1 - 1/(8 lam) - 7/(128 lam^2) - 75/(1024 lam^3) - ...)
    gives ``1/4 * (1 + 7/(16 lam) + 75/(128 lam^2))``. (The better known 1/4*(1 + 3/(8 lam)) is the
    *variance* of sqrt(n); here the bias of sqrt(n) counts too.)
    """
    mean = np.asarray(lam)
    short = mean.dtype == np.float32
    mean = mean if short else mean.astype(np.float64)
    start, growth = _short_noise_table() if short else _noise_table()
    place = np.sqrt(np.minimum(mean, _ASYMPTOTIC_FROM)) * _TABLE_DENSITY
    whole = np.floor(place)
    left = whole.astype(np.intp)
    place -= whole
    place *= growth.take(left)
    place += start.take(left)
    if np.max(mean, initial=0) > _ASYMPTOTIC_FROM:
        inverse = 1 / np.maximum(mean, _ASYMPTOTIC_FROM)
        series = inverse * (7 / 16 + inverse * (75 / 128))
        place = np.where(mean > _ASYMPTOTIC_FROM, 0.25 + 0.25 * series, place)
    return place


def deviance_terms(model: Array, measured: Array) -> Array:
    """``2*(I_hat - I + I*log(I/I_hat))`` per pixel, with ``0*log 0 = 0``.

    Infinite where a count was measured and none is expected.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.asarray(measured / model)
        # Of no count the logarithm does not matter, if it is finite.
        np.fmax(ratio, NO_COUNT, out=ratio)
        terms = np.log(ratio, out=ratio)
        terms *= measured
    terms += model
    terms -= measured
    terms *= 2
    return terms


def shows_structure(structure: float, noise: float) -> bool:
    """Whether patterns show more than noise: ``structure`` and ``noise`` per count, see above."""
    return structure > max(STRUCTURE_OF_COUNTS, STRUCTURE_OF_NOISE * noise)
