"""Readings that pile up at the largest number: what a saturated detector writes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# So many readings are the largest number, and so many times more than just below it.
SATURATED, PILED = 12, 3.0
# Of fewer pixels it is a fault of theirs; and a detector that ends at so few photons is none.
FEWEST_SATURATED, FEWEST_PHOTONS = 4, 8


class PileUp:
    """Counts the readings at the largest number, ``top``, and in steps just below it.

    ``good`` (N, N) are the pixels that count, ``photon`` is what one photon reads.
    """

    def __init__(self, top: float, photon: float, good: NDArray[np.bool_]) -> None:
        self.top, self.good = top, good
        self.edge = top - max(photon, 1e-6 * top)
        self.readings = 0
        self.pixels = np.zeros(good.shape, bool)
        self._possible = top >= FEWEST_PHOTONS * photon
        self._width = max(photon, 0.01 * top)
        self._below = np.zeros(3)

    def full(self, block: NDArray[Any]) -> NDArray[np.bool_]:
        """Which readings of patterns (b, N, N) are at the top."""
        return np.asarray((block > self.edge) & self.good)

    def add(self, block: NDArray[Any]) -> None:
        """Count patterns (b, N, N)."""
        full = self.full(block)
        self.pixels |= full.any(axis=0)
        self.readings += int(full.sum())
        for k in range(3):
            below = block > self.edge - (k + 1) * self._width
            below &= block <= self.edge - k * self._width
            self._below[k] += int((below & self.good).sum())

    def worth_counting(self, largest: NDArray[Any]) -> bool:
        """Whether pixels with these largest readings (N, N) may be saturated."""
        return self._possible and int((self.good & (largest > self.edge)).sum()) >= FEWEST_SATURATED

    @property
    def clear(self) -> bool:
        """Whether the readings pile up."""
        most = max(SATURATED, PILED * max(1.0, float(self._below.max())))
        return self._possible and self.readings >= most
