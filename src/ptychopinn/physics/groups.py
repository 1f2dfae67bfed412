"""Groups of overlapping patches: one common object per group.

A group holds C patches at offsets o_k = r_k - mean(r). Each offset is split into a whole pixel d_k
and a remainder f_k. *Merge* moves every patch by o_k onto the group canvas and averages with a
weight w,

    O(v) = sum_k T[o_k](w O_k) / sum_k T[o_k](w),

T a Fourier shift by f_k followed by whole pixels; the same w stands above and below, so a constant
object stays constant whatever w is. *Extract* cuts the patch at d_k out of the canvas; what
remains, f_k, moves the probe, exactly as in :mod:`ptychopinn.physics.forward`. No group sees
another group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.physics.forward import fft, fourier_shift

# Canvas pixels with less than this share of the largest weight count as not covered by any patch.
COVERED = 1e-6
FILL = 1.0


def merge_weight(probe: NDArray[Any]) -> NDArray[np.float64]:
    """Weight (N, N) of a patch: where the probe is bright, and zero at the border of the array.

    The illumination sum_p |P_p|^2, smoothed by a Gaussian of N/32 pixels so that it can be shifted
    by fractions of a pixel, times a Hann window, largest value one.
    """
    n = probe.shape[-1]
    density = (np.abs(np.asarray(probe, dtype=np.complex128)) ** 2).sum(axis=0)
    k = np.fft.fftfreq(n)
    blur = np.exp(-2 * (np.pi * n / 32) ** 2 * (k[:, None] ** 2 + k[None, :] ** 2))
    smooth = np.fft.ifft2(np.fft.fft2(density) * blur).real.clip(min=0)
    window = np.sin(np.pi * np.arange(n) / n) ** 2
    weight = smooth * window[:, None] * window[None, :]
    return weight / weight.max()


def split_offsets(offsets_px: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Whole pixels d (B, C, 2) and remainders f in [-0.5, 0.5) of group offsets (B, C, 2)."""
    whole = np.floor(np.asarray(offsets_px, dtype=np.float64) + 0.5)
    return whole.astype(np.int64), offsets_px - whole


def _index(whole: NDArray[np.int64], n: int, reach: int) -> tuple[NDArray[np.int64], ...]:
    u = np.arange(n)
    group = np.arange(whole.shape[0])[:, None, None, None]
    rows = (whole[..., 0] + reach)[..., None, None] + u[:, None]
    columns = (whole[..., 1] + reach)[..., None, None] + u[None, :]
    return group, rows, columns


def merge(
    patches: NDArray[Any], offsets_px: NDArray[Any], weight: NDArray[Any], reach: int
) -> NDArray[np.complex128]:
    """Merge patches (B, C, N, N) into group canvases (B, L, L) with L = N + 2*reach.

    ``reach`` is at least the largest whole-pixel offset. Pixels that no patch covers are 1.
    """
    n = patches.shape[-1]
    whole, fraction = split_offsets(offsets_px)
    index = _index(whole, n, reach)
    size = n + 2 * reach
    above = np.zeros((patches.shape[0], size, size), dtype=np.complex128)
    below = np.zeros_like(above)
    np.add.at(above, index, fourier_shift(weight * patches, fraction))
    np.add.at(below, index, fourier_shift(np.broadcast_to(weight, patches.shape), fraction))
    covered = below.real > COVERED * weight.max()
    return np.where(covered, above / np.where(covered, below.real, 1), FILL)


def extract(
    canvas: NDArray[Any], offsets_px: NDArray[Any], n: int, reach: int
) -> NDArray[np.complex128]:
    """Cut the patches (B, C, N, N) at the whole-pixel offsets out of group canvases (B, L, L)."""
    whole, _ = split_offsets(offsets_px)
    return canvas[_index(whole, n, reach)]


def group_intensities(
    patches: NDArray[Any],
    offsets_px: NDArray[Any],
    probe: NDArray[Any],
    weight: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Expected intensities (B, C, N, N) of merged patches: merge, extract, illuminate, propagate.

    ``weight`` (N, N) defaults to :func:`merge_weight` of the probe (P, N, N).
    """
    w = merge_weight(probe) if weight is None else weight
    whole, fraction = split_offsets(offsets_px)
    reach = int(np.abs(whole).max())
    common = extract(merge(patches, offsets_px, w, reach), offsets_px, patches.shape[-1], reach)
    shifted = fourier_shift(probe, fraction[..., None, :])
    return (np.abs(fft(shifted * common[:, :, None])) ** 2).sum(axis=2)
