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
        found = self.of_frames(patterns)
        if about_centre:
            found = np.roll(found, (int(self.flip_y), int(self.flip_x)), (-2, -1))
        return np.ascontiguousarray(found)

    def of_frames(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Arrays (..., H, W), turned as pictures: a view."""
        if self.transpose:
            frames = np.swapaxes(frames, -1, -2)
        return frames[..., :: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def shape(self, stored: tuple[int, int]) -> tuple[int, int]:
        """Of turned frames."""
        return (stored[1], stored[0]) if self.transpose else stored

    def point(self, centre: tuple[float, float], stored: tuple[int, int]) -> tuple[float, float]:
        """Where a stored pixel (y, x) comes to lie."""
        y, x = centre[::-1] if self.transpose else centre
        height, width = self.shape(stored)
        return (height - 1 - y if self.flip_y else y), (width - 1 - x if self.flip_x else x)

    def stored_window(
        self, rows: slice, columns: slice, stored: tuple[int, int]
    ) -> tuple[slice, slice]:
        """The stored pixels of a window of turned frames."""
        height, width = self.shape(stored)
        if self.flip_y:
            rows = slice(height - rows.stop, height - rows.start)
        if self.flip_x:
            columns = slice(width - columns.stop, width - columns.start)
        return (columns, rows) if self.transpose else (rows, columns)

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
