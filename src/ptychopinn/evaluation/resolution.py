"""Resolution by Fourier ring correlation of two complex objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

# The innermost rings hold too few independent samples to look for a crossing.
_FIRST_RING = 3


@dataclass(frozen=True, eq=False)
class FourierRingCorrelation:
    """A ring correlation curve and where it first falls below two thresholds.

    Attributes
    ----------
    frequency : (R,) float64
        Ring radii as fractions of the Nyquist frequency (1 = half a cycle per pixel).
    correlation, half_bit : (R,) float64
        The correlation, and the 1/2-bit threshold, which depends on the size of the ring.
    half_bit_crossing, fixed_crossing : float or None
        First frequency, as a fraction of Nyquist, where the correlation falls below the 1/2-bit
        threshold and below 0.143; None when it stays above up to Nyquist: the resolution is
        then limited by the pixels.
    half_bit_resolution_m, fixed_resolution_m : float or None
        Half a period in metres, ``pixel_size / fraction``; None also without pixel size.
    """

    frequency: Float
    correlation: Float
    half_bit: Float
    half_bit_crossing: float | None
    fixed_crossing: float | None
    half_bit_resolution_m: float | None
    fixed_resolution_m: float | None
    fixed: float = 0.143


def half_bit_threshold(samples: Float) -> Float:
    """1/2-bit threshold for rings of ``samples`` independent values (van Heel & Schatz, 2005).

    ``(0.2071 + 1.9102/sqrt(n)) / (1.2071 + 0.9102/sqrt(n))``
    """
    root = 1 / np.sqrt(samples)
    return (0.2071 + 1.9102 * root) / (1.2071 + 0.9102 * root)


def first_crossing(frequency: Float, curve: Float, threshold: Float) -> float | None:
    """Where ``curve`` first falls below ``threshold``, linear between samples; or None."""
    gap = curve - threshold
    below = np.flatnonzero(gap[_FIRST_RING:] < 0)
    if below.size == 0:
        return None
    after = int(below[0]) + _FIRST_RING
    before = after - 1
    if gap[before] <= 0:
        return float(frequency[after])
    part = gap[before] / (gap[before] - gap[after])
    return float(frequency[before] + part * (frequency[after] - frequency[before]))


def fourier_ring_correlation(
    first: NDArray[Any], second: NDArray[Any], pixel_size_m: float | None = None
) -> FourierRingCorrelation:
    """FRC of two aligned complex objects (h, w) of the same region.

    ``FRC(q) = Re sum(F1 conj(F2)) / sqrt(sum(abs(F1)^2) sum(abs(F2)^2))`` over rings of |q| one
    Fourier pixel wide (1/min(h, w) cycles per pixel). Means are removed and a Hann window fades the
    borders, since the region is not periodic. The window ties neighbouring Fourier pixels together:
    a ring of n pixels holds ``n * (sum w^2)^2 / (h w sum w^4)`` = 0.26 n independent values, which
    is what the 1/2-bit threshold uses.
    """
    import scipy.fft

    h, w = first.shape
    window = np.hanning(h + 2)[1:-1, None] * np.hanning(w + 2)[None, 1:-1]
    spectra = []
    for field in (first, second):
        mean = (field * window).sum() / window.sum()
        spectra.append(scipy.fft.fft2((field - mean) * window))
    one, two = spectra
    side = min(h, w)
    radius = np.hypot(scipy.fft.fftfreq(h)[:, None], scipy.fft.fftfreq(w)[None, :])
    ring = np.floor(radius * side + 0.5).astype(np.intp).ravel()
    rings = side // 2 + 1

    def total(values: NDArray[Any]) -> Float:
        sums = np.bincount(ring, weights=values.ravel(), minlength=rings)
        return np.asarray(sums[:rings], dtype=np.float64)

    power = total(np.abs(one) ** 2) * total(np.abs(two) ** 2)
    cross = total((one * np.conj(two)).real)
    correlation = np.divide(cross, np.sqrt(power), out=np.zeros(rings), where=power > 0)
    independent = (window**2).sum() ** 2 / (window.size * (window**4).sum())
    threshold = half_bit_threshold(np.maximum(total(np.ones((h, w))) * independent, 1.0))
    # Ring 0 is the mean, which was removed.
    correlation[0], threshold[0] = 1.0, 1.0
    frequency = np.minimum(np.arange(rings) / side * 2, 1.0)
    fixed = np.full(rings, FourierRingCorrelation.fixed)
    crossings = [first_crossing(frequency, correlation, limit) for limit in (threshold, fixed)]
    meters = [
        None if c is None or pixel_size_m is None or c <= 0 else float(pixel_size_m / c)
        for c in crossings
    ]
    return FourierRingCorrelation(
        frequency, correlation, threshold, crossings[0], crossings[1], meters[0], meters[1]
    )
