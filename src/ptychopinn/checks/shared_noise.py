"""Noise that tells what was done to patterns: shared by neighbours in time, or too little of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptychopinn.checks.base import Look, Noticed, check, finding
from ptychopinn.data.findings import AFTERGLOW
from ptychopinn.physics.readout import shared_with_next, variance_of_counts

# Patterns in a row that are looked at, and numbers.
PATTERNS, NUMBERS = 128, 1 << 20
# The share of its noise that a pattern has in common with the next one, from which on it is said.
SHARED = 0.05
# Whole numbers that vary by less than this share of what counts do, which is 0.94 to 1.04 of 30
# simulated scans; half of them where two counts were made one.
QUIET = 0.7
# Readings that were cut off at the top vary less as well.
QUIET_CUT_OFF = 0.3
# So many patterns have the same largest number, as a share, at so many pixels, in the median.
SAME_TOP, PIXELS, FEWEST = 0.95, 2.0, 16


@check(AFTERGLOW)
def afterglow(look: Look) -> Iterator[Noticed]:
    """Patterns that hold a part of the one before: their noise is not their own."""
    scan = look.scan
    count = min(scan.M, max(8, min(PATTERNS, NUMBERS // scan.N**2)))
    first = (scan.M - count) // 2
    shared = shared_with_next(np.asarray(scan.diffraction[first : first + count]), look.good)
    if shared is None or shared < SHARED:
        return
    yield (
        finding(
            AFTERGLOW, "doubt",
            f"each pattern has {shared:.0%} of its noise in common with the next one, which those "
            "further away do not have: it holds a part of it, as where a detector glows on or "
            "frames were averaged; record longer waits between frames, or subtract that part.",
            share=shared,
        ),
        None,
    )  # fmt: skip


@check("quiet-counts")
def quiet_counts(look: Look) -> Iterator[Noticed]:
    """Whole numbers that vary by less than photons do: of larger counts."""
    if np.dtype(look.scan.diffraction.dtype).kind != "u":
        return
    share = variance_of_counts(look.sample[:PATTERNS], look.good)
    quiet = QUIET if look.scan.saturation is None else QUIET_CUT_OFF
    if share is None or share > quiet:
        return
    yield (
        finding(
            "quiet-counts", "doubt",
            f"the counts vary by {share:.2g} times what photons do: they were divided or averaged "
            "and made whole, which loses small ones, computed without noise, or the detector did "
            "not follow so much light; store the counts as they were measured.",
            share=share,
        ),
        None,
    )  # fmt: skip


@check("scaled-patterns")
def scaled_patterns(look: Look) -> Iterator[Noticed]:
    """Patterns that all have the same largest number, at pixels that differ."""
    readings = look.sample[:, look.good]
    if len(readings) < FEWEST:
        return
    tops = readings.max(axis=1)
    top = float(np.median(tops))
    same = tops == top
    often = (readings[same] == top).sum(axis=1)
    places = np.unique(readings[same].argmax(axis=1))
    if not top > 0 or same.mean() < SAME_TOP or np.median(often) > PIXELS or len(places) < 3:
        return
    yield (
        finding(
            "scaled-patterns", "doubt",
            f"{int(same.sum())} of {len(tops)} patterns have {top:.6g} as their largest number, at "
            f"{len(places)} different pixels: each was scaled to its own maximum, as pictures are, "
            "so that it is not known which one is brighter; store counts of one scale.",
            top=top, patterns=int(same.sum()),
        ),
        None,
    )  # fmt: skip
