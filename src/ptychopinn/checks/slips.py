"""A frame that was lost, or came twice, during a scan: from there on patterns and positions are one
frame apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import finding
from ptychopinn.checks.trial_fits import FEWEST, explained_by, residual_of, trial_of
from ptychopinn.data.findings import Finding
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops

# Patterns and passes of a trial, and the parts of a scan at whose borders a slip is looked for at
# first.
PATTERNS, PASSES, PARTS = 64, 4, 6
# It is believed when it leaves this share of the residual, explains this share of what
# distinguishes the patterns, and leaves that much less than a slip the other way.
BELIEVED, EXPLAINS, OTHER = 0.7, 0.5, 0.85
# Nothing is looked at closely unless one of the first leaves this share.
MAY_BE = 0.9


def slip(xp: Ops, scan: Scan) -> Finding | None:
    """Whether from some pattern on each belongs to the position one frame later or earlier.

    Tried on patterns along a line through the scan, which meets most of its time.
    """
    if scan.M < 2 * FEWEST:
        return None
    chosen = strip(scan)
    known: dict[tuple[int, int], float] = {}

    def left(frames: int, start: int) -> float:
        if (frames, start) not in known:
            at = np.clip(chosen + frames * (chosen >= start), 0, scan.M - 1)
            positions = scan.positions_px.copy()
            positions[chosen] = scan.positions_px[at]
            moved = trial_of(replace(scan, positions_px=positions, object=None), chosen)
            known[frames, start] = residual_of(xp, moved, PASSES)
        return known[frames, start]

    step = max(1, scan.M // PARTS)
    given = left(1, scan.M)
    coarse = {(d, k): left(d, k) for d in (1, -1) for k in range(step, scan.M - step // 2, step)}
    frames, start = min(coarse, key=coarse.__getitem__)
    if coarse[frames, start] > MAY_BE * given:
        return None
    while step > 2:
        step = -(-step // 2)
        near = [k for k in (start - step, start, start + step) if 0 < k < scan.M]
        start = min(near, key=lambda k: left(frames, k))
    least = left(frames, start)
    other = min(residual for (d, _), residual in coarse.items() if d != frames)
    if least > min(BELIEVED * given, OTHER * other):
        return None
    if explained_by(trial_of(scan, chosen), least) < EXPLAINS:
        return None
    where, what = ("later", "was lost") if frames > 0 else ("earlier", "came twice")
    words = f"each pattern from about number {start} on at the position one frame {where}"
    return finding(
        "frame-offset",
        "doubt",
        f"with {words} some patterns along a line through the scan leave a residual of "
        f"{least:.4f}, as given {given:.4f}: a frame {what} there; put positions and patterns "
        "together again.",
        slipped=frames, start=start, words=words, residual=least, residual_as_given=given,
    )  # fmt: skip


def strip(scan: Scan) -> NDArray[np.int64]:
    """Patterns along a line through the middle of the scan, in the order of the scan: along the
    axis that leaves the shorter gaps of time."""
    positions = scan.positions_px - np.median(scan.positions_px, axis=0)
    nearest = (np.argsort(np.abs(positions[:, k]), kind="stable")[:PATTERNS] for k in (0, 1))
    lines = [np.sort(numbers) for numbers in nearest]
    gaps = [int(np.diff(line, prepend=0, append=scan.M - 1).max()) for line in lines]
    return lines[int(np.argmin(gaps))]
