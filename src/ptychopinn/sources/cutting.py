"""From stored frames to patterns: turned, cut out, binned, padded, with the centre in its place.

Everything is done in the order of this module: the detector's own corrections (mask, dark, flat,
units) on the stored pixels, then ``transpose``, then the flips, then the window around the centre,
then the blocks of binned pixels. A pattern of N x N pixels, each ``binning`` detector pixels wide,
has the centre in the middle of pixel [N/2, N/2].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import N_MAX, N_MIN
from ptychopinn.errors import InputError

Pair = tuple[float, float]
LARGEST_BIN = 64


@dataclass(frozen=True)
class Cut:
    """Which pixels of turned frames make up a pattern.

    Attributes
    ----------
    n : size of the pattern.
    binning : detector pixels along the edge of a pattern's pixel.
    start : (y, x) of the turned frame's pixel that is the first one of the pattern; may be < 0.
    rows, columns : what of the turned frame is used; the rest of the pattern is padding.
    """

    n: int
    binning: int
    start: tuple[int, int]
    rows: slice
    columns: slice

    def pick(self, block: NDArray[Any]) -> NDArray[Any]:
        """Patterns (k, n, n) of the used pixels (k, rows, columns); binned ones are added up."""
        edge = self.n * self.binning
        y, x = self.rows.start - self.start[0], self.columns.start - self.start[1]
        height, width = block.shape[1:]
        if (height, width) != (edge, edge):
            whole = np.zeros((len(block), edge, edge), block.dtype)
            whole[:, y : y + height, x : x + width] = block
            block = whole
        if self.binning == 1:
            return block
        kind = np.float64 if block.dtype.kind == "f" else np.int64
        parts = block.reshape(len(block), self.n, self.binning, self.n, self.binning)
        return np.asarray(parts.sum(axis=(2, 4), dtype=kind))

    def bad(self, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Bad pixels (n, n) of a pattern, of those of the used part (rows, columns).

        One bad detector pixel makes the binned one bad, and padding is bad.
        """
        edge = self.n * self.binning
        y, x = self.rows.start - self.start[0], self.columns.start - self.start[1]
        whole = np.ones((edge, edge), bool)
        whole[y : y + bad.shape[0], x : x + bad.shape[1]] = bad
        parts = whole.reshape(self.n, self.binning, self.n, self.binning)
        return np.asarray(parts.any(axis=(1, 3)))


def cut_for(
    shape: tuple[int, int],
    centre: Pair | None,
    *,
    crop: int | None,
    binning: int,
    pad: int | None,
) -> Cut:
    """The window of turned frames of this shape around the centre (None: the middle).

    Raises
    ------
    InputError
        When the options do not lead to an even N from 32 to 512, or the window leaves the
        detector where no padding was asked for.
    """
    height, width = shape
    y, x = centre or _middle(shape, binning)
    if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        raise InputError(
            f"the centre must lie on the detector of {height} x {width} pixels, received "
            f"({y:.6g}, {x:.6g}) after the patterns were turned; correct the option centre."
        )
    ways = partial(_ways, shape, (y, x), crop=crop, binning=binning, pad=pad)
    if crop is None and pad is None:
        kept = height // binning
        home = kept // 2 * binning + (binning - 1) / 2
        square = height == width and not height % binning and not kept % 2
        if not square or any(abs(c - home) > 0.5 for c in (y, x)):
            raise InputError(
                f"patterns must be square, even and have the centre in the middle, received "
                f"{height} x {width} pixels with the centre ({y:.6g}, {x:.6g}) and "
                f"bin={binning}; use {ways()}, and centre=auto where the beam is not in the middle."
            )
    elif crop is None:
        kept = -1
    else:
        if crop % binning:
            raise InputError(
                f"the patterns that are cut out must hold whole blocks of {binning} pixels, "
                f"received crop={crop} with bin={binning}; use {ways()}."
            )
        kept = crop // binning
    n = pad if pad is not None else kept
    if n % 2 or not N_MIN <= n <= N_MAX:
        bins = _other_bins(shape, centre, crop=crop, binning=binning, pad=pad)
        raise InputError(
            f"patterns must end with an even N from {N_MIN} to {N_MAX}, received {n} x {n} after "
            f"crop, bin and pad; use {bins}{ways()}."
        )
    start = tuple(_start(c, n, binning) for c in (y, x))
    used = []
    for first, size in zip(start, shape, strict=True):
        low, high = first, first + n * binning
        if kept > n:
            raise InputError(
                f"pad must not be smaller than what is kept, received pad={n} with {kept} pixels "
                f"after crop and bin; use {ways()}, or a smaller crop."
            )
        if kept < 0 and max(first, size - high) >= binning:
            raise InputError(
                f"pad must hold all {height} x {width} pixels, received pad={n} with "
                f"bin={binning}, which cuts some off; use {ways()}, or crop."
            )
        if 0 < kept < n:
            low += (n - kept) // 2 * binning
            high = low + kept * binning
        if kept > 0 and (low < 0 or high > size) and pad is None:
            raise InputError(
                f"the {kept * binning} x {kept * binning} pixels around the centre "
                f"({y:.6g}, {x:.6g}) must lie on the detector of {height} x {width}, received a "
                f"window that leaves it; use {ways()}, which masks what is outside."
            )
        used.append(slice(max(low, 0), min(high, size)))
    return Cut(n, binning, (start[0], start[1]), used[0], used[1])


def _middle(shape: tuple[int, int], binning: int) -> Pair:
    """The middle of frames: of K x K blocks that of the block [N/2, N/2]."""
    y, x = ((size // (2 * binning)) * binning + (binning - 1) / 2 for size in shape)
    return (y, x) if binning > 1 else (float(shape[0] // 2), float(shape[1] // 2))


def _ways(
    shape: tuple[int, int], centre: Pair, *, crop: int | None, binning: int, pad: int | None
) -> str:
    """In words, options near the given ones that :func:`cut_for` takes; pad comes last."""
    found = []
    if pad is None:
        most = _largest(shape, centre, binning)
        n = max(N_MIN, min(most, N_MAX if crop is None else crop // binning // 2 * 2))
        if n <= most:
            found.append(f"crop={n * binning}")
    kept = N_MAX if crop is None else max(1, min(crop // binning, N_MAX))
    least = max(N_MIN, min((pad or 0) // 2 * 2, N_MAX))
    if crop is None and (holding := _holding(shape, centre, binning)) <= N_MAX:
        found.append(f"pad={max(holding, least)}")
    elif crop is not None or not found:
        cut = "" if kept * binning == crop else f"crop={kept * binning} and "
        found.append(f"{cut}pad={max(kept + kept % 2, least)}")
    return ", or ".join(found)


def _other_bins(
    shape: tuple[int, int],
    centre: Pair | None,
    *,
    crop: int | None,
    binning: int,
    pad: int | None,
) -> str:
    """In words, with "or", the next other binning of the same pixels that leads to patterns."""
    size = shape[0] if crop is None else crop
    if pad is not None or (crop is None and shape[0] != shape[1]):
        return ""
    small = size // binning < N_MIN
    larger = range(binning + 1, min(size // N_MIN, LARGEST_BIN) + 1)
    for other in range(binning - 1, 0, -1) if small else larger:
        n = size // other
        y, x = centre or _middle(shape, other)
        home = n // 2 * other + (other - 1) / 2
        whole = crop is not None or all(abs(c - home) <= 0.5 for c in (y, x))
        starts = [_start(c, n, other) for c in (y, x)]
        fits = all(0 <= first <= s - n * other for first, s in zip(starts, shape, strict=True))
        even = not size % other and not n % 2 and N_MIN <= n <= N_MAX
        if even and whole and fits:
            return f"bin={other}, or "
    return ""


def _start(centre: float, n: int, binning: int) -> int:
    """The first of n blocks of pixels, of which the middle one, n/2, has the centre in it."""
    return floor(centre - n // 2 * binning - (binning - 1) / 2 + 0.5)


def _lost(size: int, centre: float, n: int, binning: int) -> int:
    """How many pixels of a row of this size lie outside of the n blocks, on the worse side."""
    first = _start(centre, n, binning)
    return max(first, size - first - n * binning)


def _holding(shape: tuple[int, int], centre: Pair, binning: int) -> int:
    """The smallest pad that holds all whole blocks around a centre."""
    n = 2
    while any(_lost(size, c, n, binning) >= binning for size, c in zip(shape, centre, strict=True)):
        n += 2
    return n


def _largest(shape: tuple[int, int], centre: Pair, binning: int) -> int:
    """The largest even number of blocks, up to N_MAX, whose window around a centre lies on the
    detector."""
    n = 0
    while n < N_MAX and all(
        _start(c, n + 2, binning) >= 0 and _start(c, n + 2, binning) + (n + 2) * binning <= size
        for size, c in zip(shape, centre, strict=True)
    ):
        n += 2
    return n


def find_centre(mean: NDArray[np.float64], good: NDArray[np.bool_]) -> Pair:
    """The centre of the diffraction pattern (y, x), from the mean of many.

    The centre of mass of what is above 2 % of the brightest region, after pixels far above their
    neighbours are left out, within a window that shrinks to the size of the pattern.

    Raises
    ------
    InputError
        When the pattern holds no counts.
    """
    from scipy.ndimage import median_filter

    quiet = np.where(good, mean, 0.0)
    smooth = median_filter(quiet, size=3, mode="nearest")
    usable = good & (quiet <= 5 * smooth + 3 * np.median(quiet[good]) + 1e-12 * quiet.max())
    weight = np.where(usable, quiet, 0.0)
    bright = np.percentile(weight[usable], 99.5) if usable.any() else 0.0
    if not bright > 0:
        raise InputError(
            "the mean of the patterns must hold counts to find its centre, received none; give "
            "centre='y,x'."
        )
    rows, columns = np.nonzero(weight > 0.02 * bright)
    height, width = weight.shape
    weight = weight[rows, columns]
    y, x = float(np.average(rows, weights=weight)), float(np.average(columns, weights=weight))
    inside = np.ones(len(weight), bool)
    for _ in range(20):
        part = np.where(inside, weight, 0.0)
        spread = np.sqrt((part * ((rows - y) ** 2 + (columns - x) ** 2)).sum() / part.sum())
        before = (y, x)
        # Only what is there on both sides counts: the edge of the detector must not pull.
        radius = max(4 * spread, 4.0)
        inside = (abs(rows - y) <= radius) & (abs(columns - x) <= radius)
        inside &= (2 * y - rows >= -0.5) & (2 * y - rows <= height - 0.5)
        inside &= (2 * x - columns >= -0.5) & (2 * x - columns <= width - 0.5)
        if not weight[inside].sum() > 0:
            break
        y = float(np.average(rows[inside], weights=weight[inside]))
        x = float(np.average(columns[inside], weights=weight[inside]))
        if abs(y - before[0]) + abs(x - before[1]) < 0.01:
            break
    return y, x
