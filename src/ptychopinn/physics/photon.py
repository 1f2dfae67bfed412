"""The counts of one photon, read off the counts themselves.

Photon noise depends on the number of photons, not on the unit in which a file states them. A
detector counts in steps, so the smallest step between the values that occur is one photon. Files
whose values come in no such steps (simulated without noise, or interpolated) show no photon noise
that could be told from the signal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Of the most frequent values, which cover this share of the lit pixels, the smallest are looked at:
# they are neighbours.
COVERED, VALUES = 0.95, 64
# Share of the pixels that must hold multiples of the step, and how near to them, in steps.
SHARE, TOLERANCE = 0.98, 0.1
# Above so many steps the rounding of float32 amplitudes hides the multiples.
LARGEST_MULTIPLE = 1e4


# Where single pixels or single patterns are looked at: how many of them, how many of their values
# must be lit, and the share of them that must show steps, of about one size.
LOOKED_AT, LIT, AGREEING, ALIKE = 200, 24, 0.7, 1.5


def photon_of_patterns(patterns: NDArray[Any]) -> float | None:
    """The value that one photon has in ``patterns`` (m, pixels), on average; None without steps.

    Counts that were divided by a flat field come in steps in each pixel, those that were divided by
    the current of the beam in each pattern.
    """
    quantum = photon_quantum(patterns)
    if quantum is not None:
        return quantum
    by_pixel = _common_quantum(patterns.T)
    return _common_quantum(patterns) if by_pixel is None else by_pixel


def _common_quantum(rows: NDArray[Any]) -> float | None:
    """The median quantum of rows that have one each; None where most have none, or others."""
    lit = np.count_nonzero(rows, axis=1)
    # Of many photons the steps are finer than the rounding.
    fit = np.flatnonzero(lit >= min(LIT, rows.shape[1]))
    fit = fit[np.argsort(rows[fit].sum(axis=1, dtype=np.float64), kind="stable")]
    chosen = fit[: max(LOOKED_AT, len(fit) // 2)]
    chosen = chosen[:: max(1, len(chosen) // LOOKED_AT)][:LOOKED_AT]
    found = [photon_quantum(rows[k]) for k in chosen]
    known = np.array([quantum for quantum in found if quantum is not None])
    if not len(known) or len(known) < AGREEING * len(found):
        return None
    middle = float(np.median(known))
    alike = (known > middle / ALIKE) & (known < middle * ALIKE)
    return middle if alike.sum() >= AGREEING * len(found) else None


def photon_quantum(counts: ArrayLike) -> float | None:
    """The value that one photon has in ``counts``, or None where the values come in no steps.

    Parameters
    ----------
    counts : non-negative values of good pixels, any shape, any scale.

    Notes
    -----
    The quantum is the smallest difference between the 64 smallest of those values, other than 0,
    that make up 95 % of the lit pixels, the most frequent first. It holds when 98 % of those lit
    pixels that have at most 10^4 quanta, or one of those values, are whole multiples of it, within
    a tenth.
    """
    pixels: NDArray[np.float64] = np.asarray(counts, dtype=np.float64).reshape(-1)
    values, often = np.unique(pixels[pixels > 0], return_counts=True)
    if len(values) == 0:
        return None
    order = np.argsort(-often, kind="stable")
    covered = np.cumsum(often[order])
    enough = int(np.searchsorted(covered, COVERED * covered[-1])) + 1
    frequent = np.sort(values[order[:enough]])[:VALUES]
    quantum = float(np.diff(frequent, prepend=0.0).min())
    # All of them together are exact where a single difference has the rounding of its two values.
    quantum = float(frequent.sum() / np.round(frequent / quantum).sum())
    small = values <= max(LARGEST_MULTIPLE * quantum, frequent[-1])
    multiples = values[small] / quantum
    whole = np.abs(multiples - np.round(multiples)) <= TOLERANCE
    seen = float(often[small].sum())
    return quantum if float(often[small][whole].sum()) >= SHARE * seen > 0 else None
