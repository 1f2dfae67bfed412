"""Single pixels of the detector: hot, dead, saturated, hit by a cosmic ray."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding
from ptychopinn.checks.blocks import Box, dead_blocks
from ptychopinn.data.findings import Finding
from ptychopinn.data.normalization import batch_length, slices
from ptychopinn.data.saturation import PileUp

# So many times more than around it, and than the beam gives there, is a pixel's own doing; less
# suffices where it varies by less than photons do.
HOT, STEADY_HOT = 20.0, 3.0
# Of a pixel that never changes: so many times the largest reading of all that do, and the share of
# all pixels that these are at most, since patterns may be alike.
STUCK, MOST_STUCK = 2.0, 0.2
# Or where the usual one of those around it that count so many photons varies by this share of what
# photons do, at least.
ALIVE_COUNTS, ALIVE = 1.0, 0.5
# A pixel that counts nothing where its surroundings say that so many counts were due is dead.
DUE = 40.0
# Silent rows up to the border cut the beam off when the next row has this share of the brightest,
# and the probe alone would send this share of its light there.
CUT, CUT_OFF = 0.5, 0.05
# A silent region is a shadow when this share of the pixels at its rim is lit.
LIT_RIM = 0.9
# A spike of a single pattern: so many times what is around it there, and what its pixels usually
# have, at least so many counts, and pixels at most.
SPIKE, SPIKE_COUNTS, LARGEST_SPIKE = 12.0, 40.0, 16
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


@check("zingers")
def zingers(look: Look) -> Iterator[Noticed]:
    """Spikes of a few pixels in one pattern: cosmic rays, readout errors."""
    scan, good = look.scan, look.good
    usual, photon = np.maximum(look.mean, look.photon), look.photon
    struck = np.zeros_like(good)
    hits: list[int] = []
    for part in slices(scan.M, batch_length(scan.N, 8)):
        block = np.asarray(scan.diffraction[part])
        bright = (block > np.maximum(SPIKE * usual, SPIKE_COUNTS * photon)) & good
        for m in np.flatnonzero(bright.any(axis=(1, 2))):
            found = _spikes(block[m], bright[m], good, usual * scan.M, scan.M, photon)
            if found.any():
                struck |= found
                hits.append(int(part.start + m))
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


def _spikes(
    pattern: NDArray[Any],
    bright: NDArray[np.bool_],
    good: NDArray[np.bool_],
    sums: NDArray[np.float64],
    patterns: int,
    photon: float,
) -> NDArray[np.bool_]:
    """Which of the bright pixels (N, N) of a pattern stand out as no speckle does.

    Speckles fade towards their rim; what is around a spike is dark. ``sums`` are those of the
    pixels over all patterns, of which there are so many.
    """
    from scipy import ndimage

    found = np.zeros_like(bright)
    clusters, _ = ndimage.label(bright, np.ones((3, 3)))
    for k, box in enumerate(ndimage.find_objects(clusters), start=1):
        wide = tuple(slice(max(0, side.start - 2), side.stop + 2) for side in box)
        ours = clusters[wide] == k
        if ours.sum() > LARGEST_SPIKE:
            continue
        values = pattern[wide].astype(np.float64)
        least = float(values[ours].min())
        # The sum contains the spike itself: compare with what the pixels have without it.
        rest = float((sums[wide][ours] - values[ours]).max()) / max(1, patterns - 1)
        others = values[good[wide] & ~ours]
        around = max(float(np.median(others)), 0.35 * float(others.max())) if others.size else rest
        if others.size and least > SPIKE * max(around, rest, photon):
            found[wide] |= ours
    return found


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
        # A number that never changes and that no other pixel comes near, whatever is around it.
        stuck = np.zeros_like(good)
        stuck[good] = (variance == 0) & (level > 20 * photon)
        if stuck.sum() <= MOST_STUCK * good.sum():
            top = look.largest[good & ~stuck].max(initial=0.0)
            hot |= stuck & (mean > STUCK * top)
            # Others that reach the same number are saturated, and tell something.
            odd = stuck & ~np.isclose(mean, top)
            if odd.any():
                lively = np.zeros(good.shape)
                lively[good] = variance / np.maximum(level * photon, 1e-12)
                lit = good & (mean > ALIVE_COUNTS * photon) & ~stuck
                hot |= odd & (_around(lively, lit) > ALIVE)
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
    dead |= _shadows(silent, good, mean * patterns, look.vacuum * patterns, due)
    for axis in (0, 1):
        lines = silent.all(axis=axis)
        profile = np.where(good, mean, 0).sum(axis=axis) * patterns / max(1, mean.shape[0])
        labels, count = ndimage.label(lines)
        for k in range(1, count + 1):
            inside = np.flatnonzero(labels == k)
            before, after = int(inside[0]) - 1, int(inside[-1]) + 1
            sides = [profile[k] for k in (before, after) if 0 <= k < mean.shape[0]]
            band = np.zeros_like(dead)
            band[(slice(None), inside) if axis == 0 else (inside, slice(None))] = True
            lost = float(look.vacuum[band & good].sum())
            if len(sides) == 2:
                # Of few photons whole lines tell what single pixels do not, in the beam itself.
                whole = mean.shape[0] * min(sides) > due
                cut = min(sides) > due or (whole and lost * patterns > due * len(inside))
            else:
                # Up to the border it may be dark: there the beam itself must be cut off.
                cut = max(sides, default=0.0) > CUT * float(profile.max())
                cut = cut and lost > CUT_OFF * float(look.vacuum[good].sum())
            if cut:
                dead |= band & good
    blocks = dead_blocks(silent, mean * patterns, look.vacuum * patterns, due)
    for block in blocks:
        dead[block] = True
    dead &= good
    if dead.any():
        found, mend = _masked(
            "dead-pixels", dead, "that never count although light falls around them"
        )
        yield (_with_blocks(found, blocks) if blocks else found), mend


def _with_blocks(found: Finding, blocks: list[Box]) -> Finding:
    """The finding with the rectangles in words and numbers."""
    where = [
        f"y = {rows.start} to {rows.stop - 1}, x = {columns.start} to {columns.stop - 1}"
        for rows, columns in blocks[:4]
    ]
    more = f" and {len(blocks) - 4} more" if len(blocks) > 4 else ""
    said = f"{'a rectangle' if len(blocks) == 1 else 'rectangles'} of them at {'; '.join(where)}"
    bounds = [[r.start, r.stop, c.start, c.stop] for r, c in blocks]
    return replace(
        found,
        message=f"{found.message.rstrip('.')}; {said}{more}.",
        details={**found.details, "blocks": bounds},
    )


def _shadows(
    silent: NDArray[np.bool_],
    good: NDArray[np.bool_],
    counts: NDArray[np.float64],
    beam: NDArray[np.float64],
    due: float,
) -> NDArray[np.bool_]:
    """Silent regions (N, N) with light all around and light due in them, as behind a beam stop.

    ``counts`` are those of all patterns, ``beam`` what the probe alone would give.
    """
    from scipy import ndimage

    found = np.zeros_like(silent)
    regions, _ = ndimage.label(silent)
    for k, box in enumerate(ndimage.find_objects(regions), start=1):
        if any(side.start == 0 or side.stop == len(silent) for side in box):
            continue
        wide = tuple(slice(side.start - 1, side.stop + 1) for side in box)
        ours = regions[wide] == k
        rim = ndimage.binary_dilation(ours) & ~ours & good[wide]
        if not rim.any() or np.median(beam[wide][ours]) < due:
            continue
        if (counts[wide][rim] > due).mean() > LIT_RIM:
            found[wide] |= ours
    return found


@check("saturated-pixels")
def saturated_pixels(look: Look) -> Iterator[Noticed]:
    """Readings that pile up at the largest number are no measurements."""
    scan, good = look.scan, look.good
    if scan.saturation is not None:
        return
    piled = PileUp(float(look.largest[good].max()), look.photon, good)
    if not piled.worth_counting(look.largest):
        return
    for part in slices(scan.M, batch_length(scan.N, 8)):
        piled.add(np.asarray(scan.diffraction[part]))
    if not piled.clear:
        return
    count = int(piled.pixels.sum())
    yield (
        finding(
            "saturated-pixels",
            "mended",
            f"{piled.readings} readings of {count} pixels pile up at {piled.top:.6g} counts: they "
            "are taken as saturated, lower bounds of what was there.",
            count=count,
            readings=piled.readings,
            counts=piled.top,
        ),
        Mend(saturation=piled.top),
    )
