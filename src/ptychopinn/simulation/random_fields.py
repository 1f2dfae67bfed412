"""Gaussian random fields with a given power spectrum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


def random_fields(
    count: int, shape: tuple[int, int], rng: np.random.Generator, gain: Callable[[Any, Any], Real]
) -> Real:
    """Independent fields (count, H, W) of unit standard deviation and mean 0, not periodic.

    gain : of the spatial frequencies (ky, kx) in cycles per pixel, the root of the power spectrum.
    """
    height, width = (size + size // 4 for size in shape)  # cut out later: not periodic
    ky = np.fft.fftfreq(height)[:, None]
    kx = np.fft.rfftfreq(width)[None, :]
    filtered = gain(ky, kx)
    filtered[0, 0] = 0.0
    white = rng.standard_normal((count, height, width))
    fields = np.fft.irfft2(np.fft.rfft2(white) * filtered, s=(height, width))
    fields /= fields.std(axis=(1, 2), keepdims=True)
    cut: Real = fields[:, : shape[0], : shape[1]]
    return cut
