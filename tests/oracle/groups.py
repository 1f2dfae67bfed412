"""Groups of overlapping patches: one common object per group.

A group holds C patches at offsets o_k = r_k - mean(r). Each offset is split into a whole pixel d_k
and a remainder f_k. *Merge* moves every patch by o_k onto the group canvas and averages with a
weight w,

    O(v) = sum_k T[o_k](w) S[o_k](O_k) / sum_k T[o_k](w),

T a Fourier shift by f_k followed by whole pixels, S the same for a patch, which is not periodic
(see :func:`shift_patches`). The same moved weight, always positive, stands above and below: the
result is a mean of the moved patches, a constant object stays constant whatever w is, and the
object stays bounded where the weight fades. *Extract* cuts the patch at d_k out of the
canvas; what remains, f_k, moves the probe, exactly as in :mod:`oracle.forward`. No
group sees another group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.forward import fft, fourier_shift

# A patch keeps this share of the largest weight, times its taper, where the probe is dark: above
# the rounding of single precision, below what the light there could tell. Without a patch: FILL.
FLOOR = 1e-5
FILL = 1.0
# Value of the taper at the border of a patch: small enough that the jump across the periodic border
# hardly rings, large enough that dividing by the taper amplifies little.
TAPER_RIM = 0.05


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


def taper(n: int, fraction: NDArray[Any]) -> NDArray[np.float64]:
    """Hann window on a rim, (..., n, n), moved by ``fraction`` (..., 2): largest in the middle."""
    u = np.arange(n)
    y = np.sin(np.pi * (u - fraction[..., 0, None]) / n) ** 2
    x = np.sin(np.pi * (u - fraction[..., 1, None]) / n) ** 2
    return TAPER_RIM + (1 - TAPER_RIM) * y[..., :, None] * x[..., None, :]


def shift_patches(patches: NDArray[Any], fraction: NDArray[Any]) -> NDArray[np.complex128]:
    """Move patches (..., N, N), which are not periodic, by ``fraction`` (..., 2) of a pixel.

    S[f](O) = T[f](h O) / T[f](h) with T the Fourier shift and h the :func:`taper`. Constants are
    kept exactly, and the jump between opposite borders, where h is small, does not ring through the
    patch.
    """
    n = patches.shape[-1]
    moved = fourier_shift(taper(n, np.zeros(2)) * patches, fraction) / taper(n, fraction)
    return moved.astype(np.complex128)


def shift_weight(weight: NDArray[Any], fraction: NDArray[Any]) -> NDArray[np.float64]:
    """The weight (N, N) moved by ``fraction`` (..., 2) of a pixel, (..., N, N), always positive."""
    floor = FLOOR * weight.max() * taper(weight.shape[-1], fraction)
    return fourier_shift(weight, fraction).real.clip(min=0) + floor


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
    below = np.zeros(above.shape)
    moved = shift_weight(weight, fraction)
    np.add.at(above, index, moved * shift_patches(patches, fraction))
    np.add.at(below, index, moved)
    covered = below > 0
    return np.where(covered, above / np.where(covered, below, 1), FILL)


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
