"""Roots and logarithms of counts that were multiplied and made whole, as pictures are.

Of small counts few of the whole numbers are left: of 100 times the root only 0, 100, 141, 173, 200.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

# What was multiplied, for counts; and how it is undone, for the number x and the factor.
_SCALES: Mapping[str, tuple[Callable[[Float], Float], str]] = MappingProxyType(
    {
        "sqrt(counts)": (np.sqrt, "(x / {factor:.6g})**2"),
        "log(counts + 1)": (np.log1p, "exp(x / {factor:.6g}) - 1"),
    }
)
# Counts up to so many are looked at, as far as their numbers are so far apart that some are left
# out between them; so many of them must be, and this share of them be there.
COUNTS, APART, FEWEST, THERE = 64, 2.0, 5, 0.9
# A number that occurs as rarely as this share of the readings may be an error.
RARELY = 1e-5
# The factor is as inexact as the smallest number, which was rounded; so many are tried.
TRIALS = 201
# So many different squares, the largest as large as the square of that, are no chance.
SQUARES, FLOAT_END = 12, 2.0**24


@dataclass(frozen=True)
class RoundedScale:
    """name : what was multiplied by ``factor``.  numbers : the smallest that occur.  undo : what
    gives the counts."""

    name: str
    factor: float
    numbers: tuple[int, ...]
    undo: str


def squared(readings: NDArray[Any]) -> bool:
    """Whether whole numbers are squares of counts: no other ones occur, of many different."""
    if not np.count_nonzero(readings >= SQUARES**2):
        return False
    # Single precision holds all whole numbers up to its end.
    values = np.unique(readings[(readings > 0) & (readings < FLOAT_END)]).astype(np.float64)
    roots = np.rint(np.sqrt(values))
    return len(values) >= SQUARES and bool((roots**2 == values).all())


def rounded_scale(readings: NDArray[Any]) -> RoundedScale | None:
    """How whole numbers were made from counts, where only such numbers occur; None for others."""
    if np.count_nonzero((readings > 0) & (readings < 2 * APART)) > RARELY * readings.size:
        return None  # nearly all scans
    values, often = np.unique(readings, return_counts=True)
    values = values[(values > 0) & (often > RARELY * readings.size)].astype(np.float64)
    if len(values) < FEWEST:
        return None
    counts = np.arange(1.0, COUNTS + 1)
    for name, (function, undo) in _SCALES.items():
        scaled = function(counts)
        for factor in (values[0] + np.linspace(-0.5, 0.5, TRIALS)) / scaled[0]:
            told = int(np.argmin(np.append(np.diff(factor * scaled) > APART, False))) + 1
            expected = np.rint(factor * scaled[:told])
            seen = values[values <= expected[-1]]
            if told >= FEWEST and np.isin(seen, expected).all() and len(seen) >= THERE * told:
                numbers = tuple(int(v) for v in seen[:FEWEST])
                return RoundedScale(name, float(factor), numbers, undo.format(factor=factor))
    return None
