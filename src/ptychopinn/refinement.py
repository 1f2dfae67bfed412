"""When plain physics iterations take smaller steps, and when they end. Framework-free."""

from __future__ import annotations

from collections.abc import Sequence

from ptychopinn.config import RefineConfig


class Schedule:
    """Halves the step whenever a pass brings little, and ends when the smallest brings nothing.

    A pass brings little when it lowers the misfit by less than ``config.stagnation``, relatively.
    """

    def __init__(self, config: RefineConfig) -> None:
        self.config = config
        self.step = 1.0

    def next_step(self, misfits: Sequence[float]) -> float | None:
        """Step of the next pass relative to the first one; None when it is time to end."""
        if len(misfits) >= self.config.passes:
            return None
        if len(misfits) >= 2 and misfits[-1] > misfits[-2] * (1 - self.config.stagnation):
            self.step /= 2
        return None if self.step < self.config.smallest_step else self.step
