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
    correlation, half_bit, one_bit : (R,) float64
        The correlation, and the 1/2-bit and the 1-bit threshold, which depend on the size of the
        ring.
    half_bit_crossing, one_bit_crossing, fixed_crossing : float or None
        First frequency, as a fraction of Nyquist, where the correlation falls below the 1/2-bit
        threshold, the 1-bit threshold and 0.143; None when it stays above up to Nyquist: the
        resolution is then limited by the pixels.
    half_bit_resolution_m, one_bit_resolution_m, fixed_resolution_m : float or None
        Half a period in metres, ``pixel_size / fraction``; None also without pixel size.
    """

    frequency: Float
    correlation: Float
    half_bit: Float
    one_bit: Float
    half_bit_crossing: float | None
    one_bit_crossing: float | None
    fixed_crossing: float | None
    half_bit_resolution_m: float | None
    one_bit_resolution_m: float | None
    fixed_resolution_m: float | None
    fixed: float = 0.143

    def to_json(self) -> dict[str, Any]:
        """Plain data: the curve, the thresholds, and where it crosses them."""
        curves = {
            "frequency_fraction_of_nyquist": self.frequency,
            "correlation": self.correlation,
            "half_bit_threshold": self.half_bit,
            "one_bit_threshold": self.one_bit,
        }
        return {
            **{name: [round(v, 6) for v in curve.tolist()] for name, curve in curves.items()},
            "half_bit_crossing": self.half_bit_crossing,
            "one_bit_crossing": self.one_bit_crossing,
            "fixed_threshold": self.fixed,
            "fixed_crossing": self.fixed_crossing,
        }


def bit_threshold(samples: Float, bits: float) -> Float:
    """The correlation of two halves of the data at which both together hold ``bits`` of information
    per pixel, for rings of ``samples`` independent values n (van Heel & Schatz, J. Struct. Biol.
    151, 250 (2005)).

    ``(s + 2 sqrt(s/n) + 1/sqrt(n)) / (1 + s + 2 sqrt(s/n))`` with the ratio of signal and noise of
    a half, s = (2^bits - 1) / 2.
    """
    ratio = (2**bits - 1) / 2
    root = 1 / np.sqrt(samples)
    mixed = 2 * np.sqrt(ratio) * root
    return (ratio + mixed + root) / (1 + ratio + mixed)


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
    """FRC of two aligned complex objects (h, w) of the same region; see :func:`ring_curve`."""
    return judged_curve(ring_curve(first, second), pixel_size_m)


def ring_curve(first: NDArray[Any], second: NDArray[Any]) -> Float:
    """Frequency as a fraction of Nyquist, correlation and number of independent values of each
    ring (3, R), of two aligned complex objects (h, w) of the same region.

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
    samples = np.maximum(total(np.ones((h, w))) * independent, 1.0)
    correlation[0] = 1.0  # ring 0 is the mean, which was removed
    frequency = np.minimum(np.arange(rings) / side * 2, 1.0)
    return np.stack((frequency, correlation, samples))


def judged_curve(curve: Float, pixel_size_m: float | None = None) -> FourierRingCorrelation:
    """What :func:`ring_curve` gave, with its thresholds and crossings."""
    frequency, correlation, samples = curve
    half, one = (bit_threshold(samples, bits) for bits in (0.5, 1.0))
    half[0] = one[0] = 1.0
    fixed = np.full(len(samples), FourierRingCorrelation.fixed)
    crossings = [first_crossing(frequency, correlation, limit) for limit in (half, one, fixed)]
    meters = [
        None if c is None or pixel_size_m is None or c <= 0 else float(pixel_size_m / c)
        for c in crossings
    ]
    return FourierRingCorrelation(
        frequency,
        correlation,
        half,
        one,
        half_bit_crossing=crossings[0],
        one_bit_crossing=crossings[1],
        fixed_crossing=crossings[2],
        half_bit_resolution_m=meters[0],
        one_bit_resolution_m=meters[1],
        fixed_resolution_m=meters[2],
    )
