"""Single pixels of the detector: hot, dead, saturated, hit by a cosmic ray."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding
from ptychopinn.data.normalization import batch_length, slices

# So many times more than around it, and than the beam gives there, is a pixel's own doing; less
# suffices where it varies by less than photons do.
HOT, STEADY_HOT = 20.0, 3.0
# A pixel that counts nothing where its surroundings say that so many counts were due is dead.
DUE = 40.0
# A spike of a single pattern: so many times what is around it there, and what this pixel usually
# has, and at least so many counts.
SPIKE, SPIKE_COUNTS = 12.0, 40.0
# Saturation: so many readings are the largest number, and so many times more than just below it.
SATURATED, PILED = 12, 3.0
# Of fewer pixels it is a fault of theirs.
FEWEST_SATURATED = 4
# Masked at most, as a share of the detector.
MOST_SPIKES = 0.02
LISTED = 50


def _around(values: NDArray[np.float64], good: NDArray[np.bool_], size: int = 5) -> NDArray[Any]:
    """The median of the good pixels around each one, itself left out."""
    filled = np.where(good, values, np.nan)
    half = size // 2
    padded = np.pad(filled, half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size)).reshape(
        *values.shape, size * size
    )
    others = np.delete(windows, size * size // 2, axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # none of them is good
        found: NDArray[Any] = np.nanmedian(others, axis=-1)
    return np.nan_to_num(found)


def _masked(name: str, which: NDArray[np.bool_], why: str) -> Noticed:
    places = np.argwhere(which)
    some = ", ".join(f"({y}, {x})" for y, x in places[:6])
    more = f" and {len(places) - 6} more" if len(places) > 6 else ""
    count = f"{len(places)} pixel{'s' if len(places) > 1 else ''}"
    return (
        finding(
            name,
            "mended",
            f"masked {count} {why}: at (y, x) = {some}{more}.",
            count=len(places),
            pixels=places[:LISTED].tolist(),
        ),
        Mend(masked=which),
    )


def _others(
    block: NDArray[Any],
    good: NDArray[np.bool_],
    m: NDArray[np.int64],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(K, 24) the pixels around each of K places (m, y, x), NaN for bad ones and those beyond the
    rim."""
    places = [(v, u) for v in range(-2, 3) for u in range(-2, 3) if (v, u) != (0, 0)]
    found = np.full((len(m), len(places)), np.nan)
    for k, (v, u) in enumerate(places):
        inside = (y + v >= 0) & (y + v < len(good)) & (x + u >= 0) & (x + u < len(good))
        at = np.flatnonzero(inside)
        at = at[good[y[at] + v, x[at] + u]]
        found[at, k] = block[m[at], y[at] + v, x[at] + u]
    return found


@check("zingers")
def zingers(look: Look) -> Iterator[Noticed]:
    """Spikes of one pixel in one pattern: cosmic rays, readout errors."""
    scan, good = look.scan, look.good
    usual, photon = np.maximum(look.mean, look.photon), look.photon
    struck = np.zeros_like(good)
    hits: list[int] = []
    for part in slices(scan.M, batch_length(scan.N, 8)):
        block = np.asarray(scan.diffraction[part])
        bright = (block > np.maximum(SPIKE * usual, SPIKE_COUNTS * photon)) & good
        m, y, x = np.nonzero(bright)
        heights = block[m, y, x].astype(np.float64)
        # The mean contains the spike itself: compare with what the pixel has without it.
        rest = (usual[y, x] * scan.M - heights) / max(1, scan.M - 1)
        kept = heights > SPIKE * np.maximum(rest, photon)
        m, y, x, heights = m[kept], y[kept], x[kept], heights[kept]
        others = _others(block, good, m, y, x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # none of them is good
            # Speckles are wider than a pixel: their neighbours are bright too.
            kept = heights > SPIKE * 0.35 * np.nanmax(others, axis=1)
            kept[kept] = heights[kept] > SPIKE * np.nanmedian(others[kept], axis=1)
        struck[y[kept], x[kept]] = True
        hits += (part.start + m[kept]).tolist()
    if not struck.any():
        return
    patterns = np.unique(np.array(hits))
    why = f"that were struck in {len(patterns)} of {scan.M} patterns"
    if struck.mean() <= MOST_SPIKES:
        yield _masked("zingers", struck, why)
    else:
        yield (
            finding(
                "zingers", "doubt",
                f"{int(struck.sum())} pixels were struck by single spikes in {len(patterns)} of "
                f"{scan.M} patterns, too many to mask; clean the patterns first.",
                count=int(struck.sum()), patterns=patterns[:LISTED].tolist(),
            ),
            None,
        )  # fmt: skip


@check("hot-pixels")
def hot_pixels(look: Look) -> Iterator[Noticed]:
    """Pixels that count far more than their surroundings and the beam explain."""
    mean, good, patterns = look.mean, look.good, look.scan.M
    around = _around(mean, good)
    rimmed = np.pad(look.vacuum, 1, mode="edge")
    beam = np.lib.stride_tricks.sliding_window_view(rimmed, (3, 3)).max(axis=(-2, -1))
    photon = look.photon
    usual = np.maximum(np.maximum(around, beam), photon / patterns)
    hot = good & (mean > HOT * usual) & (mean * patterns > 30 * photon)
    # A stuck pixel hardly changes from pattern to pattern, whatever the beam does.
    counts = look.sample[:, good]
    steady = np.zeros_like(good)
    level = counts.mean(axis=0, dtype=np.float64)
    if len(counts) >= 16:
        variance = counts.var(axis=0, dtype=np.float64)
        steady[good] = (variance < 0.3 * level * photon) & (level > 20 * photon)
        hot |= steady & (mean > STEADY_HOT * usual)
    if hot.any():
        yield _masked("hot-pixels", hot, "that count far more than what is around them")


@check("dead-pixels")
def dead_pixels(look: Look) -> Iterator[Noticed]:
    """Pixels, rows and columns that never count although light falls around them."""
    mean, good, patterns = look.mean, look.good, look.scan.M
    silent = good & (look.largest <= 0)
    if not silent.any():
        return
    from scipy import ndimage

    due = DUE * look.photon
    dead = silent & (_around(mean, good) * patterns > due)
    for axis in (0, 1):
        lines = silent.all(axis=axis)
        profile = np.where(good, mean, 0).sum(axis=axis) * patterns / max(1, mean.shape[0])
        labels, count = ndimage.label(lines)
        for k in range(1, count + 1):
            inside = np.flatnonzero(labels == k)
            before, after = int(inside[0]) - 1, int(inside[-1]) + 1
            if before < 0 or after >= mean.shape[0]:
                continue
            if min(profile[before], profile[after]) > due:
                band = np.zeros_like(dead)
                band[(slice(None), inside) if axis == 0 else (inside, slice(None))] = True
                dead |= band & good
    if dead.any():
        yield _masked("dead-pixels", dead, "that never count although light falls around them")


@check("saturated-pixels")
def saturated_pixels(look: Look) -> Iterator[Noticed]:
    """Readings that pile up at the largest number are no measurements."""
    scan, good = look.scan, look.good
    top = float(look.largest[good].max())
    if top < 8 * look.photon or scan.saturation is not None:
        return
    edge = top - max(look.photon, 1e-6 * top)
    if int((good & (look.largest > edge)).sum()) < FEWEST_SATURATED:
        return
    at_top, below = 0, np.zeros(3)
    saturated = np.zeros((scan.N, scan.N), np.int64)
    for part in slices(scan.M, batch_length(scan.N, 8)):
        block = np.asarray(scan.diffraction[part])
        full = (block > edge) & good
        saturated += full.sum(axis=0)
        at_top += int(full.sum())
        width = max(look.photon, 0.01 * top)
        for k in range(3):
            inside = (block > edge - (k + 1) * width) & (block <= edge - k * width) & good
            below[k] += int(inside.sum())
    if at_top < SATURATED or at_top < PILED * max(1.0, float(below.max())):
        return
    which = saturated > 0
    yield (
        finding(
            "saturated-pixels",
            "mended",
            f"{at_top} readings of {int(which.sum())} pixels pile up at {top:.6g} counts: they are "
            "taken as saturated, lower bounds of what was there.",
            count=int(which.sum()),
            readings=at_top,
            counts=top,
        ),
        Mend(saturation=top),
    )
