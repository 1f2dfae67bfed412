"""Scan positions (M, 2) float64 as (y, x) in object pixels, around (0, 0)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.simulation.config import SimulationConfig

Positions = NDArray[np.float64]


def make_positions(config: SimulationConfig, rng: np.random.Generator) -> Positions:
    """The positions of the kind ``config.scan``, with a mean density of 1/step^2."""
    if config.scan == "raster":
        return raster(config.patterns, config.step_px, config.jitter_px, rng)
    if config.scan == "fermat":
        return fermat_spiral(config.patterns, config.step_px)
    return random_positions(config.patterns, config.step_px, rng)


def raster(count: int, step: float, jitter: float, rng: np.random.Generator) -> Positions:
    """Rows of a square grid, each position displaced by at most ``jitter`` along each axis.

    The displacement suppresses the artefacts of a periodic grid. The last rows are left
    incomplete when ``count`` is not a square.
    """
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    row, column = np.divmod(np.arange(count), columns)
    grid = np.stack((row - (rows - 1) / 2, column - (columns - 1) / 2), axis=1) * step
    return grid + rng.uniform(-jitter, jitter, (count, 2))


def fermat_spiral(count: int, step: float) -> Positions:
    """Fermat spiral, from the centre outwards: r = step sqrt((k + 1/2)/pi), angle k golden angles.

    Huang et al., Optics Express 22, 12634 (2014).
    """
    k = np.arange(count)
    radius = step * np.sqrt((k + 0.5) / np.pi)
    angle = k * np.pi * (3 - np.sqrt(5))
    return np.stack((radius * np.sin(angle), radius * np.cos(angle)), axis=1)


def random_positions(count: int, step: float, rng: np.random.Generator) -> Positions:
    """Independent uniform positions in a square of ``count`` times step^2."""
    half = step * np.sqrt(count) / 2
    return rng.uniform(-half, half, (count, 2))
