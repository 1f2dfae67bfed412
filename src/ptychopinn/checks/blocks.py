"""Rectangles of the detector that never count although light falls beside them: dead modules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A straight rim of so many pixels between light and silence is no chance. A disc of radius R has
# straight pieces of 2 sqrt(2 R) pixels, but no corner of two such sides.
RIM = 4

Box = tuple[slice, slice]


def dead_blocks(
    silent: NDArray[np.bool_],
    counts: NDArray[np.float64],
    beam: NDArray[np.float64],
    due: float,
) -> list[Box]:
    """Rectangles (rows, columns) of silent pixels that light should fall on.

    Parameters
    ----------
    silent : (N, N) pixels that never count.
    counts, beam : (N, N) of all patterns, and what the probe alone would give.
    due : counts that are never missed by chance.
    """
    lit = ~silent & (counts > due)
    boxes: list[Box] = []
    # Light above, below, left, right of silence.
    for turns in range(4):
        dark, light = (np.rot90(a, turns) for a in (silent, lit))
        probe = np.rot90(beam, turns)
        edge = np.zeros_like(dark)
        edge[1:] = dark[1:] & light[:-1]
        corner = np.zeros_like(dark)
        corner[:, 1:] = _long(dark[:, 1:] & light[:, :-1], axis=0)
        corner[:, :-1] |= _long(dark[:, :-1] & light[:, 1:], axis=0)
        for row in map(int, np.flatnonzero(edge.any(axis=1))):
            for start, stop in _runs(edge[row]):
                ends = (start, stop - 1)
                no_disc = (stop - start) ** 2 > 4 * len(dark)
                told = no_disc and np.median(probe[row, start:stop]) >= due
                if stop - start >= RIM and (told or corner[row, ends].any()):
                    boxes.append(_unturned(_grown(dark, row, start, stop), turns, len(dark)))
    return list({(b[0].start, b[0].stop, b[1].start, b[1].stop): b for b in boxes}.values())


def _runs(line: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(start, stop) of what is True without a gap."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in steps.reshape(-1, 2)]


def _long(edge: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """What of an edge belongs to a straight piece of at least ``RIM`` pixels along the axis."""
    found = np.zeros_like(edge)
    lines, kept = np.moveaxis(edge, axis, -1), np.moveaxis(found, axis, -1)
    for k in np.flatnonzero(lines.any(axis=1)):
        for start, stop in _runs(lines[k]):
            if stop - start >= RIM:
                kept[k, start:stop] = True
    return found


def _grown(dark: NDArray[np.bool_], row: int, start: int, stop: int) -> Box:
    """The silent rectangle below a rim: first downwards, then to both sides."""
    end = row + 1
    while end < len(dark) and dark[end, start:stop].all():
        end += 1
    while start > 0 and dark[row:end, start - 1].all():
        start -= 1
    while stop < len(dark) and dark[row:end, stop].all():
        stop += 1
    return slice(row, end), slice(start, stop)


def _unturned(box: Box, turns: int, n: int) -> Box:
    """The rectangle before the detector was turned by quarters with ``numpy.rot90``."""
    rows, columns = box
    for _ in range(turns):
        # rot90 moves pixel (y, x) to (n - 1 - x, y).
        rows, columns = columns, slice(n - rows.stop, n - rows.start)
    return rows, columns
