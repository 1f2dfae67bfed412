"""A point on the detector spreads over neighbouring pixels: I(q) = sum_q' h(q - q') I(q').

h is a Gaussian of standard deviation s pixels, the same for all: the light in a scintillator or
the charge in a sensor spreads, and an incoherent source of Gaussian shape does the same to the
patterns (Enders et al., Appl. Phys. Lett. 104, 171104, 2014). A convolution with a symmetric h is
its own adjoint: what is asked of a wave at the detector follows from what the blurred pixels ask,
blurred again.

Since dI/d(s^2) is half the Laplacian L of I, each pass makes a Newton step on the Poisson
likelihood of the patterns, with measured and modelled intensities I and J,

    s^2 <- max(0, s^2 + sum (I / J - 1) L / sum L^2 / J).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.physics.effects import Asks, Effect, Inward, Seen, Values, effect

if TYPE_CHECKING:
    from ptychopinn.ops.base import Array, Ops
    from ptychopinn.physics.forward import PatternBatch

# Largest s: a wider one leaves nothing of the fringes of an illuminated object.
MOST = 5.0
# Share of a Newton step that is taken: the object follows meanwhile.
STEP = 0.7
# It is spoken of from this width on.
SAID = 0.05


@effect
@dataclass(frozen=True, eq=False)
class PointSpread(Effect):
    """values : (1,) the standard deviation s in pixels of the detector.
    free : whether it is fitted."""

    free: bool = False

    name: ClassVar[str] = "point-spread"

    @classmethod
    def none(cls, positions_px: Values, n: int) -> PointSpread:
        return cls(np.zeros(1))

    @property
    def width_px(self) -> float:
        """s, pixels of the detector."""
        return float(self.values[0])

    def check(self, patterns: int, n: int) -> None:
        if self.values.shape != (1,) or not 0 <= self.width_px <= MOST:
            raise InputError(
                f"a point spread must be one number of pixels between 0 and {MOST:g}, received "
                f"{self.values.tolist()}; write the result again."
            )

    @property
    def changes(self) -> bool:
        return self.width_px > 0

    def transfer(self, n: int) -> NDArray[np.float64]:
        """(N, N // 2 + 1) the Fourier transform of h, for :meth:`ptychopinn.ops.base.Ops.rfft2`."""
        y, x = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]
        found: NDArray[np.float64] = np.exp(-2 * (np.pi * self.width_px) ** 2 * (y**2 + x**2))
        return found

    def applied(
        self, xp: Ops, batch: PatternBatch, numbers: NDArray[np.int64], inward: Inward
    ) -> PatternBatch:
        n = int(xp.shape(batch.amplitudes)[-1])
        transfer = xp.astype(xp.asarray(self.transfer(n)), batch.amplitudes)
        return batch._replace(transfer=transfer)

    @property
    def asks(self) -> Asks | None:
        return sharpness if self.free else None

    def advanced(self, seen: Seen, outward: Inward) -> PointSpread:
        if not self.free or self.name not in seen.own:
            return self
        slope, curvature = map(float, seen.own[self.name].sum(axis=0))
        if not curvature > 0:
            return self
        square = self.width_px**2 + STEP * slope / curvature
        return PointSpread(np.array([min(np.sqrt(max(square, 0.0)), MOST)]), free=True)

    def scaled(self, factor: float) -> PointSpread:
        return self

    def in_words(self, seen_counts: float) -> str | None:
        if self.width_px < SAID:
            return None
        return f"a point spreads over {self.width_px:.2g} detector pixels (standard deviation)"


def sharpness(
    xp: Ops, amplitudes: Array, bounds: Any, modelled: Array, good: Array, e: Any
) -> Array:
    """(m, 2) slope of the Poisson likelihood of patterns by s^2, sum (I / J - 1) L, and its
    expected curvature, sum L^2 / J; pixels beside a bad one do not count."""
    beside = [(shift, axis) for shift in (-1, 1) for axis in (-2, -1)]
    counted = good * xp.ones_like(modelled)
    for shift, axis in beside:
        counted = counted * xp.roll(good, shift, axis)
    if not isinstance(bounds, tuple):
        counted = counted * (1.0 - bounds)
    half_laplacian = -2.0 * modelled
    for shift, axis in beside:
        half_laplacian = half_laplacian + 0.5 * xp.roll(modelled, shift, axis)
    information = counted * half_laplacian / (modelled + e)
    slope = information * (xp.square(amplitudes) - modelled)
    return xp.stack([xp.sum(part, axis=(1, 2)) for part in (slope, information * half_laplacian)],
                    axis=1)  # fmt: skip
