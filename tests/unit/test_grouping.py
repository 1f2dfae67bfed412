"""Groups, sub-samples and the held-out part: exact properties for any scan and any seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ptychopinn.data.sampling import (
    choose_anchors,
    group_offsets,
    nearest_groups,
    reading_order,
    split_positions_held_out,
    subsample,
)
from ptychopinn.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def positions(draw: st.DrawFn, least: int = 1) -> Any:
    """Positions of any kind, whole pixels (with ties and repeats) as well as fractions."""
    m = draw(st.integers(least, 30))
    elements = draw(
        st.sampled_from([st.integers(0, 4).map(float), st.floats(-1e3, 1e3, allow_nan=False)])
    )
    return draw(hnp.arrays(np.float64, (m, 2), elements=elements))


@st.composite
def grouping(draw: st.DrawFn) -> tuple[Any, Any, int, int]:
    where = draw(positions())
    m = len(where)
    size = draw(st.integers(1, min(m, 9)))
    neighbours = draw(st.integers(size - 1, m - 1))
    anchors = draw(st.lists(st.integers(0, m - 1), max_size=12))
    return where, np.array(anchors, dtype=np.int64), size, neighbours


@pytest.fixture(autouse=True)
def global_generator_untouched() -> Iterator[None]:
    before = np.random.get_state()  # noqa: NPY002
    yield
    after = np.random.get_state()  # noqa: NPY002
    assert before[2:] == after[2:]
    np.testing.assert_array_equal(before[1], after[1])


@given(case=grouping(), seed=SEEDS)
def test_groups(case: tuple[Any, Any, int, int], seed: int) -> None:
    where, anchors, size, neighbours = case
    groups = nearest_groups(where, anchors, size, neighbours, seeded(seed))
    assert groups.shape == (len(anchors), size)
    assert groups.dtype == np.int64
    np.testing.assert_array_equal(groups[:, 0], anchors)
    for group in groups:
        assert len(set(group.tolist())) == size
        assert group.min() >= 0
        assert group.max() < len(where)
        # No member is farther from the anchor than its K-th nearest neighbour; the squares of
        # distances below 1e-160 are zero.
        distance = np.hypot(*(where - where[group[0]]).T)
        assert distance[group].max() <= np.sort(distance)[neighbours] * (1 + 1e-12) + 1e-160
    np.testing.assert_array_equal(
        groups, nearest_groups(where, anchors, size, neighbours, seeded(seed))
    )


@st.composite
def square_groups(draw: st.DrawFn) -> tuple[Any, Any, int]:
    """Positions and groups (B, g^2) of distinct members, with g."""
    g = draw(st.integers(1, 3))
    where = draw(positions(least=g * g))
    group = st.permutations(range(len(where))).map(lambda numbers: numbers[: g * g])
    groups = draw(st.lists(group, max_size=6))
    return where, np.array(groups, dtype=np.int64).reshape(-1, g * g), g


@given(case=square_groups(), seed=SEEDS)
def test_reading_order(case: tuple[Any, Any, int], seed: int) -> None:
    where, groups, g = case
    ordered = reading_order(where, groups)
    assert ordered.dtype == np.int64
    # The same members, so the anchor too.
    np.testing.assert_array_equal(np.sort(ordered, axis=1), np.sort(groups, axis=1))
    y, x = np.moveaxis(where[ordered].reshape(-1, g, g, 2), -1, 0)
    assert (y[:, :-1].max(axis=2) <= y[:, 1:].min(axis=2)).all()
    assert (np.diff(x, axis=2) >= 0).all()
    shuffled = seeded(seed).permuted(groups, axis=1)
    np.testing.assert_array_equal(reading_order(where, shuffled), ordered)


@pytest.mark.parametrize("g", [2, 3])
@given(seed=SEEDS)
def test_reading_order_of_a_raster(g: int, seed: int) -> None:
    """Steps of 6 with a jitter of less than 3: top left first, bottom right last."""
    rng = seeded(seed)
    where = np.stack(np.mgrid[0:g, 0:g], axis=-1).reshape(-1, 2) * 6.0
    where += rng.uniform(-2.9, 2.9, where.shape)
    group = rng.permutation(g * g)[None]
    assert reading_order(where, group).tolist() == [list(range(g * g))]


def test_reading_order_needs_a_square() -> None:
    with pytest.raises(InputError, match="gridsize\\^2 patterns, received groups of 3"):
        reading_order(np.zeros((5, 2)), np.array([[0, 1, 2]]))


@given(case=grouping(), seed=SEEDS)
def test_offsets_are_centred(case: tuple[Any, Any, int, int], seed: int) -> None:
    where, anchors, size, neighbours = case
    groups = nearest_groups(where, anchors, size, neighbours, seeded(seed))
    offsets = group_offsets(where, groups)
    assert offsets.shape == (len(anchors), size, 2)
    np.testing.assert_allclose(offsets.mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(
        offsets - offsets[:, :1], where[groups] - where[groups[:, :1]], atol=1e-9
    )


def test_exactly_the_nearest() -> None:
    """On a line with growing steps there is one answer, in order of distance."""
    where = np.stack([np.zeros(6), np.array([0, 1, 3, 7, 15, 31])], axis=1)
    groups = nearest_groups(where, np.array([0, 3]), 3, 2, seeded(0))
    assert groups.tolist() == [[0, 1, 2], [3, 2, 1]]


def test_every_neighbour_is_drawn() -> None:
    where = np.stack(np.mgrid[0:5, 0:5], axis=-1).reshape(-1, 2) * 1.0
    anchors = np.full(400, 12)
    groups = nearest_groups(where, anchors, 4, 8, seeded(0))
    assert set(groups[:, 1:].ravel().tolist()) == {6, 7, 8, 11, 13, 16, 17, 18}
    assert len({tuple(group) for group in groups.tolist()}) > 100


def test_patterns_at_one_place() -> None:
    where = np.zeros((20, 2))
    groups = nearest_groups(where, np.arange(20), 4, 6, seeded(0))
    np.testing.assert_array_equal(groups[:, 0], np.arange(20))
    assert all(len(set(group)) == 4 for group in groups.tolist())


@pytest.mark.parametrize(
    "m, size, neighbours, match",
    [
        (3, 4, 3, "needs 4 patterns, received a scan of 3"),
        (9, 4, 2, "between 3 .* and 8 .* received 2"),
        (9, 4, 9, "between 3 .* and 8 .* received 9"),
        (9, 1, -1, "between 0"),
        (9, 0, 4, "at least 1, received 0"),
    ],
)
def test_impossible_groups(m: int, size: int, neighbours: int, match: str) -> None:
    with pytest.raises(InputError, match=match):
        nearest_groups(
            np.random.default_rng(0).random((m, 2)), np.arange(1), size, neighbours, seeded(0)
        )


@pytest.mark.parametrize("anchors", [[-1], [5], [[0]], [0.5], [True]])
def test_impossible_anchors(anchors: Any) -> None:
    with pytest.raises(InputError, match="anchors must be"):
        nearest_groups(np.zeros((5, 2)), np.array(anchors), 2, 2, seeded(0))


@pytest.mark.parametrize("where", [np.zeros(4), np.zeros((4, 3)), np.full((4, 2), np.nan)])
def test_impossible_positions(where: Any) -> None:
    with pytest.raises(InputError, match="positions must be"):
        nearest_groups(where, np.arange(2), 2, 2, seeded(0))
    with pytest.raises(InputError, match="positions must be"):
        split_positions_held_out(where, 0.5, seeded(0))


@given(m=st.integers(1, 40), n=st.integers(1, 100), sequential=st.booleans(), seed=SEEDS)
def test_anchors(m: int, n: int, sequential: bool, seed: int) -> None:
    anchors = choose_anchors(m, n, sequential, True, seeded(seed))
    assert anchors.shape == (n,)
    assert anchors.dtype == np.int64
    counts = np.bincount(anchors, minlength=m)
    assert len(counts) == m
    assert counts.min() >= n // m
    assert counts.max() <= -(-n // m)
    np.testing.assert_array_equal(anchors, choose_anchors(m, n, sequential, True, seeded(seed)))
    if sequential:
        np.testing.assert_array_equal(anchors, np.arange(n) % m)
    if n <= m:
        without = choose_anchors(m, n, sequential, False, seeded(seed))
        np.testing.assert_array_equal(anchors, without)


def test_special_anchors() -> None:
    for sequential in (False, True):
        assert choose_anchors(4, None, sequential, False, seeded(0)).tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="at most the number of patterns, 4, received 5; lower it"):
        choose_anchors(4, 5, False, False, seeded(0))
    with pytest.raises(InputError, match="at least 1, received 0"):
        choose_anchors(4, 0, False, True, seeded(0))
    with pytest.raises(InputError, match="at least one pattern"):
        choose_anchors(0, None, False, True, seeded(0))
    drawn = [choose_anchors(50, 50, False, False, seeded(s)).tolist() for s in range(3)]
    assert drawn[0] != drawn[1] != drawn[2]


@given(m=st.integers(1, 40), data=st.data(), seed=SEEDS)
def test_subsample(m: int, data: st.DataObject, seed: int) -> None:
    n = data.draw(st.integers(1, m))
    chosen = subsample(m, n, seeded(seed))
    assert chosen.dtype == np.int64
    assert len(set(chosen.tolist())) == len(chosen) == n
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < m
    np.testing.assert_array_equal(chosen, subsample(m, n, seeded(seed)))
    np.testing.assert_array_equal(subsample(m, None, seeded(seed)), np.arange(m))


@pytest.mark.parametrize("n", [-1, 0, 5])
def test_impossible_subsample(n: int) -> None:
    with pytest.raises(InputError, match=f"between 1 and .* 4, received {n}"):
        subsample(4, n, seeded(0))


@given(where=positions(least=2), fraction=st.floats(0.01, 0.99), seed=SEEDS)
def test_held_out(where: Any, fraction: float, seed: int) -> None:
    m = len(where)
    train, held_out = split_positions_held_out(where, fraction, seeded(seed))
    assert train.dtype == held_out.dtype == np.int64
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(m))
    assert len(held_out) == min(max(round(fraction * m), 1), m - 1)
    # Compact: some held-out position has all held-out ones nearer than all others.
    distance = np.hypot(*(where[held_out][:, None] - where[None]).transpose(2, 0, 1))
    margin = distance[:, train].min(axis=1) - distance[:, held_out].max(axis=1)
    assert margin.max() >= -1e-9
    again = split_positions_held_out(where, fraction, seeded(seed))
    np.testing.assert_array_equal(again[1], held_out)


def test_held_out_groups_share_nothing() -> None:
    rng = seeded(1)
    where = rng.random((200, 2)) * 100
    parts = split_positions_held_out(where, 0.2, rng)
    seen = []
    for part in parts:
        groups = nearest_groups(where[part], np.arange(len(part)), 4, 6, rng)
        seen.append(set(part[groups].ravel().tolist()))
    assert not seen[0] & seen[1]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_fraction(fraction: float) -> None:
    with pytest.raises(InputError, match="above 0 and below 1"):
        split_positions_held_out(np.zeros((5, 2)), fraction, seeded(0))
    with pytest.raises(InputError, match="at least 2"):
        split_positions_held_out(np.zeros((1, 2)), 0.5, seeded(0))
