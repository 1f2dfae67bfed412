"""Objects with edges and textures of every scale, as photographs and micrographs have them.

The plane is cut into cells with power-law sizes and bent borders; every cell has a grey, a slope
and a texture of its own, out of a few Gaussian random fields of different roughness and direction.
A network that learns from them meets no picture twice.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from ptychopinn.simulation.random_fields import random_fields

Shape = tuple[int, int]
Real = NDArray[np.float64]

FIELDS = 4


def textures(shape: Shape, rng: np.random.Generator) -> tuple[Real, Real]:
    """Absorption and phase shift (H, W) in [0, 1]: textured cells, mostly the same ones in both."""
    bends = _fields(shape, rng, 2, exponents=(4.0, 6.0))
    regions = [_cells(shape, rng, bends)]
    regions.append(_cells(shape, rng, bends) if rng.random() < 0.3 else regions[0])
    fields = _fields(shape, rng, FIELDS, exponents=(1.5, 4.0))
    first, second = (_painted(cells, fields, rng) for cells in regions)
    return first, second


def _cells(shape: Shape, rng: np.random.Generator, bends: Real) -> NDArray[np.int64]:
    """The number of its cell for every pixel: a power diagram, whose cells of weight w hold the
    pixels for which distance^2 - w is least, seen through bent coordinates."""
    from scipy.spatial import cKDTree

    height, width = shape
    # From a few large cells to grains of some pixels.
    diameter = np.exp(rng.uniform(np.log(6), np.log(90)))
    count = max(4, int(height * width / diameter**2))
    centres = rng.uniform((0, 0), shape, (count, 2))
    radii = np.minimum(diameter * 0.5 * rng.pareto(2.0, count), 4 * diameter)
    weights = radii**2
    # The third coordinate makes the nearest centre that of the power diagram.
    lifted = np.column_stack((centres, np.sqrt(weights.max() - weights)))
    y, x = np.indices(shape, dtype=np.float64)
    bend = diameter * rng.uniform(0, 0.6)
    points = np.stack((y + bend * bends[0], x + bend * bends[1], np.zeros(shape)), axis=-1)
    found: NDArray[np.int64] = cKDTree(lifted).query(points.reshape(-1, 3))[1]
    return found.reshape(shape)


def _fields(
    shape: Shape, rng: np.random.Generator, count: int, exponents: tuple[float, float]
) -> Real:
    """Gaussian random fields (count, H, W) of unit deviation, stretched along random directions,
    with the power spectra 1/k^b and b between ``exponents``."""
    found = []
    for _ in range(count):
        angle, stretch = rng.uniform(0, np.pi), np.exp(rng.exponential(0.5))
        longest = rng.uniform(16, 200)
        power = -rng.uniform(*exponents) / 2
        gain = partial(_gain, angle=angle, stretch=stretch, longest=longest, power=power)
        found.append(random_fields(1, shape, rng, gain))
    return np.concatenate(found)


def _gain(ky: Real, kx: Real, angle: float, stretch: float, longest: float, power: float) -> Real:
    """A power of the frequency, which counts ``stretch`` times along a direction; flat for periods
    above ``longest`` pixels."""
    along = ky * np.sin(angle) + kx * np.cos(angle)
    across = ky * np.cos(angle) - kx * np.sin(angle)
    found: Real = np.hypot(np.hypot(stretch * along, across), 1 / longest) ** power
    return found


def _painted(cells: NDArray[np.int64], fields: Real, rng: np.random.Generator) -> Real:
    """A map (H, W) in [0, 1] of the cells, each with its grey, slope and texture."""
    count = int(cells.max()) + 1
    grey = rng.uniform(size=count)
    roughness = rng.gamma(1.0, rng.uniform(0.02, 0.15), count)
    which = rng.integers(len(fields), size=count)
    steep = rng.normal(0, 0.3 / max(cells.shape), (2, count))
    y, x = np.indices(cells.shape)
    texture = np.take_along_axis(fields, which[cells][None], axis=0)[0]
    values = grey[cells] + roughness[cells] * texture + steep[0][cells] * y + steep[1][cells] * x
    if rng.random() < 0.3:  # sharp lines and levels, as of a print or a relief
        values = values + rng.uniform(0.1, 0.5) * np.abs(fields[rng.integers(len(fields))])
    low, high = np.percentile(values, (0.5, 99.5))  # the few extremes saturate
    return np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)
