"""Small aberrations of a probe in the far field: phases in its pupil."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def aberrated(probe: NDArray[np.complex64], phase: float) -> list[NDArray[np.complex64]]:
    """The probe (P, N, N) shifted along y and x, defocused, with astigmatism along the axes and the
    diagonals, and with coma along y and x: the polynomials y, x, r^2, y^2 - x^2, 2 x y, r^2 y and
    r^2 x of the pupil, each times ``phase`` in rad.

    The pupil is measured from its centre of light, in units of its rms radius.
    """
    pupil = np.fft.fft2(probe)
    weight = (np.abs(pupil) ** 2).sum(axis=0)
    weight = weight / max(float(weight.sum()), 1e-300)
    q = np.fft.fftfreq(probe.shape[-1])
    y, x = np.meshgrid(q, q, indexing="ij")
    y, x = y - float((weight * y).sum()), x - float((weight * x).sum())
    radius = max(float(np.sqrt((weight * (y**2 + x**2)).sum())), 1e-300)
    y, x = y / radius, x / radius
    square = y**2 + x**2
    ways = (y, x, square, y**2 - x**2, 2 * x * y, square * y, square * x)
    return [np.fft.ifft2(pupil * np.exp(1j * phase * way)).astype(np.complex64) for way in ways]
