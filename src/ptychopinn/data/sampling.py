"""Which patterns belong together: groups of neighbours, sub-samples and a held-out part.

All choices come from the generator that is passed in, so a seed determines them; positions are
(M, 2) in (y, x) object pixels, as in :class:`ptychopinn.data.scan.Scan`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError

Index = NDArray[np.int64]
Positions = NDArray[np.floating[Any]]


def nearest_groups(
    positions_px: Positions,
    anchors: NDArray[np.integer[Any]],
    size: int,
    neighbor_count: int,
    rng: np.random.Generator,
) -> Index:
    """Groups (B, C) of pattern numbers: the anchor first, then neighbours of it.

    Parameters
    ----------
    positions_px : (M, 2)
    anchors : (B,) int
        One group is made for each; repeats are allowed and drawn independently.
    size : int
        C, the number of patterns in a group, the anchor included.
    neighbor_count : int
        K, from C - 1 to M - 1. The C - 1 others are drawn without repetition from the anchor's K
        nearest neighbours; with K = C - 1 they are exactly the nearest, in order of distance.
    rng
        Source of the draws.

    Raises
    ------
    InputError
        When there are fewer than C patterns, K is out of its range, or an anchor is no pattern.
    """
    positions = _checked(positions_px)
    m, others = len(positions), size - 1
    anchors = np.asarray(anchors)
    if size < 1:
        raise InputError(
            f"the group size must be at least 1, received {size}; use gridsize 1 for no grouping."
        )
    if m < size:
        raise InputError(
            f"a group needs {size} patterns, received a scan of {m}; use a smaller gridsize."
        )
    if not others <= neighbor_count <= m - 1:
        raise InputError(
            f"neighbor_count must be between {others} (group size minus the anchor) and {m - 1} "
            f"(patterns minus the anchor), received {neighbor_count}; change it or the gridsize."
        )
    if anchors.ndim != 1 or anchors.dtype.kind not in "iu":
        raise InputError(
            "anchors must be a list of pattern numbers, received an array of shape "
            f"{anchors.shape} and dtype {anchors.dtype}; use choose_anchors."
        )
    if anchors.size and not (anchors.min() >= 0 and anchors.max() < m):
        raise InputError(
            f"anchors must be pattern numbers from 0 to {m - 1}, received "
            f"{anchors.min()} to {anchors.max()}; use choose_anchors."
        )
    anchors = anchors.astype(np.int64)
    if others == 0 or anchors.size == 0:
        return np.broadcast_to(anchors[:, None], (len(anchors), size)).copy()

    from scipy.spatial import cKDTree

    _, near = cKDTree(positions).query(positions[anchors], k=neighbor_count + 1)
    # Take the anchor out: a stable sort moves it behind its neighbours and keeps their order. Where
    # other patterns share its position, it may be absent; then the farthest is left out instead.
    is_anchor = near == anchors[:, None]
    order = np.argsort(is_anchor, axis=1, kind="stable")[:, :neighbor_count]
    neighbours = np.take_along_axis(near, order, axis=1).astype(np.int64)
    if neighbor_count > others:
        neighbours = rng.permuted(neighbours, axis=1)[:, :others]
    return np.concatenate([anchors[:, None], neighbours], axis=1)


def reading_order(positions_px: Positions, groups: NDArray[np.integer[Any]]) -> Index:
    """The same groups (B, g^2) with their members in reading order.

    The members are sorted by y and cut into g rows of g, and each row is sorted by x; members at
    one place keep the order of their numbers. A network with one channel per member then meets
    about the same arrangement in every group (on a raster with g = 2: top left, top right, bottom
    left, bottom right), and the outcome does not depend on which member is the anchor.

    Parameters
    ----------
    positions_px : (M, 2)
    groups : (B, g^2) int
        As from :func:`nearest_groups`.

    Raises
    ------
    InputError
        When the size of the groups is no square number.
    """
    positions, members = _checked(positions_px), np.sort(groups, axis=1).astype(np.int64)
    size = members.shape[1]
    g = math.isqrt(size)
    if g * g != size:
        raise InputError(
            f"reading order needs groups of gridsize^2 patterns, received groups of {size}; "
            "use 1, 4 or 9."
        )
    by_y = np.argsort(positions[members, 0], axis=1, kind="stable")
    rows = np.take_along_axis(members, by_y, axis=1).reshape(-1, g, g)
    # Numbers first, so that a tie in x is decided by them and not by y.
    rows = np.sort(rows, axis=2)
    by_x = np.argsort(positions[rows, 1], axis=2, kind="stable")
    return np.take_along_axis(rows, by_x, axis=2).reshape(-1, size)


def choose_anchors(
    m: int, n_groups: int | None, sequential: bool, oversampling: bool, rng: np.random.Generator
) -> Index:
    """Anchors (B,) of the groups, as numbers of patterns 0..m-1.

    - ``n_groups`` None: every pattern once, in order;
    - up to m: a random choice without repetition, or the first ones when ``sequential``;
    - more than m (``oversampling`` only): every pattern floor(B/m) or ceil(B/m) times, in random
      order, or cyclically when ``sequential``.

    Raises
    ------
    InputError
        When ``n_groups`` is less than 1, or exceeds m without ``oversampling``.
    """
    _check_count(m)
    if n_groups is None:
        return np.arange(m, dtype=np.int64)
    if n_groups < 1:
        raise InputError(
            f"n_groups must be at least 1, received {n_groups}; leave it out to use every pattern."
        )
    if n_groups > m and not oversampling:
        raise InputError(
            f"n_groups must be at most the number of patterns, {m}, received {n_groups}; "
            "lower it, or enable oversampling to use patterns as anchors more than once."
        )
    if sequential:
        return np.arange(n_groups, dtype=np.int64) % m
    rounds, rest = divmod(n_groups, m)
    extra = rng.choice(m, rest, replace=False).astype(np.int64)
    if rounds == 0:
        return extra
    return rng.permutation(np.concatenate([np.tile(np.arange(m, dtype=np.int64), rounds), extra]))


def subsample(m: int, n_subsample: int | None, rng: np.random.Generator) -> Index:
    """Sorted numbers of ``n_subsample`` random patterns out of 0..m-1; None means all.

    Raises
    ------
    InputError
        When ``n_subsample`` is less than 1 or more than m.
    """
    _check_count(m)
    if n_subsample is None:
        return np.arange(m, dtype=np.int64)
    if not 1 <= n_subsample <= m:
        raise InputError(
            f"n_subsample must be between 1 and the number of patterns, {m}, received "
            f"{n_subsample}; change it, or leave it out to use every pattern."
        )
    return np.sort(rng.choice(m, n_subsample, replace=False)).astype(np.int64)


def split_positions_held_out(
    positions_px: Positions, fraction: float, rng: np.random.Generator
) -> tuple[Index, Index]:
    """Split a scan into a training part and a held-out part, (train, held_out), both sorted.

    The held-out part is compact: the patterns nearest to a randomly drawn one. Patterns next to
    each other see the same piece of object, so a scattered choice would be judged on what was
    trained on; and groups formed within each part never share a pattern. It holds
    round(fraction * M) patterns, at least 1 and at most M - 1.

    Raises
    ------
    InputError
        When ``fraction`` is not between 0 and 1, or there are fewer than 2 patterns.
    """
    positions = _checked(positions_px)
    m = len(positions)
    if not 0 < fraction < 1:
        raise InputError(
            f"the held-out fraction must be above 0 and below 1, received {fraction}; "
            "use for example 0.1."
        )
    if m < 2:
        raise InputError(
            f"holding patterns out needs at least 2 of them, received {m}; use a larger scan."
        )
    count = min(max(round(fraction * m), 1), m - 1)
    centre = positions[rng.integers(m)]
    nearest = np.argsort(((positions - centre) ** 2).sum(axis=1), kind="stable")
    return np.sort(nearest[count:]).astype(np.int64), np.sort(nearest[:count]).astype(np.int64)


def group_offsets(positions_px: Positions, groups: Index) -> NDArray[np.float64]:
    """Offsets (B, C, 2) of the positions of each group from their mean: r_k - mean_k(r_k)."""
    members = np.asarray(positions_px, dtype=np.float64)[groups]
    return np.asarray(members - members.mean(axis=1, keepdims=True))


def _checked(positions_px: Positions) -> NDArray[np.float64]:
    positions = np.asarray(positions_px, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 2 or not np.isfinite(positions).all():
        raise InputError(
            "positions must be finite with shape (M, 2) as (y, x), received shape "
            f"{positions.shape} or NaN or infinity; repair or remove those patterns."
        )
    return positions


def _check_count(m: int) -> None:
    if m < 1:
        raise InputError(
            f"the scan must hold at least one pattern, received {m}; check the selection."
        )


def ordered_subsets(positions_px: Positions, count: int, rng: np.random.Generator) -> list[Index]:
    """Divide the patterns into ``count`` subsets that each cover the whole scan evenly.

    The positions are halved along the longer side of their box, again and again; of every run of
    ``count`` neighbours in that order each subset receives one. Pattern numbers come sorted.

    Raises
    ------
    InputError
        When there are fewer patterns than subsets.
    """
    positions = _checked(positions_px)
    m = len(positions)
    if not 1 <= count <= m:
        raise InputError(
            f"the number of subsets must be between 1 and the {m} patterns of the scan, received "
            f"{count}; use fewer."
        )
    neighbours = _by_halves(positions)
    rows = -(-m // count)
    member = rng.permuted(np.tile(np.arange(count), (rows, 1)), axis=1).reshape(-1)[:m]
    return [np.sort(neighbours[member == s]).astype(np.int64) for s in range(count)]


def _by_halves(positions: NDArray[np.float64]) -> Index:
    """The patterns in the order that halving along the longer side leads to.

    All parts of a size are halved at once: of one after the other, a scan of 100 000 patterns
    needs seconds.
    """
    m = len(positions)
    sides = [np.ascontiguousarray(side) for side in positions.T]
    ranks = [np.unique(side, return_inverse=True)[1] for side in sides]
    order, first = np.arange(m), np.array([0])
    while len(first) < m:
        lengths = np.diff(first, append=m)
        longest, part = lengths.max(), np.repeat(np.arange(len(first)), lengths)
        begun = first[part]
        tall, wide = (
            np.maximum.reduceat(there, first) - np.minimum.reduceat(there, first)
            for there in (side[order] for side in sides)
        )
        rank = np.where(np.repeat(tall >= wide, lengths), ranks[0][order], ranks[1][order])
        # One number holds part, place along the side, and which of these came first.
        key = (part * m + rank) * longest + (np.arange(m) - begun)
        key.sort()
        order = order[begun + key % longest]
        first = np.sort(np.concatenate((first, (first + lengths // 2)[lengths > 1])))
    return order
