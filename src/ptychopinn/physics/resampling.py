"""A probe for another window of the detector: a larger or smaller one, and larger pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def resampled_probe(probe: NDArray[Any], edge: int, n: int) -> NDArray[np.complex128]:
    """The probe of a detector that is cropped or padded to ``edge`` pixels and binned to ``n``.

    Parameters
    ----------
    probe : (P, M, M) complex, for M x M detector pixels, centred.
    edge : pixels of the new window along its edge, even; its middle is that of the old one.
    n : edge of the patterns once the pixels of the window are binned; ``edge`` is a multiple.

    Returns
    -------
    (P, n, n): the waves that reach the window, on object pixels M / edge times as large as before;
    of those the middle n x n, because larger detector pixels see a smaller field. The power is that
    of the window and the field.
    """
    m = probe.shape[-1]
    waves = _transform(probe.astype(np.complex128), inverse=False)
    window = _middle(waves, edge)
    return _middle(_transform(window, inverse=True), n) if edge != m else _middle(probe, n)


def _middle(array: NDArray[Any], size: int) -> NDArray[Any]:
    """(..., size, size) around pixel [M/2, M/2]; what is outside is zero."""
    m = array.shape[-1]
    first = m // 2 - size // 2
    if first >= 0:
        return array[..., first : first + size, first : first + size]
    out = np.zeros((*array.shape[:-2], size, size), array.dtype)
    out[..., -first : -first + m, -first : -first + m] = array
    return out


def _transform(array: NDArray[Any], inverse: bool) -> NDArray[np.complex128]:
    transform = np.fft.ifft2 if inverse else np.fft.fft2
    moved = np.fft.ifftshift(array, axes=(-2, -1))
    return np.asarray(np.fft.fftshift(transform(moved, norm="ortho"), axes=(-2, -1)))
