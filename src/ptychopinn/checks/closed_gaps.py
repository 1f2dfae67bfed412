"""Gaps between the modules of a detector that were left out, so that the modules lie side by side.

There the rows beside each other are less alike than all others
(:mod:`ptychopinn.physics.row_likeness`), and with the gap put in the known probe explains patterns
that it does not explain as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import CHECKS, Look, Mend, examine, finding, likeness
from ptychopinn.checks.centre import NAME as CENTRE
from ptychopinn.checks.centre import untilted
from ptychopinn.checks.torn import lines_of
from ptychopinn.checks.trial_fits import FEWEST, explained_by, neighbours, residuals_of, trial_of
from ptychopinn.data.findings import Finding
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops
from ptychopinn.physics.row_likeness import RowLikeness

NAME = "closed-gap"
# Lines beside each other that are alike by this share of what those around them are.
DROP = 0.93
# The widest gap that is tried.
WIDEST = 40
# Rounds in which the widths of two gaps are fitted by turns.
ROUNDS = 4
# Passes with the probe held. A gap is taken that leaves the first share of the residual; they are
# believed that leave the second one and explain the third one of what distinguishes the patterns.
PASSES, BETTER, BELIEVED, EXPLAINS = 6, 0.9, 0.7, 0.5


@dataclass(frozen=True)
class Opened:
    """Puts a gap of ``width`` lines of an axis of patterns before line ``at``.

    The part before it moves by ``before`` lines, that from it on by the others. What gets beyond
    the border is lost, and lines that are put in are 0, or bad pixels of a mask.
    """

    axis: int
    at: int
    width: int
    before: int

    def __call__(self, pattern: NDArray[Any]) -> NDArray[Any]:
        lines = np.moveaxis(pattern, self.axis - 2, 0)
        opened = np.zeros_like(lines)
        after = self.width - self.before
        opened[: self.at - self.before] = lines[self.before : self.at]
        opened[self.at + after :] = lines[self.at : len(lines) - after]
        return np.ascontiguousarray(np.moveaxis(opened, 0, self.axis - 2))


def closed_gaps(xp: Ops, scan: Scan) -> Finding | None:
    """A finding where patterns are explained far better with gaps between their lines."""
    if scan.M < FEWEST or not scan.propagator.measures_momentum:
        return None
    told = [(axis, _seam(lines_of(Look(scan), axis))) for axis in (0, 1)]
    seams = [(axis, *seam) for axis, seam in told if seam is not None]
    if not seams:
        return None
    # A beam beside the middle may be what the gap has left of one in the middle.
    part = untilted(scan.select(neighbours(scan)))

    def opened(gaps: list[Opened]) -> Scan:
        mended = mend_of_gaps(_details(gaps), part).of(part)
        return trial_of(examine(mended, [n for n in CHECKS if n != CENTRE]).scan, np.arange(part.M))

    def left(*several: list[Opened]) -> list[float]:
        return residuals_of(xp, map(opened, several), PASSES, free_probe=False)

    look = Look(part)
    beam, mean = np.sqrt(look.vacuum), np.sqrt(np.where(look.good, look.mean, 0))

    def placed(axis: int, at: int, width: int) -> Opened:
        """With the beam where the probe puts it as well as it goes."""
        ways = [Opened(axis, at, width, before) for before in range(min(width, at - 1) + 1)]
        return max(ways, key=lambda gap: likeness(gap(mean), beam))

    def fitted(others: list[Opened], axis: int, at: int, width: int) -> tuple[float, Opened]:
        """What the best width leaves, and the gap."""
        found: dict[int, float] = {}
        widths = [width, width + 1]
        while widths:
            residuals = left(*([*others, placed(axis, at, w)] for w in widths))
            found |= zip(widths, residuals, strict=True)
            best = min(found, key=found.__getitem__)
            near = (best - 1, best + 1)
            widths = [w for w in near if 0 < w <= min(WIDEST, scan.N // 4) and w not in found]
        return found[best], placed(axis, at, best)

    given = least = left([])[0]
    gaps: list[Opened] = []
    for seam in seams:
        leaves, gap = fitted(gaps, *seam)
        if leaves <= BETTER * least:
            gaps, least = [*gaps, gap], leaves
    # Each was fitted while the other was not as it should be.
    for _ in range(ROUNDS if len(gaps) > 1 else 0):
        before = list(gaps)
        for k, gap in enumerate(before):
            least, gaps[k] = fitted([*gaps[:k], *gaps[k + 1 :]], gap.axis, gap.at, gap.width)
        if gaps == before:
            break
    if least > BELIEVED * given:
        return None
    if not explained_by(opened(gaps), least) >= EXPLAINS:
        return None
    where = " and ".join(
        f"{gap.width} {('row', 'column')[gap.axis]}{'s' if gap.width > 1 else ''} before "
        f"{'yx'[gap.axis]} = {gap.at}"
        for gap in gaps
    )
    return finding(
        NAME, "mended",
        f"modules of the detector had been pushed together, which leaves out the gap between them: "
        f"what is missing ({where}) was put in and masked, with which some patterns around the "
        f"middle leave a residual of {least:.4f}, as given {given:.4f}; write the patterns with "
        "their gaps.",
        **_details(gaps), residual=least, residual_as_given=given,
        words="the patterns with the gaps between modules of the detector put in",
    )  # fmt: skip


def mend_of_gaps(details: Any, scan: Scan) -> Mend:
    """The gaps of a finding put in, one after the other, and masked."""
    gaps = [Opened(*gap) for gap in details["gaps"]]
    if not gaps:
        return Mend()
    return Mend(masked=np.zeros((scan.N, scan.N), bool), turned=AllOpened(tuple(gaps)))


@dataclass(frozen=True)
class AllOpened:
    """Puts several gaps in, one of each axis."""

    gaps: tuple[Opened, ...]

    def __call__(self, pattern: NDArray[Any]) -> NDArray[Any]:
        for gap in self.gaps:
            pattern = gap(pattern)
        return pattern


def _details(gaps: list[Opened]) -> dict[str, Any]:
    return {"gaps": [[gap.axis, gap.at, gap.width, gap.before] for gap in gaps]}


def _seam(lines: RowLikeness) -> tuple[int, int] | None:
    """The line after the clearest seam, and the likely width of the gap that is missing there."""
    drops = lines.drops
    if not np.isfinite(drops).any():
        return None
    scatter = np.sqrt(np.diagonal(lines.covariance))
    # Where the beam ends, lines are less alike as well, but hardly lit.
    seam = int(np.nanargmax((1 - drops) * scatter[:-1] * scatter[1:]))
    if drops[seam] > DROP:
        return None
    shares = [lines.at(1 + width) / lines.at(1) for width in range(1, 8)]
    return seam + 1, int(np.argmin(np.abs(np.array(shares) - drops[seam]))) + 1
