"""Counts that do not come from the object: I = sum_p abs(D psi_p)^2 + b(q), b >= 0 and smooth.

A Newton step on the Poisson likelihood, with slope and curvature summed over neighbouring pixels,

    b <- max(0, b + sum (I / J - 1) / sum (1 / J)),

J being the modelled intensity. The neighbourhood is a Gaussian of a twelfth of the pattern, in
which dark pixels, where the background shows, count most. Where it knows little, b is drawn to its
mean level. The object makes up for what b still lacks, which leaves each step short: a share of the
last one is made again, as of a heavy ball.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.physics.effects import Effect, Inward, Seen, Values, effect

if TYPE_CHECKING:
    from ptychopinn.ops.base import Ops
    from ptychopinn.physics.forward import PatternBatch

# Width of the neighbourhood, as a share of the pattern, and how much the mean level counts, as a
# share of what an average neighbourhood knows.
SMOOTH, LEVEL = 1 / 12, 0.002
# The share of a step that the next one makes again: more of it overshoots. Once steps are a smaller
# part of the whole than SETTLED more of them lie in one direction.
MOMENTUM, LATER, SETTLED = 0.5, 0.6, 0.1
# A pixel in which the object has a smaller share of the counts tells nothing of it.
HIDDEN = 0.05
# It is spoken of from this share of the counts on.
SAID = 0.005


@effect
@dataclass(frozen=True, eq=False)
class Background(Effect):
    """values : (N, N) the intensity b, zero frequency at [N/2, N/2].  variance : see Effect.
    faint : whether it is known to be so weak that the object hardly hides in it.  step : (N, N) the
    last one, None before the first."""

    variance: float = 1.0
    faint: bool = False
    step: NDArray[np.float64] | None = None

    name: ClassVar[str] = "background"

    @classmethod
    def none(cls, positions_px: Values, n: int) -> Background:
        return cls(np.zeros((n, n)))

    def check(self, patterns: int, n: int) -> None:
        values = self.values
        if values.shape != (n, n) or not (np.isfinite(values) & (values >= 0)).all():
            raise InputError(
                f"a background must have shape ({n}, {n}) and not be negative, received an array "
                f"{values.shape}; write the result again."
            )

    @property
    def hides(self) -> bool:
        return not self.faint

    @property
    def changes(self) -> bool:
        return bool(self.values.any())

    def applied(
        self, xp: Ops, batch: PatternBatch, numbers: NDArray[np.int64], inward: Inward
    ) -> PatternBatch:
        level = xp.astype(xp.asarray(inward(self.values)), batch.amplitudes)
        return batch._replace(background=level)

    def advanced(self, seen: Seen, outward: Inward) -> Background:
        from scipy.ndimage import gaussian_filter

        width = SMOOTH * len(self.values)

        def pooled(values: Values) -> NDArray[np.float64]:
            found: NDArray[np.float64] = gaussian_filter(outward(values), width, mode="nearest")
            return found

        asked = pooled(seen.surplus) + self.values * pooled(seen.information)
        information = pooled(seen.information)
        if not (total := information.sum()) > 0:
            return self
        weight = LEVEL * total / information.size
        found = (asked + weight * max(asked.sum() / total, 0.0)) / (information + weight)
        # The mean share of a pixel's counts that come from the object.
        seen_share = 1 - self.values * outward(seen.information) / len(seen.modelled)
        variance = float(np.mean(1 / (np.clip(seen_share, 0, 1) + HIDDEN)))
        found = np.maximum(found, 0.0)
        if self.step is not None:
            settled = np.abs(self.step).sum() < SETTLED * self.values.sum()
            found = np.maximum(found + (LATER if settled else MOMENTUM) * self.step, 0.0)
        return replace(self, values=found, variance=max(variance, 1.0), step=found - self.values)

    def scaled(self, factor: float) -> Background:
        step = None if self.step is None else self.step * factor
        return replace(self, values=self.values * factor, step=step)

    def in_words(self, seen_counts: float) -> str | None:
        share = float(self.values.sum()) / seen_counts
        if share < SAID:
            return None
        return (
            f"the patterns have a background of {self.values.mean():.3g} counts per pixel (mean), "
            f"{share:.1%} of all counts: fitted"
        )
