"""Scan positions (M, 2) as (y, x) in object pixels that belong to no scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Beyond, float64 keeps less than a thousandth of a pixel.
LARGEST_POSITION = 2.0**42
# Positions so near to each other show one and the same place.
SAME_PLACE_PX = 1.0
# Positions that span less than this share of the room on an object are in another unit.
NARROW = 0.25
# How far from all others a position may lie, in extents of the others and in patterns.
LONELY_EXTENTS, LONELY_PATTERNS = 4, 16


def lonely_positions(positions: NDArray[np.float64], n: int) -> NDArray[np.bool_]:
    """(M,) whether a position (y, x) in pixels is no number, or far from those of the others.

    Those are the nine tenths that are nearest to the median; ``n`` is the size of a patch.
    """
    with np.errstate(invalid="ignore"):
        lonely = ~(np.abs(positions).max(axis=1) <= LARGEST_POSITION)
    if lonely.all():
        return lonely
    known = positions[~lonely]
    middle = np.median(known, axis=0)
    distance = np.abs(known - middle).max(axis=1)
    nearer = np.argsort(distance)[: max(1, min(len(distance) - 1, len(distance) * 9 // 10))]
    low, high = known[nearer].min(axis=0), known[nearer].max(axis=0)
    limit = LONELY_EXTENTS * float((high - low).max()) + LONELY_PATTERNS * n
    lonely[~lonely] = np.maximum(low - known, known - high).max(axis=1) > limit
    return lonely


def position_text(positions: NDArray[np.float64], k: int) -> str:
    """Position k in words."""
    y, x = positions[k]
    return f"position {k} at (y, x) = ({y:.6g}, {x:.6g})"


def first_of(positions: NDArray[np.float64], wrong: NDArray[np.bool_]) -> str:
    """The first of the positions (M, 2) that are wrong in words, and how many there are."""
    which = np.flatnonzero(wrong)
    first = position_text(positions, int(which[0]))
    if len(which) == 1:
        return first
    return f"{len(which)} of {len(positions)} that are none, the first being {first}"


def why_outside(positions: NDArray[np.float64], n: int, shape: tuple[int, ...]) -> str:
    """What is wrong with positions (M, 2) of patches of size n that an object of this shape does
    not hold, and what to do, in words."""
    room = np.asarray(shape) - n
    low = positions.min(axis=0)
    spans = positions.max(axis=0) - low
    said = (
        f"they span {spans[0]:.4g} x {spans[1]:.4g} px (y, x) where it has room for {room[0]} x "
        f"{room[1]}"
    )
    if (spans <= room + 1).all():
        if spans.max() >= NARROW * room.max():
            first = n // 2
            return (
                "they span no more than it has room for, but begin at (y, x) = "
                f"({low[0]:.4g}, {low[1]:.4g}) px where its first patch lies at ({first}, "
                f"{first}): correct their origin"
            )
    elif (spans[::-1] <= room + 1).all():
        return f"{said}, as if x came before y: exchange them"
    return f"{said}: correct their unit (pixels are expected)"
