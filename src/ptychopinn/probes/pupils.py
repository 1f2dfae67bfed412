"""The pupil as the far field shows it: what of the detector the bare beam lights up.

The mean pattern of a scan is the intensity of the bare beam, blurred by what the object scatters.
Where it is bright lies the image of the pupil: a disc, a ring when there is a central stop, a
rectangle behind mirrors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError

# Bright is what exceeds these shares of the brightest ring: the rim of the pupil, of the stop in
# its middle, and of what is taken over at all.
RIM_LEVEL, STOP_LEVEL, FLOOR_LEVEL = 0.25, 0.3, 0.01
# A stop is at least so large, as a fraction of the pupil; noise in the middle is smaller.
SMALLEST_STOP = 0.12
SMOOTHING_PX = 1.0
# A bad pixel is filled by the narrowest smoothing that sees this share of good ones, each so many
# times as wide as the one before.
ENOUGH_SHARE, WIDER = 0.1, 1.5


@dataclass(frozen=True, eq=False)
class Pupil:
    """amplitude : (N, N) sqrt(counts), zero frequency at [N/2, N/2].  centre : (y, x) of its
    middle, in pixels from there.  radius, stop : of its rim and of its central stop in pixels."""

    amplitude: NDArray[np.float64]
    centre: tuple[float, float]
    radius: float
    stop: float


def find_pupil(pattern: NDArray[np.float64], good: NDArray[np.bool_] | None = None) -> Pupil:
    """The pupil in a mean pattern (N, N) of counts; ``good`` pixels (N, N) of the detector.

    Raises
    ------
    InputError
        When the pattern is empty.
    """
    n = pattern.shape[-1]
    good = np.ones((n, n), bool) if good is None else good
    lit = np.where(good, pattern, 0.0).astype(np.float64)
    if not (np.isfinite(lit).all() and lit.sum() > 0):
        raise InputError(
            "the pupil of a probe is taken from the mean pattern, received one without counts; "
            "check patterns and mask."
        )
    smooth = _smooth(lit, good)
    top = float(np.percentile(smooth[smooth > 0.02 * smooth.max()], 90))
    u = np.arange(n) - n // 2
    bright = np.where(smooth > RIM_LEVEL * top, smooth.clip(max=top), 0.0)
    total = bright.sum()
    centre = (float(bright.sum(1) @ u / total), float(bright.sum(0) @ u / total))
    distance = np.hypot(u[:, None] - centre[0], u[None, :] - centre[1])
    rings = np.rint(distance).astype(int).ravel()
    count = np.bincount(rings)
    profile = np.bincount(rings, smooth.ravel()) / np.maximum(count, 1)
    profile = profile[: n // 2]
    # The bright pixel that the direct beam leaves in the middle of a stop is no pupil.
    peak = float((profile * np.sqrt(np.arange(len(profile)))).argmax())
    ring = profile[int(peak)]
    outside = np.flatnonzero((profile < RIM_LEVEL * ring) & (np.arange(len(profile)) > peak))
    radius = float(outside[0]) if len(outside) else float(n // 2)
    inside = np.flatnonzero((profile < STOP_LEVEL * ring) & (np.arange(len(profile)) < peak))
    stop = float(inside[-1] + 1) if len(inside) else 0.0
    if stop < SMALLEST_STOP * radius:
        stop = 0.0
    filled = np.where(good, lit, smooth)
    amplitude = np.sqrt(np.where(smooth > FLOOR_LEVEL * top, filled, 0.0))
    return Pupil(amplitude, centre, max(radius, 1.0), stop)


def _smooth(lit: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The pattern (N, N) without noise, with bad pixels filled from those around them; at the
    border of the detector only those next to good ones."""
    from scipy.ndimage import gaussian_filter

    width = SMOOTHING_PX
    share = gaussian_filter(good.astype(np.float64), width, mode="constant")
    smooth = gaussian_filter(lit, width, mode="constant") / np.maximum(share, 1e-3)
    empty = _between(good) & (share < ENOUGH_SHARE)
    while empty.any() and width < len(good):
        # The middle of a shadow is far from what is lit.
        width *= WIDER
        share = gaussian_filter(good.astype(np.float64), width, mode="constant")
        wide = gaussian_filter(lit, width, mode="constant") / np.maximum(share, 1e-3)
        reached = empty & (share >= ENOUGH_SHARE)
        smooth[reached], empty = wide[reached], empty & ~reached
    return np.asarray(smooth)


def _between(good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (N, N) with good ones on both sides, along their row or their column."""
    found = np.zeros_like(good)
    for axis in (0, 1):
        before = np.logical_or.accumulate(good, axis)
        behind = np.flip(np.logical_or.accumulate(np.flip(good, axis), axis), axis)
        found |= before & behind
    return found
