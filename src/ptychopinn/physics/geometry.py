"""Where patterns lie on the canvas of an object: whole pixels, remainders, illumination, overlap.

Positions are (y, x) in object pixels and say where the pixel [N/2, N/2] of a patch lies. A position
is split into the nearest whole pixel and a remainder in [-0.5, 0.5): patches are cut out at whole
pixels, the remainder moves the probe (see :mod:`ptychopinn.physics.forward`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating[Any, Any]]
Real = NDArray[np.floating[Any]]
Index = NDArray[np.int64]


def split_positions(
    positions_px: Real, n: int, origin_px: Any = (0, 0)
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Whole-pixel patch corners on the canvas, (..., 2) int64, and remainders (..., 2) in [-0.5,
    0.5).

    ``origin_px`` is the (y, x) position of canvas pixel [0, 0].
    """
    positions = np.asarray(positions_px, dtype=np.float64)
    nearest = np.floor(positions + 0.5)
    corner = nearest.astype(np.int64) - n // 2 - np.asarray(origin_px, dtype=np.int64)
    return corner, positions - nearest


def canvas_for(
    positions_px: Real, n: int, margin: int = 0
) -> tuple[tuple[int, int], NDArray[np.int64]]:
    """Smallest canvas holding every patch: its shape (H, W) and ``origin_px`` (y, x)."""
    corner, _ = split_positions(positions_px, n)
    low = corner.reshape(-1, 2).min(axis=0) - margin
    high = corner.reshape(-1, 2).max(axis=0) + n + margin
    height, width = (int(v) for v in high - low)
    return (height, width), low


def position_box(positions_px: Real) -> tuple[Index, Index]:
    """First pixel (2,) of the box that the positions span, and the one behind its last."""
    positions = np.asarray(positions_px, dtype=np.float64)
    low = np.ceil(positions.min(axis=0) - 1e-6).astype(np.int64)
    return low, np.floor(positions.max(axis=0) + 1e-6).astype(np.int64) + 1


@dataclass(frozen=True, eq=False)
class Places:
    """Where patches lie on a canvas.

    corner : (M, 2) their first pixels.  fraction : (M, 2) sub-pixel remainders.
    centre : (M,) flat canvas pixel of each patch's pixel [N/2, N/2].
    """

    corner: Index
    fraction: NDArray[np.float64]
    centre: Index


def places(positions_px: Real, n: int, shape: tuple[int, int], origin_px: Any) -> Places:
    """Place patches of n x n pixels on the canvas (H, W) with this origin."""
    corner, fraction = split_positions(positions_px, n, origin_px)
    rows, columns = (corner + n // 2).T
    return Places(corner, fraction, rows * shape[1] + columns)


def probe_intensity(probe: NDArray[Any]) -> NDArray[np.float64]:
    """Intensity (N, N) of a ``probe`` (P, N, N), summed over its modes."""
    found: NDArray[np.float64] = (np.abs(np.asarray(probe, np.complex128)) ** 2).sum(axis=0)
    return found


def illumination(
    positions_px: Real, probe: Complex, shape: tuple[int, int], origin_px: Any = (0, 0)
) -> NDArray[np.float64]:
    """Illumination of a canvas (H, W): the intensity of ``probe`` (P, N, N), summed over its
    modes and over the positions (M, 2), to the whole pixel."""
    count = np.fft.rfft2(positions_on(shape, origin_px, positions_px, probe.shape[-1]))
    light = np.fft.irfft2(count * np.fft.rfft2(probe_intensity(probe), shape), s=shape)
    return np.maximum(light, 0)


def positions_on(
    shape: tuple[int, int], origin_px: Any, positions_px: Real, n: int
) -> NDArray[np.float64]:
    """How many patches of n x n pixels begin at each pixel of the canvas (H, W)."""
    corner, _ = split_positions(positions_px, n, origin_px)
    pixels = np.ravel_multi_index((corner[:, 0], corner[:, 1]), shape)
    return np.bincount(pixels, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def footprint(
    positions_px: NDArray[np.float64], probe: NDArray[Any], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """(H, W) map, 1 where the probe (above 1 % of its peak intensity) fell at any position, else 0.

    ``positions_px`` (M, 2) index the canvas; the probe (P, N, N) is placed on whole pixels.
    """
    from scipy.signal import fftconvolve

    intensity = (np.abs(probe.reshape(-1, *probe.shape[-2:])) ** 2).sum(axis=0)
    lit = (intensity > 0.01 * intensity.max()).astype(np.float64)
    hits = np.zeros(shape)
    nearest = np.floor(positions_px + 0.5)
    inside = ((nearest >= 0) & (nearest < np.array(shape))).all(axis=1)
    hits[tuple(nearest[inside].astype(np.int64).T)] = 1
    half = probe.shape[-1] // 2
    sums = fftconvolve(hits, lit)[half : half + shape[0], half : half + shape[1]]
    return (sums > 0.5).astype(np.float32)


def fast_length(n: int) -> int:
    """The smallest length from ``n`` on without prime factors above 5, for fast transforms.

    That of scipy.fft.next_fast_len, whose import takes longer than the first pass of a network.
    """
    left = n
    for prime in (2, 3, 5):
        while left % prime == 0:
            left //= prime
    return n if left == 1 else fast_length(n + 1)


def mean_overlap(positions_px: Real, probe: Complex) -> float:
    """How many patterns see a point of the object, weighted with the illumination there.

    With p the intensity of ``probe`` (P, N, N) and L = sum_j p(u - r_j) over M positions:
    ``sum L^2 / (M sum p^2)``, which is 1 for a single pattern.
    """
    density = probe_intensity(probe)
    density /= density.max()
    shape, origin = canvas_for(positions_px, probe.shape[-1])
    height, width = (fast_length(side) for side in shape)
    count = positions_on((height, width), origin, positions_px, probe.shape[-1])
    # In single precision, which takes half of the time and is enough for a ratio.
    one, other = (np.fft.rfft2(x.astype(np.float32), (height, width)) for x in (count, density))
    power = (np.abs(one * other) ** 2).sum(axis=0, dtype=np.float64)
    # Parseval: the half of the frequencies that is left out holds as much as its mirror image.
    both = 2 * power.sum() - power[0] - (power[-1] if width % 2 == 0 else 0)
    return float(both / (height * width) / (len(positions_px) * (density**2).sum()))
