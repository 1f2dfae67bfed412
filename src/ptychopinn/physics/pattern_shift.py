"""The patterns move on the detector during the scan: I_j(q) = J_j(q - s_j).

The beam drifts, or the detector does, or something is knocked in between. In the far field a shift
by s pixels is a tilt of the probe,

    P_j(u) = P(u) exp(2 pi i s_j u / N),

u being pixels from the middle of the array. With measured and modelled intensities I and J, and G
the gradient of J, each pass makes a Newton step on the Poisson likelihood of each pattern,

    s_j <- s_j - (sum G G^T / J)^-1 sum (I / J - 1) G.

What all patterns share belongs to probe and object: the mean of s is 0. A shift that changes slowly
along the scan is nearly a slow phase of the object, which the patterns within it ask for just as
well, and which would be found first; so the shifts begin with the centres of mass, smoothed in the
order of the scan: what an object deflects, it deflects back. Photon noise is taken out by
shrinking, as for the current of the beam (:mod:`ptychopinn.physics.beam_current`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ptychopinn.errors import InputError
from ptychopinn.physics.effects import Asks, Effect, Inward, Seen, Values, effect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ptychopinn.ops.base import Array, Ops
    from ptychopinn.physics.forward import PatternBatch

# Centres of mass are smoothed by the median of so many patterns, then by the mean of so many.
MEDIAN, MEAN = 13, 5
# Share of a Newton step that is taken, and pixels at most: the object follows meanwhile.
STEP, FARTHEST = 0.7, 1.0
# It is spoken of from this shift on (rms).
SAID = 0.1


@effect
@dataclass(frozen=True, eq=False)
class PatternShift(Effect):
    """values : (M, 2) shifts (dy, dx) in pixels of the detector, with the mean 0.
    free : whether they are fitted."""

    free: bool = False

    name: ClassVar[str] = "pattern-shift"

    @classmethod
    def none(cls, positions_px: Values, n: int) -> PatternShift:
        return cls(np.zeros((len(positions_px), 2)))

    def check(self, patterns: int, n: int) -> None:
        values = self.values
        if values.shape != (patterns, 2) or not (np.abs(values) <= n).all():
            raise InputError(
                f"shifts of the patterns must be of shape ({patterns}, 2) and up to {n} pixels, "
                f"received an array {values.shape}; write the result again."
            )

    @classmethod
    def of_centres(cls, centres: Values) -> PatternShift:
        """What to begin with, given the centres of mass (M, 2) of patterns in the order of the
        scan; NaN where a pattern has none."""
        known = np.isfinite(centres).all(axis=1)
        if not known.any():
            return cls(np.zeros_like(centres), free=True)
        order = np.arange(len(centres))
        filled = [np.interp(order, order[known], centres[known, axis]) for axis in (0, 1)]
        return cls(_about_zero(smoothed(np.stack(filled, axis=1))), free=True)

    @property
    def changes(self) -> bool:
        return bool(self.values.any())

    def applied(
        self, xp: Ops, batch: PatternBatch, numbers: NDArray[np.int64], inward: Inward
    ) -> PatternBatch:
        n = int(xp.shape(batch.amplitudes)[-1])
        u = (np.arange(n) - n // 2) / n
        y, x = (2 * np.pi * self.values[numbers, axis][:, None] * u for axis in (0, 1))
        ramp = xp.astype(xp.asarray(y[:, :, None] + x[:, None, :]), batch.amplitudes)
        return batch._replace(probes=xp.call(tilted, batch.probes, ramp))

    @property
    def asks(self) -> Asks | None:
        return displacement if self.free else None

    def advanced(self, seen: Seen, outward: Inward) -> PatternShift:
        if not self.free or self.name not in seen.own:
            return self
        step, noise = likeliest_steps(seen.own[self.name], seen.photon)
        likeliest = _about_zero(self.values + np.clip(STEP * step, -FARTHEST, FARTHEST))
        spread = np.maximum((likeliest**2 - noise).mean(axis=0), 0.0)
        kept = np.divide(spread, spread + noise, out=np.zeros_like(noise), where=spread > 0)
        return replace(self, values=_about_zero(kept * likeliest))

    def scaled(self, factor: float) -> PatternShift:
        return self

    def chosen(self, numbers: NDArray[np.int64]) -> PatternShift:
        return PatternShift(self.values[numbers])

    def elsewhere(self, known: NDArray[np.int64], numbers: NDArray[np.int64]) -> PatternShift:
        between = [np.interp(numbers, known, self.values[:, axis]) for axis in (0, 1)]
        return PatternShift(np.stack(between, axis=1))

    def in_words(self, seen_counts: float) -> str | None:
        rms = np.sqrt((self.values**2).mean(axis=0))
        if rms.max(initial=0.0) < SAID:
            return None
        return (
            f"the patterns moved on the detector by ({rms[0]:.2f}, {rms[1]:.2f}) pixels (y, x; "
            f"rms) about their mean, {np.abs(self.values).max():.2g} at most: fitted"
        )


def _about_zero(shifts: Values) -> Values:
    return np.asarray(shifts - shifts.mean(axis=0))


def smoothed(centres: Values) -> Values:
    """Centres (M, 2) in the order of the scan, smoothed along it; a jump stays one."""
    from scipy import ndimage

    steady = ndimage.median_filter(centres, (MEDIAN, 1), mode="nearest")
    found: Values = ndimage.uniform_filter1d(steady, MEAN, axis=0, mode="nearest")
    return found


def likeliest_steps(asked: Values, photon: float) -> tuple[Values, Values]:
    """Newton steps (M, 2) of the shifts, and the variances that photon noise gives them (M, 2),
    given what :func:`displacement` finds (M, 5); 0 where a pattern tells nothing."""
    curvature = asked[:, [2, 3, 3, 4]].reshape(-1, 2, 2)
    known = np.linalg.det(curvature) > 0
    step, noise = np.zeros((len(asked), 2)), np.zeros((len(asked), 2))
    step[known] = np.linalg.solve(curvature[known], asked[known, :2, None])[..., 0]
    noise[known] = photon / asked[known][:, [2, 4]]
    return step, noise


def tilted(xp: Ops, probes: Array, ramp: Array) -> Array:
    """Probes (M, P, N, N) with phase ramps (M, N, N)."""
    return probes * xp.rotation(ramp)[:, None]


def displacement(
    xp: Ops, amplitudes: Array, bounds: Any, modelled: Array, good: Array, e: Any
) -> Array:
    """(m, 5) slopes of the Poisson likelihood of patterns by shifts along y and x, and its expected
    curvatures by yy, yx and xx; pixels beside a bad one do not count."""
    counted = good * xp.ones_like(modelled)
    for axis in (-2, -1):
        for shift in (-1, 1):
            counted = counted * xp.roll(good, shift, axis)
    if not isinstance(bounds, tuple):
        counted = counted * (1.0 - bounds)
    gy, gx = (0.5 * (xp.roll(modelled, -1, a) - xp.roll(modelled, 1, a)) for a in (-2, -1))
    weight = counted / (modelled + e)
    missing = weight * (modelled - xp.square(amplitudes))
    parts = missing * gy, missing * gx, weight * gy * gy, weight * gy * gx, weight * gx * gx
    return xp.stack([xp.sum(part, axis=(1, 2)) for part in parts], axis=1)
