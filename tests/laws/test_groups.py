"""The laws of groups of patches, on every implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from adapters import Physics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import (
    Groups,
    assert_same,
    complex_normal,
    energy,
    gaussian_probe,
    group_offsets,
    laws,
    smooth_object,
)

from oracle import forward, groups

Array = NDArray[Any]


def weight_on_canvas(g: Groups, weight: Array) -> Array:
    """Share of the largest weight on the group canvases (B, L, L)."""
    whole, fraction = groups.split_offsets(g.offsets)
    moved = groups.shift_weight(weight, fraction)
    below = np.zeros((len(g.offsets), g.n + 2 * g.reach, g.n + 2 * g.reach))
    for b, c in np.ndindex(*g.offsets.shape[:2]):
        y, x = whole[b, c] + g.reach
        below[b, y : y + g.n, x : x + g.n] += moved[b, c]
    return below / weight.max()


@laws
@given(group_offsets())
def test_merging_is_that_of_the_oracle(implementation: Physics, g: Groups) -> None:
    patches = complex_normal(g.rng, *g.offsets.shape[:2], g.n, g.n)
    weight = groups.merge_weight(gaussian_probe(g.n, g.n / 5, 2))
    # Where only rounding errors of the weight are left, single precision cannot say who is meant.
    seen = weight_on_canvas(g, weight) > (0 if implementation.rtol < 1e-6 else 1e-2)
    merged = implementation.merge(patches, g.offsets, weight, g.reach)
    expected = groups.merge(patches, g.offsets, weight, g.reach)
    assert_same(merged[seen], expected[seen], 30 * implementation.rtol)


@laws
@given(group_offsets(), st.booleans())
def test_a_constant_object_stays_that_constant_whatever_the_weight(
    implementation: Physics, g: Groups, rough: bool
) -> None:
    value = complex(*g.rng.normal(size=2))
    patches = np.full((*g.offsets.shape[:2], g.n, g.n), value)
    weight = (
        g.rng.uniform(0.01, 1, (g.n, g.n))
        if rough
        else groups.merge_weight(gaussian_probe(g.n, g.n / 5))
    )
    share = weight_on_canvas(g, weight)
    merged = implementation.merge(patches, g.offsets, weight, g.reach)
    seen = share > 0
    assert_same(merged[seen], np.full(seen.sum(), value), 10 * implementation.rtol)
    assert np.all(merged[~seen] == groups.FILL)


@laws
@given(group_offsets(n=st.sampled_from([16, 32])))
def test_merging_never_amplifies(implementation: Physics, g: Groups) -> None:
    """Patches of modulus 1, rough as an untrained network may make them: the merged object stays
    bounded where the weight fades, and the patterns hold no more counts than the probe."""
    phase = g.rng.uniform(-1, 1, (*g.offsets.shape[:2], g.n, g.n))
    patches, probe = np.exp(1j * phase), gaussian_probe(g.n, g.n / 7, 2)
    merged = implementation.merge(patches, g.offsets, groups.merge_weight(probe), g.reach)
    assert np.abs(merged).max() < 10
    counts = implementation.group_intensities(patches, g.offsets, probe).sum(axis=(2, 3))
    assert counts.max() <= 1.2 * energy(probe)


@laws
@given(group_offsets(kind=st.just("integer")))
def test_extract_cuts_what_merge_put_together(implementation: Physics, g: Groups) -> None:
    """Whole-pixel offsets, any object: patches of one object, merged and cut, come back."""
    canvas = complex_normal(g.rng, len(g.offsets), g.n + 2 * g.reach, g.n + 2 * g.reach)
    patches = implementation.extract(canvas, g.offsets, g.n, g.reach)
    y, x = (g.offsets[0, 0] + g.reach).astype(int)
    assert_same(patches[0, 0], canvas[0, y : y + g.n, x : x + g.n], implementation.rtol)
    weight = g.rng.uniform(0.1, 1, (g.n, g.n))
    merged = implementation.merge(patches, g.offsets, weight, g.reach)
    again = implementation.extract(merged, g.offsets, g.n, g.reach)
    assert_same(again, patches, 10 * implementation.rtol)


@laws
@given(group_offsets(kind=st.just("integer")), st.integers(1, 3))
def test_patches_of_any_object_reproduce_every_pattern_at_whole_pixels(
    implementation: Physics, g: Groups, count: int
) -> None:
    canvas = complex_normal(g.rng, len(g.offsets), g.n + 2 * g.reach, g.n + 2 * g.reach)
    patches = groups.extract(canvas, g.offsets, g.n, g.reach)
    probe = complex_normal(g.rng, count, g.n, g.n)
    expected = (np.abs(forward.fft(probe * patches[:, :, None])) ** 2).sum(axis=2)
    modelled = implementation.group_intensities(
        patches, g.offsets, probe, g.rng.uniform(0.1, 1, (g.n, g.n))
    )
    assert_same(modelled, expected, 10 * implementation.rtol)


@laws
@given(group_offsets(n=st.sampled_from([32, 48, 64])), st.integers(1, 3))
def test_patches_of_a_smooth_object_reproduce_every_pattern_at_any_position(
    implementation: Physics, g: Groups, count: int
) -> None:
    """The true object, sampled at the exact position of each patch, gives the measured patterns."""
    seed = int(g.rng.integers(2**32))
    u = np.arange(g.n) - g.n / 2
    y = u[:, None] + g.offsets[..., 0, None, None]
    x = u[None, :] + g.offsets[..., 1, None, None]
    patches = np.stack(
        [smooth_object(a, b, np.random.default_rng(seed)) for a, b in zip(y, x, strict=True)]
    )
    probe = gaussian_probe(g.n, g.n / 12, count, 0.02)
    expected = (np.abs(forward.fft(probe * patches[:, :, None])) ** 2).sum(axis=2)
    modelled = implementation.group_intensities(patches, g.offsets, probe)
    assert_same(modelled, expected, max(1e-5, implementation.rtol))


@laws
@given(group_offsets())
def test_a_group_does_not_see_the_rest_of_the_batch(implementation: Physics, g: Groups) -> None:
    patches = complex_normal(g.rng, *g.offsets.shape[:2], g.n, g.n)
    probe = gaussian_probe(g.n, g.n / 5, 2)
    together = implementation.group_intensities(patches, g.offsets, probe)
    for b in range(len(patches)):
        alone = implementation.group_intensities(patches[b : b + 1], g.offsets[b : b + 1], probe)
        assert_same(together[b], alone[0], 10 * implementation.rtol)


@pytest.mark.parametrize(("batch", "size"), [(15, 4), (16, 4), (17, 4), (70, 4), (8, 9), (130, 1)])
def test_a_group_does_not_see_a_large_batch(implementation: Physics, batch: int, size: int) -> None:
    """Around and beyond 64 patches, where a chunked implementation would start to mix them."""
    rng = np.random.default_rng(batch)
    n = 16
    offsets = rng.uniform(-5, 5, (batch, size, 2))
    offsets -= offsets.mean(axis=1, keepdims=True)
    patches, probe = complex_normal(rng, batch, size, n, n), gaussian_probe(n, 3.0, 2)
    together = implementation.group_intensities(patches, offsets, probe)
    for b in (0, 1, batch // 2, batch - 1):
        alone = implementation.group_intensities(patches[b : b + 1], offsets[b : b + 1], probe)
        assert_same(together[b], alone[0], 10 * implementation.rtol)
