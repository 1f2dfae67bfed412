"""A part of the detector that is a few frames early or late, as a module that lost one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Noticed, check, finding
from ptychopinn.checks.filled import measured
from ptychopinn.checks.torn import AXES, LEAST, lines_of
from ptychopinn.data.findings import Finding
from ptychopinn.physics.row_likeness import lagged_likeness

NAME = "late-part"
# Lines at a border are less alike than this share of those around; there are so many borders.
BREAK, BORDERS = 0.8, 3
# Frames in a row and numbers that are looked at, and frames by which a part may be late.
FRAMES, NUMBERS, LATE = 128, 1 << 21, 3
# Lines are alike by so much in the right frames, and by this more, and this times, than as given.
ALIKE, MORE, TIMES = 0.3, 0.12, 1.15
# And nearly by as much as the lines around.
AROUND = 0.8
# Of lines of which less is measured than this the few pixels that are left tell nothing.
MEASURED = 0.75


@check(NAME)
def late_parts(look: Look) -> Iterator[Noticed]:
    """Light goes on smoothly across a border of modules, in the frames that belong together."""
    scan = look.scan
    count = min(scan.M, FRAMES, max(16, NUMBERS // scan.N**2))
    if len(look.sample) < LEAST or count < 16:
        return
    frames: NDArray[np.float32] | None = None
    # Readings that are cut off do not change with the light.
    pixels = measured(look)
    for axis, (line, name) in enumerate(AXES):
        drops = lines_of(look, axis).drops
        borders = np.flatnonzero(np.nan_to_num(drops, nan=1.0) < BREAK)
        if not 1 <= len(borders) <= BORDERS:
            continue
        if frames is None:
            first = (scan.M - count) // 2
            frames = np.asarray(scan.diffraction[first : first + count]).astype(np.float32)
        turned, good = frames, pixels
        if axis == 1:
            turned, good = frames.swapaxes(1, 2), pixels.T
        for border in borders:
            found = _late(turned, good, int(border), line, name)
            if found is not None:
                yield found, None
                return


def _late(
    frames: NDArray[np.float32], good: NDArray[np.bool_], border: int, line: str, name: str
) -> Finding | None:
    """What is said where line ``border`` and the next one are of different frames (m, N, N)."""
    width = frames.shape[-1]
    for part in (slice(0, width), slice(0, width // 2), slice(width // 2, width)):
        # The pair before, that of the border, and the pair behind.
        pairs = [slice(k, k + 2) for k in (max(border - 1, 0), border, border + 1)]
        if min(good[lines, part].mean() for lines in pairs) < MEASURED:
            continue
        before, alike, behind = (
            lagged_likeness(frames[:, lines, part], good[lines, part], LATE) for lines in pairs
        )
        given, late = alike[LATE], int(np.argmax(alike)) - LATE
        best = alike[late + LATE]
        # The shadow of a sample moves across a gap that was closed, and changes on its way.
        least = max(ALIKE, given + MORE, TIMES * given, AROUND * min(before[LATE], behind[LATE]))
        if late == 0 or best < least:
            continue
        other = "column" if line == "row" else "row"
        along = "" if part == slice(0, width) else f", at {other}s {part.start} to {part.stop - 1},"
        many = f"{abs(late)} frame{'' if abs(late) == 1 else 's'}"
        later, is_late = ("later", "late") if late > 0 else ("earlier", "early")
        return finding(
            NAME, "fault",
            f"a pattern must be of one frame all over, received patterns in which {line} {name} = "
            f"{border}{along} goes on in the next {line} {many} {later} ({best:.0%} alike) and not "
            f"in the same one ({max(given, 0):.0%}): from there on the detector is {many} "
            f"{is_late}, as where a module lost one; write the patterns anew with that part of "
            f"each taken from the one {many} {later}.",
            axis=name, border=border + 1, frames=late, given=float(given), best=float(best),
        )  # fmt: skip
    return None
