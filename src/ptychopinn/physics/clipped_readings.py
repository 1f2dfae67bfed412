"""The moments of readings of a detector with noise, set to 0 where they are negative."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

# Up to so many photons, and some times the readout noise, distributions are tabulated.
TABULATED = 36.0
# More photons than these do not come where the mean is 40: 15 standard deviations above it.
MOST_PHOTONS = 161


def clipped_variance(means: Float, photon: float, squared: float) -> Float:
    """The variance of readings whose mean is this after negative ones were set to 0.

    Of few photons, each far above the noise of a reading, that is no normal distribution: the dark
    readings lie on zero and what one photon gives stands alone.
    """
    if not squared > 0:
        return photon * means
    from scipy.special import ndtr

    light, chances = _chances()
    ratio = np.sqrt(squared) / photon
    x = np.arange(chances.shape[1]) / ratio
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    above = ndtr(x)
    first = chances @ (ratio * (x * above + density))
    second = chances @ (ratio**2 * ((x**2 + 1) * above + x * density))
    # Of so many photons that hardly any reading is set to 0, unless the noise is more than they.
    bright = np.geomspace(1.05, 1e3, 40) * max(light[-1], 20 * ratio)
    more = np.geomspace(light[-1], bright[0], 20)[1:-1]
    spread = np.sqrt(more + ratio**2)
    x = more / spread
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    mean = spread * (x * ndtr(x) + density)
    square = spread**2 * ((x**2 + 1) * ndtr(x) + x * density)
    return photon**2 * np.interp(
        means / photon,
        np.concatenate([first, mean, bright]),
        np.concatenate([second - first**2, square - mean**2, bright + ratio**2]),
    )


@lru_cache(maxsize=1)
def _chances() -> tuple[Float, Float]:
    """Means of photons (L,) from none on, and (L, n) the chance of each number of them."""
    from scipy.special import gammaln

    light = np.concatenate([np.zeros(1), np.geomspace(1e-3, TABULATED, 60)])
    n = np.arange(MOST_PHOTONS)
    log_light = np.log(np.maximum(light, 1e-300))[:, None]
    return light, np.exp(n * log_light - light[:, None] - gammaln(n + 1))
