"""Random experiments for the laws: complex probes, positions, canvases, groups, masks and scans.

Hypothesis draws the sizes, the kind of positions and a seed; the seed fills the arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from oracle.forward import canvas_for, intensities
from oracle.near_field import HC_EV_M, FreeSpace
from ptychopinn.data.scan import Scan

Array = NDArray[Any]

# Examples of one law on one implementation; no deadline, the first call of a backend may be slow.
laws = settings(deadline=None, max_examples=12)
few = settings(deadline=None, max_examples=4)

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(4, 16).map(lambda half: 2 * half)
modes = st.integers(1, 3)
kinds = st.sampled_from(["fractional", "integer", "half"])


def assert_same(found: Array, expected: Array, rtol: float) -> None:
    """Equal up to ``rtol`` times the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= rtol * np.abs(expected).max()


def energy(field: Array) -> float:
    """The sum of all abs(field)^2."""
    return float((np.abs(field) ** 2).sum())


def complex_normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def gaussian_probe(n: int, sigma: float, count: int = 1, curvature: float = 0.0) -> Array:
    """Modes (count, n, n) that fade to the border: a defocused Gauss times 1, y, x."""
    y, x = np.indices((n, n)) - n / 2
    envelope = np.exp(-(y**2 + x**2) / (2 * sigma**2) + 1j * curvature * (y**2 + x**2))
    return np.stack([envelope, 0.6 * envelope * y / sigma, 0.4j * envelope * x / sigma][:count])


def smooth_object(y: Array, x: Array, rng: np.random.Generator) -> Array:
    """A band-limited object at any (y, x): 1 and five waves of periods above 20 pixels."""
    waves = np.ones(np.broadcast(y, x).shape, dtype=np.complex128)
    for _ in range(5):
        ky, kx = rng.uniform(-0.05, 0.05, 2) / np.sqrt(2)
        phase = 2 * np.pi * (ky * y + kx * x + rng.uniform())
        waves += 0.15 * rng.uniform() * np.exp(1j * phase)
    return waves


def rounded(values: Array, kind: str) -> Array:
    """Positions of a kind: whole pixels, halves (where rounding has to decide) or anything."""
    if kind == "integer":
        return np.round(values)
    return np.floor(values) + 0.5 if kind == "half" else values


@dataclass(frozen=True, eq=False, repr=False)
class Experiment:
    """A random canvas (H, W), probe (P, N, N) and positions (M, 2), with a mask (N, N)."""

    canvas: Array
    probe: Array
    positions: Array
    origin: Array
    mask: Array
    rng: np.random.Generator

    @property
    def n(self) -> int:
        return int(self.probe.shape[-1])

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.canvas.shape
        return height, width

    def __repr__(self) -> str:
        return (
            f"Experiment(canvas {self.shape}, probe {self.probe.shape}, origin {self.origin}, "
            f"positions {self.positions.tolist()})"
        )


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    """Everything random; negative origins, canvases of odd or even sides with spare rows."""
    n, count, kind = draw(sizes), draw(modes), draw(kinds)
    m, spread = draw(st.integers(1, 6)), draw(st.floats(0, 12))
    centre = draw(st.tuples(st.integers(-500, 500), st.integers(-500, 500)))
    spare = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    rng = np.random.default_rng(draw(seeds))
    positions = rounded(np.array(centre) + rng.uniform(-spread, spread, (m, 2)), kind)
    (height, width), origin = canvas_for(positions, n)
    shape = (height + spare[0], width + spare[1])
    mask = rng.random((n, n)) < 0.8
    mask[0, 0] = True
    return Experiment(
        canvas=complex_normal(rng, *shape),
        probe=complex_normal(rng, count, n, n),
        positions=positions,
        origin=origin,
        mask=mask,
        rng=rng,
    )


def fresnel(number: float, pixel_size_m: float = 40e-9, energy_eV: float = 8000.0) -> FreeSpace:
    """Free space that delays a plane wave at the border of the spectrum by about ``number``
    radians; a wave moves by ``number`` * 2 / pi pixels at most."""
    wavelength = float(HC_EV_M) / energy_eV
    return FreeSpace(pixel_size_m, energy_eV, number * 4 * pixel_size_m**2 / (np.pi * wavelength))


@st.composite
def free_spaces(draw: st.DrawFn) -> FreeSpace:
    """From visible light, where some waves of the spectrum are evanescent, to hard X-rays."""
    energy = draw(st.sampled_from([2.0, 90.0, 700.0, 12000.0]))
    wavelength = float(HC_EV_M) / energy
    pixel = wavelength * draw(st.sampled_from([0.4567, 0.8, 3.0, 300.0]))
    return fresnel(draw(st.floats(0, 30)), pixel, energy)


@st.composite
def travelling(draw: st.DrawFn) -> FreeSpace:
    """Free space without evanescent waves."""
    energy = draw(st.sampled_from([2.0, 700.0, 12000.0]))
    wavelength = float(HC_EV_M) / energy
    pixel = wavelength * draw(st.sampled_from([0.8, 3.0, 300.0]))
    return fresnel(draw(st.floats(0, 30)), pixel, energy)


# What lies behind the object: nothing but the far field, or a distance.
spaces = st.none() | free_spaces()
lossless = st.none() | travelling()


@dataclass(frozen=True, eq=False, repr=False)
class Groups:
    """Offsets (B, C, 2) of groups with zero mean, and a generator for the rest."""

    n: int
    offsets: Array
    rng: np.random.Generator

    @property
    def reach(self) -> int:
        return int(np.abs(np.floor(self.offsets + 0.5)).max())

    def __repr__(self) -> str:
        return f"Groups(n {self.n}, offsets {self.offsets.tolist()})"


@st.composite
def group_offsets(
    draw: st.DrawFn, n: st.SearchStrategy[int] = sizes, kind: st.SearchStrategy[str] = kinds
) -> Groups:
    """Groups of gridsize 1, 2 and 3 with offsets up to a third of the patch."""
    size, chosen = draw(n), draw(kind)
    b, c = draw(st.integers(1, 4)), draw(st.sampled_from([1, 4, 9]))
    spread = draw(st.floats(0, size / 3))
    rng = np.random.default_rng(draw(seeds))
    if chosen == "fractional":
        offsets = rng.uniform(-spread, spread, (b, c, 2))
        offsets -= offsets.mean(axis=1, keepdims=True)
    else:
        # Pairs of opposite offsets, and one at the centre: whole or half pixels with zero mean.
        half = rounded(rng.uniform(-spread, spread, (b, c // 2, 2)), chosen)
        offsets = np.concatenate([half, -half, np.zeros((b, c % 2, 2))], axis=1)
    return Groups(size, offsets, rng)


def small_scan(
    seed: int,
    *,
    n: int = 32,
    m: int = 14,
    count: int = 1,
    masked: bool = False,
    photons: float = 1e5,
) -> Scan:
    """A scan of a smooth object, float32 counts without noise so that it may be scaled at will."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-n / 4, n / 4, (m, 2)) + np.array([n, n + 7])
    (height, width), origin = canvas_for(positions, n, margin=2)
    y, x = np.indices((height, width))
    probe = gaussian_probe(n, n / 8, count, 0.03)
    probe *= np.sqrt(photons / (np.abs(probe) ** 2).sum())
    patterns = intensities(smooth_object(y, x, rng), probe, positions, origin)
    mask = None
    if masked:
        mask = rng.random((n, n)) < 0.9
        mask[n // 2, n // 2] = True
    return Scan(
        diffraction=patterns.astype(np.float32),
        positions_px=positions,
        probe=probe.astype(np.complex64),
        mask=mask,
    )
