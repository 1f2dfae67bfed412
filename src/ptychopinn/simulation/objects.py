"""Objects to scan: thin transmission functions O = A exp(i phi) on a pixel grid.

Every generator returns two maps (H, W) with values in [0, 1]: how strongly a pixel absorbs and how
strongly it shifts the phase. :func:`make_object` turns them into amplitude and phase, so that the
contrast is set in one place. All lengths are pixels and independent of the size of the object, so
a larger object is more of the same, not the same enlarged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.simulation.arrays import read_array
from ptychopinn.simulation.config import SimulationConfig
from ptychopinn.simulation.photographs import included_photographs, varied_photographs
from ptychopinn.simulation.random_fields import random_fields
from ptychopinn.simulation.textures import textures

Shape = tuple[int, int]
Real = NDArray[np.float64]
Maps = tuple[Real, Real]


def make_object(
    config: SimulationConfig, shape: Shape, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """The object (H, W) complex64 of the kind ``config.object``, with at least the given shape.

    Only an object from a file may be larger than ``shape``.

    Raises
    ------
    InputError
        When the object file cannot be used or is too small.
    """
    if config.object == "file":
        assert config.object_file is not None  # guaranteed by the schema
        content = _read_object(config.object_file, shape)
        if np.iscomplexobj(content):
            return content.astype(np.complex64)
        maps: Maps = (content, content)
    elif config.object == "lines":
        maps = lines(shape, rng, config.density)
    elif config.object == "leaves":
        maps = leaves(shape, rng)
    elif config.object == "grf":
        maps = gaussian_field(shape, rng, config.spectrum_exponent)
    elif config.object == "points":
        maps = points(shape, rng, config.density)
    elif config.object == "siemens":
        maps = siemens_star(shape, rng)
    elif config.object == "textures":
        maps = textures(shape, rng)
    elif config.photographs is not None:
        maps = varied_photographs(config.photographs, shape, rng)
    else:
        maps = included_photographs(shape, rng)
    absorption, phase = (_blur(values, config.blur_px) for values in maps)
    (a_low, a_high), (p_low, p_high) = config.amplitude, config.phase
    amplitude = a_high - (a_high - a_low) * absorption
    result: NDArray[np.complex64] = (
        amplitude * np.exp(1j * (p_low + (p_high - p_low) * phase))
    ).astype(np.complex64)
    return result


def lines(shape: Shape, rng: np.random.Generator, density: float = 1.0) -> Maps:
    """Many thin straight segments of random direction, length, width and contrast, overlapping.

    Absorption and phase shift of a segment are drawn independently; overlaps add up and saturate.
    """
    height, width = shape
    longest = 350.0
    pad = longest / 2  # segments centred outside reach in: the density is the same at the border
    count = rng.poisson(density * (height + 2 * pad) * (width + 2 * pad) / 800.0)
    maps = np.zeros((2, height, width))
    for _ in range(count):
        centre = rng.uniform((-pad, -pad), (height + pad, width + pad))
        angle = rng.uniform(0, np.pi)
        half_length = rng.uniform(50.0, longest) / 2
        half_width = rng.choice((0.6, 1.0, 1.5, 2.2))
        strength = rng.gamma(1.0, (1.0, 1.0)) * (0.18, 0.21)
        along = np.array((np.sin(angle), np.cos(angle)))
        reach = half_length * np.abs(along) + half_width + 1
        rows, columns = _box(centre - reach, centre + reach, shape)
        if rows.stop <= rows.start or columns.stop <= columns.start:
            continue
        y = np.arange(rows.start, rows.stop)[:, None] - centre[0]
        x = np.arange(columns.start, columns.stop)[None, :] - centre[1]
        # Pixel coverage of a straight edge: 1 inside, falling to 0 over one pixel.
        across = _covered(half_width - np.abs(y * along[1] - x * along[0]))
        across *= _covered(half_length - np.abs(y * along[0] + x * along[1]))
        maps[:, rows, columns] += strength[:, None, None] * across
    maps = np.minimum(maps, 1.0)
    return maps[0], maps[1]


def leaves(shape: Shape, rng: np.random.Generator) -> Maps:
    """Dead leaves: opaque discs of random grey occlude one another, radii from a power law r^-3."""
    height, width = shape
    smallest, largest = 3.0, 40.0
    # Density ~ r^-3 between the bounds: the inverse of its cumulative distribution.
    low, high = smallest**-2, largest**-2
    mean_area = 2 * np.pi * np.log(largest / smallest) / (low - high)
    layers = 5.0  # after this many layers only exp(-5) of the background still shows
    count = rng.poisson(layers * (height + 2 * largest) * (width + 2 * largest) / mean_area)
    radii = (low - rng.uniform(size=count) * (low - high)) ** -0.5
    centres = rng.uniform((-largest, -largest), (height + largest, width + largest), (count, 2))
    greys = rng.uniform(size=(count, 2))
    maps = np.empty((2, height, width))
    maps[:] = rng.uniform(size=(2, 1, 1))
    for centre, radius, grey in zip(centres, radii, greys, strict=True):
        _paint_disc(maps, centre, radius, grey)
    return maps[0], maps[1]


def points(shape: Shape, rng: np.random.Generator, density: float = 1.0) -> Maps:
    """Sparse small discs, from single pixels to 6 pixels radius, on an empty background."""
    height, width = shape
    largest = 6.0
    count = rng.poisson(density * (height + 2 * largest) * (width + 2 * largest) / 300.0)
    maps = np.zeros((2, height, width))
    radii = 0.7 * (largest / 0.7) ** rng.uniform(size=count)  # equally many per octave
    centres = rng.uniform((-largest, -largest), (height + largest, width + largest), (count, 2))
    greys = rng.uniform(0.3, 1.0, (count, 2))
    for centre, radius, grey in zip(centres, radii, greys, strict=True):
        _paint_disc(maps, centre, radius, grey)
    return maps[0], maps[1]


def gaussian_field(shape: Shape, rng: np.random.Generator, exponent: float = 3.0) -> Maps:
    """Two independent Gaussian random fields with the power spectrum 1/k^exponent.

    The spectrum is flat for periods above 128 pixels. Values beyond 2.5 standard deviations (about
    one per cent) saturate.
    """
    field = random_fields(
        2, shape, rng, lambda ky, kx: np.hypot(np.hypot(ky, kx), 1 / 128) ** (-exponent / 2)
    )
    maps = np.clip(0.5 + field / 5.0, 0.0, 1.0)
    return maps[0], maps[1]


def siemens_star(shape: Shape, rng: np.random.Generator) -> Maps:
    """A Siemens star of one material, filling the object: 36 spokes, gaps between three rings."""
    spokes = 36
    y = np.arange(shape[0])[:, None] - (shape[0] - 1) / 2
    x = np.arange(shape[1])[None, :] - (shape[1] - 1) / 2
    radius = np.hypot(y, x)
    angle = np.arctan2(y, x) + rng.uniform(0, 2 * np.pi)
    # Distance to the nearest spoke edge, positive inside a spoke: arc length at this radius.
    edge = np.arcsin(np.sin(spokes * angle)) / spokes * radius
    star = _covered(edge)
    outer = 0.49 * min(shape)
    inner = min(2 * spokes / np.pi / 2, outer / 4)  # where a spoke is two pixels wide
    star *= _covered(radius - inner) * _covered(outer - radius)
    for fraction in (0.35, 0.65):
        star *= _covered(np.abs(radius - fraction * outer) - 1.5)
    return star, star


def _read_object(path: Path, shape: Shape) -> NDArray[Any]:
    """The array in ``path``: complex as it is, real values stretched to [0, 1]."""
    content = read_array(path, ("object", "objectGuess"))
    while content.ndim > 2 and content.shape[0] == 1:
        content = content[0]
    if content.ndim != 2 or any(
        have < need for have, need in zip(content.shape, shape, strict=True)
    ):
        raise InputError(
            f"the object in '{path}' must be a 2-D array of at least {shape[0]} x {shape[1]} "
            f"pixels to hold the scan, received shape {content.shape}; "
            "lower the number of patterns or the step."
        )
    if not content.any():
        raise InputError(
            f"the object in '{path}' must not be zero everywhere, received one that is; "
            "check the file."
        )
    return content if np.iscomplexobj(content) else _to_unit_range(content)


def _to_unit_range(image: Real) -> Real:
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else np.zeros_like(image)


def _blur(values: Real, sigma: float) -> Real:
    from scipy.ndimage import gaussian_filter

    if sigma == 0:
        return values
    # The kernel is positive and normalised, so values stay in [0, 1] up to rounding.
    blurred: Real = np.clip(gaussian_filter(values, sigma, mode="nearest"), 0.0, 1.0)
    return blurred


def _covered(distance: Real) -> Real:
    """Fraction of a pixel covered by a shape whose edge is ``distance`` away (positive inside)."""
    return np.clip(distance + 0.5, 0.0, 1.0)


def _paint_disc(maps: NDArray[np.float64], centre: Real, radius: float, greys: Real) -> None:
    """Cover ``maps`` (2, H, W) in place with an anti-aliased opaque disc."""
    rows, columns = _box(centre - radius - 1, centre + radius + 1, maps.shape[1:])
    y = np.arange(rows.start, rows.stop)[:, None] - centre[0]
    x = np.arange(columns.start, columns.stop)[None, :] - centre[1]
    cover = _covered(radius - np.hypot(y, x))
    patch = maps[:, rows, columns]
    patch += cover * (greys[:, None, None] - patch)


def _box(low: Real, high: Real, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The pixels between two corners (y, x) that lie inside ``shape``."""
    start = [max(int(np.floor(v)), 0) for v in low]
    stop = [min(int(np.ceil(v)) + 1, size) for v, size in zip(high, shape, strict=True)]
    rows, columns = (slice(a, max(a, b)) for a, b in zip(start, stop, strict=True))
    return rows, columns
