"""The laws of patches stitched onto one canvas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import (
    assert_same,
    complex_normal,
    gaussian_probe,
    laws,
    seeds,
    sizes,
    smooth_object,
)

from oracle import groups
from ptychopinn.physics.stitching import Stitcher

Array = NDArray[Any]


def hann(n: int) -> Array:
    window = np.sin(np.pi * np.arange(n) / n) ** 2
    return np.outer(window, window)


@laws
@given(sizes.filter(lambda n: n >= 10), seeds)
def test_a_lit_pixel_of_a_patch_is_stitched_where_the_contract_says(n: int, seed: int) -> None:
    """Pixel u of a patch at r belongs to r + (u - N/2)."""
    rng = np.random.default_rng(seed)
    positions = rng.integers(-30, 30, (3, 2)).astype(float)
    lit = rng.integers(n // 4, 3 * n // 4, 2)
    patch = np.zeros((1, n, n), complex)
    patch[0, lit[0], lit[1]] = 1
    stitcher = Stitcher(positions, hann(n))
    stitcher.add(patch, positions[1:2])
    canvas, weight = stitcher.result()
    canvas = np.where(weight > 0, canvas, 0)
    found = np.array(np.unravel_index(np.abs(canvas).argmax(), canvas.shape))
    assert np.array_equal(found + stitcher.origin_px, positions[1] + lit - n // 2)
    assert np.abs(canvas).sum() == pytest.approx(1, abs=1e-3)


@laws
@given(seeds)
def test_a_fractional_position_is_stitched_the_right_way(seed: int) -> None:
    """Patches of a smooth object at exact fractional positions stitch to that object."""
    n = 32
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-6, 6, (12, 2))
    u = np.arange(n) - n / 2
    y = u[:, None] + positions[:, 0, None, None]
    x = u[None, :] + positions[:, 1, None, None]
    patches = smooth_object(y, x, np.random.default_rng(seed))
    stitcher = Stitcher(positions, groups.merge_weight(gaussian_probe(n, n / 6)))
    stitcher.add(patches, positions)
    canvas, weight = stitcher.result()
    (height, width), (top, left) = canvas.shape, stitcher.origin_px
    truth = smooth_object(
        np.arange(top, top + height)[:, None],
        np.arange(left, left + width)[None, :],
        np.random.default_rng(seed),
    )
    well = weight > 0.05 * weight.max()
    assert_same(canvas[well], truth[well], 2e-3)


@laws
@given(seeds, st.integers(1, 11))
def test_stitching_does_not_depend_on_batches_and_order(seed: int, split: int) -> None:
    n = 16
    rng = np.random.default_rng(seed)
    positions, patches = rng.uniform(-9, 9, (12, 2)), complex_normal(rng, 12, n, n)
    whole, parts = Stitcher(positions, hann(n)), Stitcher(positions, hann(n))
    whole.add(patches, positions)
    order = rng.permutation(12)
    for part in (order[:split], order[split:]):
        parts.add(patches[part], positions[part])
    (canvas, weight), (other, other_weight) = whole.result(), parts.result()
    assert np.array_equal(weight > 0, other_weight > 0)
    assert_same(other_weight, weight, 1e-6)
    well = weight > 0.05
    assert_same(other[well], canvas[well], 1e-5)


@laws
@given(seeds)
def test_stitching_never_amplifies(seed: int) -> None:
    """Rough patches of modulus 1 stay bounded where the weight fades."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-9, 9, (20, 2))
    weight = groups.merge_weight(gaussian_probe(32, 4.0))
    stitcher = Stitcher(positions, weight)
    stitcher.add(np.exp(1j * rng.uniform(-1, 1, (20, 32, 32))), positions)
    assert np.abs(stitcher.result()[0]).max() < 5


@laws
@given(seeds)
def test_stitching_keeps_a_constant_and_fills_what_was_never_seen(seed: int) -> None:
    n = 16
    rng = np.random.default_rng(seed)
    positions = np.concatenate([rng.uniform(-9, 9, (5, 2)), [[60.0, 60.0]]])
    value = complex(*rng.normal(size=2))
    stitcher = Stitcher(positions, hann(n))
    stitcher.add(np.full((6, n, n), value), positions)
    canvas, weight = stitcher.result()
    seen = weight > 0
    assert_same(canvas[seen], np.full(seen.sum(), value), 2e-3)
    assert np.all(canvas[~seen] == groups.FILL)
    assert np.all(weight >= 0)
    assert np.isfinite(canvas).all()
