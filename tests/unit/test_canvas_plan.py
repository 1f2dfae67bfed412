"""How a scan is divided into ordered subsets and placed on a canvas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ptychopinn.data.sampling import ordered_subsets
from ptychopinn.errors import InputError
from ptychopinn.physics.geometry import canvas_for, mean_overlap, places
from ptychopinn.solvers.problem import (
    LEAST_OVERLAP,
    LEFT_OUT,
    judged_subsets,
    ordered_subsets_of,
    subset_count,
)

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def gauss(n: int, sigma: float) -> NDArray[Any]:
    y, x = np.indices((n, n)) - n / 2
    return np.exp(-(y**2 + x**2) / (2 * sigma**2))[None].astype(np.complex64)


def raster(rows: int, columns: int, step: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Positions in random order, jittered by a tenth of the step."""
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    places = step * (np.stack([y, x], axis=1) + rng.uniform(-0.1, 0.1, (rows * columns, 2)))
    return rng.permutation(places)


@few
@given(st.integers(1, 200), st.integers(1, 16), seeds)
def test_ordered_subsets_are_a_partition(m: int, count: int, seed: int) -> None:
    """Of equal sizes up to one, sorted, and the same again for the same generator."""
    positions = np.random.default_rng(seed).uniform(-50, 50, (m, 2))
    if count > m:
        with pytest.raises(InputError, match="number of subsets"):
            ordered_subsets(positions, count, np.random.default_rng(0))
        return
    subsets = ordered_subsets(positions, count, np.random.default_rng(seed))
    again = ordered_subsets(positions, count, np.random.default_rng(seed))
    assert len(subsets) == count
    assert np.array_equal(np.sort(np.concatenate(subsets)), np.arange(m))
    sizes = [len(s) for s in subsets]
    assert max(sizes) - min(sizes) <= 1
    assert all(np.all(np.diff(s) > 0) for s in subsets)
    assert all(np.array_equal(a, b) for a, b in zip(subsets, again, strict=True))


@few
@given(st.integers(8, 20), st.integers(8, 20), st.integers(2, 4), seeds)
def test_every_ordered_subset_covers_the_scan(
    rows: int, columns: int, count: int, seed: int
) -> None:
    """Its box ends within a step of that of the scan, and no pattern is far from it."""
    rng = np.random.default_rng(seed)
    positions = raster(rows, columns, 1.0, rng)
    low, high = positions.min(axis=0), positions.max(axis=0)
    for subset in ordered_subsets(positions, count, rng):
        chosen = positions[subset]
        assert (chosen.min(axis=0) - low <= 1.2).all()
        assert (high - chosen.max(axis=0) <= 1.2).all()
        distance = np.linalg.norm(positions[:, None] - chosen[None], axis=2).min(axis=1)
        assert distance.max() < count + 0.5


def by_halves(positions: NDArray[Any], patterns: NDArray[Any]) -> list[int]:
    """The order of halving along the longer side, part by part."""
    if len(patterns) < 2:
        return list(patterns)
    there = positions[patterns]
    axis = np.argmax(there.max(axis=0) - there.min(axis=0))
    along = patterns[np.argsort(there[:, axis], kind="stable")]
    middle = len(along) // 2
    return by_halves(positions, along[:middle]) + by_halves(positions, along[middle:])


@few
@given(st.integers(1, 80), st.integers(1, 4), st.booleans(), seeds)
def test_ordered_subsets_take_from_runs_of_neighbours(
    m: int, count: int, regular: bool, seed: int
) -> None:
    """Of every run of so many neighbours in the order of the halves each subset has one."""
    positions = np.random.default_rng(seed).uniform(-20, 20, (m, 2))
    positions = np.round(positions / 8) if regular else positions
    subsets = ordered_subsets(positions, min(count, m), np.random.default_rng(seed))
    owner = np.empty(m, np.int64)
    for number, subset in enumerate(subsets):
        owner[subset] = number
    order = by_halves(positions, np.arange(m))
    for first in range(0, m - len(subsets) + 1, len(subsets)):
        assert sorted(owner[order[first : first + len(subsets)]]) == list(range(len(subsets)))


@few
@given(st.integers(1, 30), seeds)
def test_the_mean_overlap_is_that_of_the_sums(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions = np.round(rng.uniform(0, 40, (m, 2)))
    probe = rng.normal(size=(2, 9, 9)) + 1j * rng.normal(size=(2, 9, 9))
    density, light = (np.abs(probe) ** 2).sum(axis=0), np.zeros((60, 60))
    for y, x in positions.astype(int):
        light[y : y + 9, x : x + 9] += density
    expected = (light**2).sum() / (m * (density**2).sum())
    assert mean_overlap(positions, probe) == pytest.approx(expected, rel=1e-5)


@few
@given(st.integers(1, 30), seeds)
def test_the_mean_overlap_counts_patterns_at_one_place(m: int, seed: int) -> None:
    place = np.random.default_rng(seed).uniform(-100, 100, 2)
    found = mean_overlap(np.tile(place, (m, 1)), gauss(32, 4.0))
    assert found == pytest.approx(m, rel=1e-6)


def test_the_mean_overlap_of_patterns_apart_is_one() -> None:
    positions = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    assert mean_overlap(positions, gauss(32, 3.0)) == pytest.approx(1, rel=1e-6)


def test_the_mean_overlap_grows_with_the_density_and_ignores_the_scale() -> None:
    rng = np.random.default_rng(0)
    loose, dense = (raster(12, 12, step, rng) for step in (6.0, 3.0))
    probe = gauss(32, 4.0)
    assert mean_overlap(dense, probe) > 2.5 * mean_overlap(loose, probe)
    assert mean_overlap(dense, 1e3 * probe) == pytest.approx(mean_overlap(dense, probe))
    assert mean_overlap(dense + 1000, probe) == pytest.approx(mean_overlap(dense, probe), rel=1e-3)


@pytest.mark.parametrize(
    ("overlap", "patterns", "expected"),
    [(1.0, 100, 1), (2 * LEAST_OVERLAP, 100, 2), (50.0, 100, 4), (50.0, 3, 3)],
)
def test_as_many_subsets_as_the_overlap_allows(
    overlap: float, patterns: int, expected: int
) -> None:
    assert subset_count(overlap, patterns, 4) == expected


def test_a_training_sub_scan_leaves_some_patterns_out_to_judge() -> None:
    positions = raster(10, 10, 3.0, np.random.default_rng(1))
    subsets, left_out = judged_subsets(positions, gauss(32, 4.0), 4)
    assert len(left_out) == len(positions) // LEFT_OUT
    assert np.array_equal(np.sort(np.concatenate([*subsets, left_out])), np.arange(100))
    assert len(subsets) == len(ordered_subsets_of(positions, gauss(32, 4.0), 4)) > 1


@few
@given(seeds)
def test_patches_lie_on_the_smallest_canvas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, positions = 32, rng.uniform(-300, 300, (20, 2))
    shape, origin = canvas_for(positions, n)
    found = places(positions, n, shape, origin)
    assert found.corner.min() == 0
    assert np.array_equal(found.corner.max(axis=0) + n, shape)
    assert (np.abs(found.fraction) <= 0.5).all()
    middle = np.stack(np.unravel_index(found.centre, shape), axis=1)
    np.testing.assert_allclose(middle + found.fraction + origin, positions, atol=1e-9)
