"""The axes of a scan against those of the detector: rotation, scales and shear.

Positions are (y, x) columns, and given positions r' are an affine map of the true ones r about
their mean c,

    r' = c + A (r - c),     A = ( cos t  -sin t ) ( 1 + s_y     h    )
                                ( sin t   cos t ) (    0     1 + s_x ),

so that a positive rotation t takes the axis y towards the axis x. A shift of all positions changes
no pattern and is no part of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.float64]


@dataclass(frozen=True)
class ScanAxes:
    """How given positions differ from the true ones, as an affine map.

    Attributes
    ----------
    rotation_deg : t in degrees, positive from y towards x.
    scale_y, scale_x : s_y and s_x, 0 for the right scale.
    shear : h, the displacement along y per pixel along x, as a part of one.
    """

    rotation_deg: float = 0.0
    scale_y: float = 0.0
    scale_x: float = 0.0
    shear: float = 0.0

    @property
    def matrix(self) -> NDArray[np.float64]:
        """A (2, 2)."""
        angle = np.deg2rad(self.rotation_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return turn @ np.array([[1 + self.scale_y, self.shear], [0.0, 1 + self.scale_x]])

    @classmethod
    def of(cls, matrix: NDArray[np.float64]) -> ScanAxes:
        """The axes with the map A, the inverse of :attr:`matrix`; det A must be positive."""
        angle = np.arctan2(matrix[1, 0], matrix[0, 0])
        back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        upper = back @ matrix
        numbers = np.rad2deg(angle), upper[0, 0] - 1, upper[1, 1] - 1, upper[0, 1]
        return cls(*(float(number) for number in numbers))

    def applied(self, positions_px: Positions) -> Positions:
        """Positions (M, 2) as they are given when these are the true ones."""
        centre = positions_px.mean(axis=0)
        return centre + (positions_px - centre) @ self.matrix.T


def affine_between(source_px: Positions, goal_px: Positions) -> NDArray[np.float64]:
    """The matrix A (2, 2) for which c' + A (r - c) is nearest to the goal (M, 2), r being the
    source (M, 2), in the least-squares sense; directions that positions do not span stay as they
    are."""
    source = source_px - source_px.mean(axis=0)
    change = goal_px - goal_px.mean(axis=0) - source
    # Where all positions lie on a line nothing is said of the other direction.
    found = np.linalg.lstsq(source, change, rcond=1e-6)[0].T
    return np.asarray(np.eye(2) + found, np.float64)
