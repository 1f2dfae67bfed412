"""The sample moves while a pattern is recorded (fly scan): intensities along the path add.

    I_j(q) = 1/K sum_k sum_p abs(D [P_p(u - f_j - t_k d_j) O])^2,     t_k = (k + 1/2)/K - 1/2,

d_j being the way (dy, dx) that the position moves during the exposure of pattern j, at constant
speed, and K so large that neighbouring places are at most a pixel apart. The K moved probes count
as incoherent modes (Deng et al., Opt. Express 23, 5438, 2015; Pelz et al., Appl. Phys. Lett. 105,
251101, 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.physics.effects import Effect, Inward, Seen, Values, effect

if TYPE_CHECKING:
    from ptychopinn.ops.base import Ops
    from ptychopinn.physics.forward import PatternBatch

# Places along the path at least, where there is one, and at most.
FEWEST, MOST = 3, 16
# It is spoken of from this length on, in pixels.
SAID = 0.5


@effect
@dataclass(frozen=True, eq=False)
class MovingExposure(Effect):
    """values : (M, 2) the ways d of the positions during an exposure, (dy, dx) in pixels."""

    name: ClassVar[str] = "moving-exposure"

    @classmethod
    def none(cls, positions_px: Values, n: int) -> MovingExposure:
        return cls(np.zeros((len(positions_px), 2)))

    def check(self, patterns: int, n: int) -> None:
        values = self.values
        if values.shape != (patterns, 2) or not np.isfinite(values).all():
            raise InputError(
                f"the ways of a moving exposure must be finite, of shape ({patterns}, 2), received "
                f"an array {values.shape}; write the result again."
            )

    @property
    def lengths(self) -> Values:
        """(M,) of the ways, in pixels."""
        found: Values = np.hypot(self.values[:, 0], self.values[:, 1])
        return found

    @property
    def changes(self) -> bool:
        return bool(self.values.any())

    @property
    def copies(self) -> int:
        longest = float(self.lengths.max(initial=0.0))
        return 1 if longest == 0 else int(np.clip(np.ceil(longest) + 1, FEWEST, MOST))

    def applied(
        self, xp: Ops, batch: PatternBatch, numbers: NDArray[np.int64], inward: Inward
    ) -> PatternBatch:
        # Files and results know effects, and the forward model knows them too.
        from ptychopinn.physics.forward import copied

        count = self.copies
        times = (np.arange(count) + 0.5) / count - 0.5
        places = times[:, None] * self.values[numbers][:, None]
        path = xp.astype(xp.asarray(places), batch.amplitudes)
        return batch._replace(probes=xp.call(copied, batch.probes, path), path=path)

    def advanced(self, seen: Seen, outward: Inward) -> MovingExposure:
        return self

    def scaled(self, factor: float) -> MovingExposure:
        return self

    def chosen(self, numbers: NDArray[np.int64]) -> MovingExposure:
        return MovingExposure(self.values[numbers])

    def in_words(self, seen_counts: float) -> str | None:
        length = float(np.median(self.lengths))
        if length < SAID:
            return None
        return f"the sample moved by {length:.1f} px during an exposure (median): followed"


def directions_of(positions_px: Values) -> Values:
    """(M, 2) unit vectors along the way from pattern to pattern, in the order of the scan: towards
    the next one, or from the last one where that is nearer."""
    steps = np.diff(positions_px, axis=0)
    after, before = np.vstack([steps, steps[-1:]]), np.vstack([steps[:1], steps])
    nearer = (after**2).sum(axis=1) <= (before**2).sum(axis=1)
    chosen = np.where(nearer[:, None], after, before)
    length = np.sqrt((chosen**2).sum(axis=1, keepdims=True))
    return np.divide(chosen, length, out=np.zeros_like(chosen), where=length > 0)
