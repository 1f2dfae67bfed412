"""Are frames and positions in the same order? Each frame may belong to the position some frames
before or behind, to that of the frame as far from the other end, or to one of a raster that was
walked on another way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import finding, numbered
from ptychopinn.checks.numbering import given_numbers, partners
from ptychopinn.checks.trial_fits import (
    FEWEST,
    beyond_noise,
    explained_by,
    neighbours,
    residuals_of,
    trial_of,
)
from ptychopinn.data.findings import Finding, left_out, recorded_findings
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops

OFFSET, ORDER = "frame-offset", "frame-order"
# Passes of the first round, and of the second with the best ones.
SHORT, LONG = 4, 10
# How many frames patterns and positions may be apart. In a raster scan the next frame is nearly as
# good as a shift of the object: no more than this share may be left beyond noise, and no more than
# that of everything; the second best must leave that much more.
MOST_FRAMES = 3
BELIEVED, LESS, OTHER = 0.6, 0.85, 1.3
# Nothing further is tried when one of the first three leaves this share of the next one.
SETTLED = 0.85
# And it must explain this share of what distinguishes the patterns: with a hopeless probe all fits
# are bad, and one of them is less bad than the others by chance.
EXPLAINS = 0.5
# The rows of a raster: positions scatter along its slow axis by less than this share of the
# distance of two rows, and no two rows are nearer than the second share of the usual distance.
SCATTER, EVEN, FEWEST_IN_ROW = 0.3, 0.4, 3
# Positions that were made of a grid are off it by no more than this share of a step.
ON_GRID = 0.02
# Positions that are looked at for them.
LOOKED_AT = 4096
# Orders that frames may be in, as the details of a finding and in words.
GIVEN, REVERSED, MEANDER, COLUMNS = "given", "reversed", "meander", "columns"
EXCHANGED = "exchanged"
WORDS = {
    REVERSED: "the frames in the opposite order",
    MEANDER: "the frames of every second row in the opposite order",
    COLUMNS: "the frames column by column",
    EXCHANGED: "a raster with rows and columns exchanged",
}
SENTENCES = {
    REVERSED: "the frames are in the opposite order of the positions",
    MEANDER: "frames and positions of every second row are in opposite orders",
    COLUMNS: "frames and positions go along different axes of the raster first",
    EXCHANGED: "the raster has as many rows as was given for its columns",
}
REMEDIES = {
    REVERSED: "put the positions in the opposite order",
    MEANDER: "put the positions of every second row in the opposite order",
    COLUMNS: "put the positions in the order of the columns",
    EXCHANGED: "exchange the two numbers of the grid, or write the positions anew",
}


def offset(xp: Ops, scan: Scan) -> Finding | None:
    """Patterns that belong to the positions of frames some before or behind."""
    if scan.M <= FEWEST + 2 * MOST_FRAMES:
        return None
    chosen = neighbours(scan)
    # Each of them has as many frames before and after.
    apart = range(-MOST_FRAMES, MOST_FRAMES + 1)
    at = {frames: partners(scan, frames) for frames in apart}
    chosen = chosen[np.all([at[frames][chosen] >= 0 for frames in apart], axis=0)]
    if len(chosen) < FEWEST:
        return None

    def run(tried: Iterable[int], passes: int) -> dict[int, float]:
        numbers = list(tried)
        parts = [placed(scan, chosen, at[frames]) for frames in numbers]
        return dict(zip(numbers, residuals_of(xp, parts, passes), strict=True))

    first = run((0, 1, -1), SHORT)
    least, other = sorted(first.values())[:2]
    if least > SETTLED * other:
        first |= run((s * k for k in range(2, MOST_FRAMES + 1) for s in (1, -1)), SHORT)
    frames, second = sorted(first, key=first.__getitem__)[:2]
    if frames == 0:
        return None
    residuals = run(dict.fromkeys((0, frames, second)), LONG)
    noise = prepare(placed(scan, chosen, at[0])).expected_misfit
    if not _believed(residuals[frames], residuals[0], noise):
        return None
    if beyond_noise(residuals[second], residuals[frames], noise) < OTHER:
        return None
    if explained_by(placed(scan, chosen, at[frames]), residuals[frames]) < EXPLAINS:
        return None
    lost = given_numbers(scan)[at[frames] < 0]
    many = len(lost) > 1
    distance = f"{abs(frames)} frames" if abs(frames) > 1 else "one frame"
    where = f"{distance} {'later' if frames > 0 else 'earlier'}"
    return finding(
        OFFSET,
        "mended",
        f"each pattern belongs to the position {where}: so some patterns around the middle leave "
        f"a residual of {residuals[frames]:.4f}, as given {residuals[0]:.4f}; "
        f"pattern{'s' if many else ''} {numbered(lost)} {'have' if many else 'has'} none "
        f"and {'are' if many else 'is'} left out.",
        frames=frames,
        patterns=lost.tolist(),
        residuals={str(k): v for k, v in residuals.items()},
        words=f"each pattern at the position {where}",
        residual=residuals[frames],
    )


def order(xp: Ops, scan: Scan) -> Finding | None:
    """Frames that are in another order than the positions."""
    if scan.M < FEWEST:
        return None

    parts = {GIVEN: reordered(scan, np.arange(scan.M))}
    parts |= {name: reordered(scan, at) for name, at in orders(scan)}
    other = exchanged(scan)
    if other is not None:
        moved = replace(scan, positions_px=other, object=None)
        parts[EXCHANGED] = trial_of(moved, neighbours(moved))
    parts = {name: part for name, part in parts.items() if part.M >= FEWEST}
    first = dict(zip(parts, residuals_of(xp, parts.values(), SHORT), strict=True))
    best = min(first, key=first.__getitem__)
    if best == GIVEN:
        return None
    given, least = residuals_of(xp, [parts[name] for name in (GIVEN, best)], LONG)
    noise = prepare(parts[best]).expected_misfit
    if not _believed(least, given, noise) or explained_by(parts[best], least) < EXPLAINS:
        return None
    others = [left for name, left in first.items() if name not in (GIVEN, best)]
    if beyond_noise(min(others, default=np.inf), first[best], noise) < OTHER:
        return None
    return said(scan, best, given, least)


def _believed(residual: float, given: float, noise: float) -> bool:
    """Whether another order, or offset, leaves so much less that it is taken."""
    return residual <= LESS * given and beyond_noise(residual, given, noise) <= BELIEVED


def said(scan: Scan, name: str, given: float, left: float) -> Finding:
    """The finding that frames are in this order, with the residuals as given and then."""
    without = given_numbers(scan)[partners_in(scan, name) < 0]
    gone = (
        f"; pattern{'s' if len(without) > 1 else ''} {numbered(without)}, which so have none, "
        f"{'are' if len(without) > 1 else 'is'} left out"
        if len(without)
        else ""
    )
    return finding(
        ORDER,
        "mended",
        f"{SENTENCES[name]}: paired so, some patterns around the middle leave a residual of "
        f"{left:.4f}, as given {given:.4f}{gone}; to make that permanent, {REMEDIES[name]}.",
        order=name,
        patterns=without.tolist(),
        words=WORDS[name],
        residual=left,
        residual_as_given=given,
    )


def placed(scan: Scan, chosen: NDArray[np.int64], at: NDArray[np.int64]) -> Scan:
    """Some patterns, each at the position of pattern ``at`` (M,) of it, for a trial."""
    places = scan.positions_px[at[chosen]]
    part = replace(scan.select(chosen), positions_px=places, object=None)
    return trial_of(part, np.arange(part.M))


def reordered(scan: Scan, at: NDArray[np.int64]) -> Scan:
    """Neighbours when each pattern has the position of pattern ``at`` (M,), for a trial."""
    there = np.flatnonzero(at >= 0)
    moved = replace(scan.select(there), positions_px=scan.positions_px[at[there]], object=None)
    return trial_of(moved, neighbours(moved))


def partners_in(scan: Scan, name: str) -> NDArray[np.int64]:
    """(M,) which pattern's position each pattern has in this order; -1 where there is none."""
    return next((at for known, at in orders(scan) if known == name), np.arange(scan.M))


def orders(scan: Scan) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Other orders of the frames, each with which pattern's position each pattern has then."""
    numbers = given_numbers(scan)
    total = scan.M + len(left_out(recorded_findings(scan.provenance)))
    wanted = total - 1 - numbers
    at = np.clip(np.searchsorted(numbers, wanted), 0, scan.M - 1)
    yield REVERSED, np.where(numbers[at] == wanted, at, -1)
    # Rows are told by patterns that follow each other.
    length = 0 if total > scan.M else row_length(scan.positions_px)
    if not length:
        return
    own = np.arange(scan.M)
    row, column = own // length, own % length
    at = np.where(row % 2 == 1, row * length + length - 1 - column, own)
    yield MEANDER, np.where(at < scan.M, at, -1)
    if scan.M % length == 0:
        yield COLUMNS, own.reshape(-1, length).T.ravel()


def exchanged(scan: Scan) -> NDArray[np.float64] | None:
    """(M, 2) positions of an even raster whose numbers of rows and columns were exchanged; None of
    others, and of a square."""
    total = scan.M + len(left_out(recorded_findings(scan.provenance)))
    length = 0 if total > scan.M else row_length(scan.positions_px)
    if not length or scan.M % length or length**2 == scan.M:
        return None
    rows = scan.M // length
    places = scan.positions_px.reshape(rows, length, 2)
    down = (places[-1, 0] - places[0, 0]) / (rows - 1)
    along = (places[0, -1] - places[0, 0]) / (length - 1)

    def walked(columns: int) -> NDArray[np.float64]:
        row, column = np.divmod(np.arange(scan.M), columns)
        return np.asarray(places[0, 0] + row[:, None] * down + column[:, None] * along)

    off = np.abs(walked(length) - scan.positions_px).max()
    least = min(float(np.hypot(*step)) for step in (down, along))
    return walked(rows) if off <= ON_GRID * least else None


def row_length(positions_px: NDArray[np.float64]) -> int:
    """How many positions (M, 2) a row of a raster has; 0 where they are none."""
    first = positions_px[:LOOKED_AT]
    m, best, length = len(first), SCATTER, 0
    for count in range(FEWEST_IN_ROW, m // FEWEST_IN_ROW + 1):
        rows = first[: m - m % count].reshape(-1, count, 2)
        middle, scatter = rows.mean(axis=1), rows.std(axis=1).mean(axis=0)
        apart = np.diff(middle, axis=0)
        usual = np.median(apart, axis=0)
        even = (apart * np.sign(usual) > EVEN * np.abs(usual)).all(axis=0) & (usual != 0)
        score = np.where(even, scatter / np.maximum(np.abs(usual), 1e-12), np.inf).min()
        if score < best:
            best, length = float(score), count
    return length
