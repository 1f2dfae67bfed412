"""A whole row of a raster that was lost, of the patterns or of the positions: from there on each
pattern is one row away from its position.

On an even raster the patterns before and behind are where they should be among themselves. Only
those on both sides of the border of the two rows contradict each other, so every border is looked
at with a block of patterns around it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import finding, numbered
from ptychopinn.checks.frame_order import placed, row_length
from ptychopinn.checks.numbering import given_numbers, partners
from ptychopinn.checks.slips import NAME, SLIPPED
from ptychopinn.checks.trial_fits import explained_by, residuals_of
from ptychopinn.data.findings import Finding
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops

# Rows of a raster at least and at most, those of a block on each side of a border, its columns at
# most and its patterns at least.
FEWEST_ROWS, MOST_ROWS, SIDE_ROWS, COLUMNS, FEWEST = 6, 48, 2, 6, 16
# Passes of a trial, and of one that decides.
PASSES, LONG = 12, 20
# A block is tried that leaves so many times what the best one leaves beyond noise: so many of the
# worst, and of the first.
WORSE, TRIED = 1.3, 3
# Behind a row that is missing the patterns of its block leave this share beyond noise, -2 log L
# falls by so much, and the block is explained to this share.
BELIEVED, LIKELIER, EXPLAINS = 0.4, 300.0, 0.9
# And every block that was as bad, nearly, leaves this share of what it left.
AS_BAD, BETTER = 0.5, 0.75
# A short fit of few patterns follows a part of the noise: it leaves this share of it, and what is
# beyond is never told to be less than the second share.
FLOOR, LEAST = 0.8, 0.1

# Numbers of patterns, and those of the frames at whose positions they are.
Moved = tuple[NDArray[np.int64], NDArray[np.int64]]


def row_slip(xp: Ops, scan: Scan) -> Finding | None:
    """The border of two rows from which on each pattern belongs to the position a row later or
    earlier."""
    length = row_length(scan.positions_px)
    rows = scan.M // length if length else 0
    numbers = given_numbers(scan)
    # Rows are told by patterns that follow each other.
    if not FEWEST_ROWS <= rows <= MOST_ROWS or numbers[-1] != scan.M - 1:
        return None
    borders = range(SIDE_ROWS, rows - SIDE_ROWS + 1)
    whole = {border: _block(border, length, scan.M) for border in borders}
    own = np.arange(scan.M)
    lefts = _left(xp, scan, [(whole[border], own) for border in borders], PASSES)
    given = dict(zip(borders, lefts, strict=True))
    bad = [border for border in borders if given[border] > WORSE * min(given.values())]
    # Behind a missing row all are bad where positions scatter, on an even raster those at it.
    worst = sorted(bad, key=given.__getitem__)[-TRIED:]
    moved: dict[tuple[int, int], Moved] = {}
    for border in sorted({*bad[:TRIED], *worst}):
        for frames in (length, -length):
            # Where positions are missing, the patterns of that row have none.
            block = _block(border, length, scan.M, 1 if frames < 0 else 0)
            at = partners(scan, frames, border * length)
            block = block[at[block] >= 0]
            if len(block) >= FEWEST and (block >= border * length).any():
                moved[border, frames] = block, at
    if not moved:
        return None
    tried = dict(zip(moved, _left(xp, scan, moved.values(), PASSES), strict=True))

    def share(key: tuple[int, int]) -> float:
        return tried[key] / given[key[0]]

    # Patterns that are moved apart hardly contradict each other: nearer together counts for more.
    near = {key: share(key) for key in tried if key[1] < 0 and share(key) <= BELIEVED}
    border, frames = min(near or tried, key=share)
    block, places = moved[border, frames]
    left, before = _left(xp, scan, [(block, places), (whole[border], own)], LONG)
    part = placed(scan, block, places)
    if explained_by(part, left + FLOOR * prepare(part).expected_misfit) < EXPLAINS:
        return None
    prepared = prepare(placed(scan, whole[border], own))
    gained = (before - left) / prepared.likelihood_unit
    if left > BELIEVED * before or gained < LIKELIER:
        return None
    # Of a row that is missing elsewhere some are as bad as before.
    others = [one for one in bad if given[one] > AS_BAD * given[border]]
    rests = [(whole[other][places[whole[other]] >= 0], places) for other in others]
    for other, rest in zip(others, _left(xp, scan, rests, PASSES), strict=True):
        if rest > BETTER * given[other]:
            return None
    start = border * length
    words = (
        f"{SLIPPED}{start} on at the position one row of {length} "
        f"{'later' if frames > 0 else 'earlier'}"
    )
    without = numbers[places < 0]
    left, before = (value + FLOOR * prepared.expected_misfit for value in (left, before))
    what, remedy = (
        ("the patterns of a row were lost", f"the {length} positions from number {start} on out")
        if frames > 0
        else (
            "the positions of a row were lost, or it was measured twice",
            f"the {length} patterns from number {start} on out",
        )
    )
    return finding(
        NAME,
        "mended",
        f"with {words} patterns of the rows around it leave a residual of {left:.4f}, as given "
        f"{before:.4f}: {what} there; they were moved there, and patterns {numbered(without)} left "
        f"out; to make that permanent, leave {remedy}.",
        slipped=frames, start=start, stop=scan.M, words=words, residual=left,
        residual_as_given=before, patterns=without.tolist(),
    )  # fmt: skip


def _block(border: int, length: int, m: int, gap: int = 0) -> NDArray[np.int64]:
    """Patterns of the rows on both sides of a border, those in the middle of the rows; ``gap`` rows
    behind it are left out."""
    columns = np.arange(length)[max(0, (length - COLUMNS) // 2) :][:COLUMNS]
    rows = [*range(border - SIDE_ROWS, border), *range(border + gap, border + gap + SIDE_ROWS)]
    numbers = (np.array(rows)[:, None] * length + columns).ravel()
    return numbers[numbers < m]


def _left(xp: Ops, scan: Scan, blocks: Iterable[Moved], passes: int) -> list[float]:
    """What the patterns of blocks leave beyond noise at the positions of others."""
    parts = [placed(scan, block, at) for block, at in blocks]
    noises = [prepare(part).expected_misfit for part in parts]
    residuals = residuals_of(xp, parts, passes)
    return [
        max(residual - FLOOR * noise, LEAST * noise)
        for residual, noise in zip(residuals, noises, strict=True)
    ]
