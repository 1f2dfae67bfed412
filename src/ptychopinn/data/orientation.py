"""The eight orientations of patterns against positions, and what they do to arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """First the two axes are swapped, or not, then each is reversed, or not."""

    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False

    def __str__(self) -> str:
        flips = [axis for axis, flip in (("y", self.flip_y), ("x", self.flip_x)) if flip]
        parts = ["axes swapped"] if self.transpose else []
        parts += [f"{' and '.join(flips)} reversed"] if flips else []
        return " and ".join(parts) or "as given"

    @property
    def flags(self) -> tuple[str, ...]:
        """The options of the command prepare that turn the patterns so."""
        names = {"transpose": self.transpose, "flip-y": self.flip_y, "flip-x": self.flip_x}
        return tuple(f"--{name}" for name, wanted in names.items() if wanted)

    def of_positions(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (M, 2) as (y, x), turned."""
        turned = positions[:, ::-1] if self.transpose else positions
        return turned * np.array([-1.0 if self.flip_y else 1.0, -1.0 if self.flip_x else 1.0])

    def of_patterns(self, patterns: NDArray[Any], about_centre: bool = True) -> NDArray[Any]:
        """Arrays (..., N, N), turned: ``about_centre`` about pixel [N/2, N/2], else as pictures."""
        found = np.swapaxes(patterns, -1, -2) if self.transpose else patterns
        for axis, flip in ((-2, self.flip_y), (-1, self.flip_x)):
            if flip:
                found = np.flip(found, axis)
                found = np.roll(found, 1, axis) if about_centre else found
        return np.ascontiguousarray(found)

    @property
    def inverse(self) -> Orientation:
        """What undoes it."""
        if not self.transpose:
            return self
        return Orientation(True, self.flip_x, self.flip_y)

    @property
    def opposite(self) -> Orientation:
        """This one turned by 180 degrees, which a free probe does not tell from it."""
        return Orientation(self.transpose, not self.flip_y, not self.flip_x)


AS_GIVEN = Orientation()
ORIENTATIONS = tuple(
    Orientation(t, y, x) for t in (False, True) for y in (False, True) for x in (False, True)
)


@dataclass(frozen=True)
class Turn:
    """Turns patterns; an object of a class, so that worker processes can have it."""

    orientation: Orientation
    about_centre: bool

    def __call__(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return self.orientation.of_patterns(patterns, self.about_centre)
