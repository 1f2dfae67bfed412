"""Groups of overlapping patches: one common object per group.

A group holds C patches at offsets o_k = r_k - mean(r). Each offset is split into a whole pixel d_k
and a remainder f_k. *Merge* moves every patch by o_k onto the group canvas and averages with a
weight w,

    O(v) = sum_k T[o_k](w) S[o_k](O_k) / sum_k T[o_k](w),

T a Fourier shift by f_k followed by whole pixels, S the same for a patch, which is not periodic
(see :func:`shift_patches`). The same moved weight, always positive, stands above and below: the
result is a mean of the moved patches, a constant object stays constant whatever w is, and the
object stays bounded where the weight fades. *Extract* cuts the patch at d_k out of the
canvas; what remains, f_k, moves the probe, exactly as in :mod:`ptychopinn.physics.forward`. No
group sees another group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.forward import illumination, intensity
from ptychopinn.physics.geometry import probe_intensity
from ptychopinn.physics.propagators import Propagator, fourier_shift

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
    k = np.fft.fftfreq(n)
    blur = np.exp(-2 * (np.pi * n / 32) ** 2 * (k[:, None] ** 2 + k[None, :] ** 2))
    smooth = np.fft.ifft2(np.fft.fft2(probe_intensity(probe)) * blur).real.clip(min=0)
    window = np.sin(np.pi * np.arange(n) / n) ** 2
    weight = smooth * window[:, None] * window[None, :]
    return weight / weight.max()


def split_offsets(xp: Ops, offsets_px: Array) -> tuple[Array, Array]:
    """Whole pixels d and remainders f in [-0.5, 0.5) of group offsets (B, C, 2), real numbers."""
    whole = xp.floor(offsets_px + 0.5)
    return whole, offsets_px - whole


def taper(xp: Ops, n: Any, fraction: Array) -> Array:
    """Hann window on a rim, (..., n, n), moved by ``fraction`` (..., 2): largest in the middle."""
    u, k = xp.arange(n, fraction), np.pi / xp.number(n, fraction)
    y = xp.square(xp.sin((u - fraction[..., 0, None]) * k))
    x = xp.square(xp.sin((u - fraction[..., 1, None]) * k))
    return TAPER_RIM + (1 - TAPER_RIM) * y[..., :, None] * x[..., None, :]


def shift_patches(xp: Ops, patches: Array, fraction: Array) -> Array:
    """Move patches (..., N, N), which are not periodic, by ``fraction`` (..., 2) of a pixel.

    S[f](O) = T[f](h O) / T[f](h) with T the Fourier shift and h the :func:`taper`. Constants are
    kept exactly, and the jump between opposite borders, where h is small, does not ring through the
    patch.
    """
    n, shift = xp.shape(patches)[-1], xp.astype(fraction, patches)
    tapered = xp.scaled(patches, taper(xp, n, xp.zeros_like(shift)))
    return xp.scaled(fourier_shift(xp, tapered, shift), 1 / taper(xp, n, shift))


def shift_weight(xp: Ops, weight: Array, fraction: Array) -> Array:
    """The weight (N, N) moved by ``fraction`` (..., 2) of a pixel, (..., N, N), always positive."""
    shift = xp.astype(fraction, weight)
    floor = taper(xp, xp.shape(weight)[-1], shift) * (FLOOR * xp.max(weight))
    field = xp.complex(weight, xp.zeros_like(weight))
    return xp.maximum(xp.real(fourier_shift(xp, field, shift)), 0) + floor


def group_places(xp: Ops, whole: Array, n: Any, reach: Any) -> tuple[Array, Any]:
    """Where patches (B*C) lie in group canvases laid out one after the other, and the side L."""
    size = n + 2 * reach
    groups, members = xp.shape(whole)[:2]
    first = xp.reshape(xp.integers(groups, whole) * (size * size), (groups, 1))
    first = xp.reshape(xp.broadcast_to(first, (groups, members)), (groups * members,))
    corner = xp.reshape(xp.as_index(whole) + reach, (groups * members, 2))
    return xp.places(corner, n, size, first), size


def merge(xp: Ops, patches: Array, offsets_px: Array, weight: Array, reach: Any) -> Array:
    """Merge patches (B, C, N, N) into group canvases (B, L, L) with L = N + 2*reach.

    ``reach`` is at least the largest whole-pixel offset. Pixels that no patch covers are 1.
    """
    groups, members, n = xp.shape(patches)[:3]
    whole, fraction = split_offsets(xp, offsets_px)
    places, size = group_places(xp, whole, n, reach)
    shift = xp.reshape(fraction, (groups * members, 2))
    moved = shift_weight(xp, weight, shift)
    shifted = shift_patches(xp, xp.reshape(patches, (groups * members, n, n)), shift)
    pixels = groups * size * size
    above = xp.plus(None, xp.spread(xp.scaled(shifted, moved), places, pixels))
    below = xp.plus(None, xp.spread(moved, places, pixels))
    covered = below > 0
    merged = xp.scaled(above, 1 / xp.where(covered, below, xp.ones_like(below)))
    filled = xp.where(covered, merged, FILL * xp.ones_like(merged))
    return xp.reshape(filled, (groups, size, size))


def extract(xp: Ops, canvas: Array, offsets_px: Array, n: Any, reach: Any) -> Array:
    """Cut the patches (B, C, N, N) at the whole-pixel offsets out of group canvases (B, L, L)."""
    whole, _ = split_offsets(xp, offsets_px)
    places, _ = group_places(xp, whole, n, reach)
    return xp.reshape(xp.gather(canvas, places, n), (*xp.shape(offsets_px)[:2], n, n))


def common_patches(xp: Ops, patches: Array, offsets_px: Array, weight: Array, reach: Any) -> Array:
    """Patches (B, C, N, N) after merging each group into one object and cutting them out again."""
    merged = merge(xp, patches, offsets_px, weight, reach)
    return extract(xp, merged, offsets_px, xp.shape(patches)[-1], reach)


def reach_of(offsets_px: NDArray[np.float64]) -> int:
    """The largest whole-pixel offset of groups (B, C, 2)."""
    return int(np.abs(np.floor(offsets_px + 0.5)).max())


def group_intensities(
    xp: Ops,
    propagator: Propagator,
    patches: Array,
    offsets_px: Array,
    probe: Array,
    weight: Array,
    reach: Any,
) -> Array:
    """Expected intensities (B, C, N, N), in the order of the fields, of merged patches under
    ``probe`` (P, N, N): merge, extract, illuminate, propagate."""
    groups, members, n = xp.shape(patches)[:3]
    _, fraction = split_offsets(xp, offsets_px)
    common = common_patches(xp, patches, offsets_px, weight, reach)
    shift = xp.astype(xp.reshape(fraction, (groups * members, 2)), patches)
    waves = illumination(xp, probe, shift) * xp.reshape(common, (groups * members, 1, n, n))
    fields = propagator.forward(xp, waves, shift)
    return xp.reshape(intensity(xp, propagator, fields), (groups, members, n, n))
