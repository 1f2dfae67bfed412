"""Axes of stored arrays: other orders and more axes are understood where they have one meaning."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import N_MAX, N_MIN, check_field
from ptychopinn.errors import InputError, PatternShapeError

# Shorter axes are not those of a pattern.
SMALLEST_FRAME = 16
# Sums over what would be patterns scatter so much, and so many times more than those over what else
# could be, where other axes are those of the detector: light is in some of its pixels, and about as
# much in one pattern as in another. Of a cube so many slices are looked at.
LEAST_SCATTER, MORE_SCATTER, SLICES = 0.7, 2.0, 32


def as_patterns(stored: NDArray[Any], places: int | None, where: str) -> NDArray[Any]:
    """Patterns (n, H, W) of an array that may have several axes of the scan, or has it last.

    (..., H, W) is read row by row. (H, W, n) and (H, W, rows, columns) are taken as such where
    there are n positions (``places``), H = W, and the first axes do not fit; where n = H = W the
    numbers tell.

    Raises
    ------
    InputError
        For an array of fewer axes.
    """
    if stored.ndim < 3:
        raise InputError(
            f"{where} must have shape (M, N, N), which are 3 axes, received {stored.shape}; store "
            "one pattern per position."
        )
    if one_channel(stored.shape):
        return stored[..., 0]
    if frame_first(stored.shape, places) or (is_cube(stored.shape, places) and counts_last(stored)):
        return np.moveaxis(stored.reshape(*stored.shape[:2], -1), -1, 0)
    return stored.reshape(-1, *stored.shape[-2:])


def one_channel(shape: tuple[int, ...]) -> bool:
    """Whether these are patterns (n, H, W, 1)."""
    return len(shape) == 4 and shape[3] == 1 and shape[1] == shape[2]


def frame_first(shape: tuple[int, ...], places: int | None) -> bool:
    """Whether the first two axes are those of a pattern, told by the number of positions."""
    if len(shape) not in (3, 4) or places is None or shape[0] != shape[1]:
        return False
    return prod(shape[2:]) == places != prod(shape[:-2])


def is_cube(shape: tuple[int, ...], places: int | None) -> bool:
    """Whether three axes are all as long as there are positions, so that lengths tell nothing."""
    return len(shape) == 3 and shape[0] == shape[1] == shape[2] == places


def counts_last(cube: NDArray[Any]) -> bool:
    """Whether the numbers of an array say that its last axis counts the patterns, and not the
    first: some slices along one of them are enough."""
    some = np.asarray(cube[:: max(1, len(cube) // SLICES)], np.float64)
    some = np.where(np.isfinite(some) & (some >= 0), some, 0.0)
    # What stands for no measurement is above all counts.
    some = np.minimum(some, np.quantile(some, 0.9999))
    first, last = scatter(some.sum(axis=(1, 2))), scatter(some.sum(axis=(0, 1)))
    return first >= max(LEAST_SCATTER, MORE_SCATTER * last)


def scatter(values: NDArray[np.float64]) -> float:
    """The standard deviation of numbers over their mean."""
    return float(values.std() / max(values.mean(), 1e-300)) if values.size else 0.0


def too_small_last(shape: tuple[int, ...]) -> bool:
    """Whether the last two axes are too short for a pattern, and the first two are one."""
    return len(shape) in (3, 4) and shape[0] == shape[1] >= SMALLEST_FRAME > min(shape[-2:])


def as_points(stored: NDArray[Any], patterns: int | None, axes: tuple[int, ...], where: str,
              meaning: str) -> NDArray[Any]:  # fmt: skip
    """Coordinates (n, k) with k in ``axes``, of (..., k) or (k, ...).

    Where both readings are possible, the one that gives as many as ``patterns`` counts, and else
    the first.

    Raises
    ------
    InputError
        When neither axis has that length.
    """
    if stored.ndim < 2:
        raise InputError(
            f"{where} must have shape {meaning}, received {stored.shape}; store one position per "
            "pattern."
        )
    shape = stored.shape
    last, first = shape[-1] in axes, shape[0] in axes
    if not (last or first):
        raise InputError(
            f"{where} must have shape {meaning}, received {shape}; store one position per pattern."
        )
    if last and first and patterns is not None and prod(shape[:-1]) != patterns:
        last = prod(shape[1:]) != patterns
    if last:
        return stored.reshape(-1, shape[-1])
    return stored.reshape(shape[0], -1).T


def probe_modes(probe: NDArray[Any], where: str, n: int | None = None) -> NDArray[Any]:
    """A probe as modes (P, N, N): leading axes of length 1 are dropped, (N, N) is one mode.

    With ``n``, the size of a pattern, (n, n, P) and (n, n, P, 1) are read as modes that come last.

    Raises
    ------
    InputError
        For any other shape, or an array that holds no numbers.
    """
    if probe.dtype.kind not in "fciu" or probe.ndim < 2:
        raise InputError(
            f"{where} must be a complex array (P, N, N), received shape {probe.shape} of "
            f"{probe.dtype}; give the probe modes."
        )
    check_field(probe, where)
    shape = probe.shape
    pair = probe.ndim == 3 and (shape[0] == 2 or shape[-1] == 2) and probe.dtype.kind in "fi"
    if pair and (probe < 0).any():
        raise InputError(
            f"{where} must be complex, received real numbers of shape {shape}, as if they were the "
            "real and imaginary parts of one; store complex numbers."
        )
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) > 3:
        trailing = modes_first(probe.reshape(shape), n)
        if trailing.ndim == 4 and trailing.shape[0] == 1 and n is not None:
            return trailing[0]
        raise InputError(
            f"{where} must hold one set of incoherent modes (P, N, N), received shape "
            f"{probe.shape}; choose one set and drop the other axes."
        )
    return modes_first(probe.reshape(shape if len(shape) == 3 else (1, *shape)), n)


def modes_first(probe: NDArray[Any], n: int | None) -> NDArray[Any]:
    """(..., n, n) of an array that may be (n, n, P) or (n, n, P, R), the order of MATLAB."""
    if n is None or probe.ndim not in (3, 4) or probe.shape[-2:] == (n, n):
        return probe
    squeezed = probe
    if probe.ndim == 4 and probe.shape[0] == 1 and probe.shape[1:3] == (n, n):
        squeezed = probe[0]
    if squeezed.shape[:2] != (n, n):
        return probe
    # Of (n, n, P, R) comes (R, P, n, n), of (n, n, P) comes (P, n, n).
    axes = (3, 2, 0, 1) if squeezed.ndim == 4 else (2, 0, 1)
    moved = np.ascontiguousarray(squeezed.transpose(axes))
    return moved if moved.ndim == probe.ndim else moved[None]


def own_edge(probe: NDArray[Any]) -> int | None:
    """The edge of a probe whose modes come last, told by the axes that are as long as each other;
    None where it is none of those."""
    shape = probe.shape
    last = len(shape) > 2 and N_MIN <= shape[0] == shape[1] != shape[-1]
    return shape[0] if last else None


def check_frame(shape: tuple[int, ...], where: str, path: Path | None) -> None:
    """Raise InputError unless patterns (..., H, W) are square, and of an even size of 32 to 512."""
    height, width = shape[-2:]
    if height == width and height % 2 == 0 and N_MIN <= height <= N_MAX:
        return
    error = PatternShapeError(
        f"{where} must hold square patterns (M, N, N) of an even size between {N_MIN} and {N_MAX} "
        f"pixels, received {height} x {width} pixels; crop, pad or bin the patterns."
    )
    error.frame = (height, width)
    raise error
