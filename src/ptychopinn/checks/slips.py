"""A frame that was lost, or came twice, during a scan: from there on patterns and positions are one
frame apart.

Along the rows of a raster all patterns then are where they should be, but for a shift that no
pattern tells; those at the ends of the rows are in a row of their own. Therefore groups of patterns
are tried in which a step by one frame changes the distances most: those at one end of some rows
together with those at the other end, where the frames after them are. Each of a few parts of the
scan has such a group, and tells whether its patterns belong to their positions or to those one
frame later or earlier; the slip is where that changes, and there it is looked for among single
patterns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Mend, finding, numbered
from ptychopinn.checks.trial_fits import explained_by, residual_of, trial_of
from ptychopinn.data.findings import Finding, left_out, recorded_findings
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops

NAME = "frame-slip"
# Passes of a trial, and of one that looks for single patterns; patterns of a group, parts of a scan
# at most and at least, and the patterns of a part at least.
PASSES, CLOSER, GROUP, PARTS, FEWEST_PARTS, PART = 4, 8, 32, 6, 3, 32
# Centres of groups that are looked at, and the distance in pixels that counts at most.
CENTRES, FAR_PX = 150, 12.0
# It is named when the patterns behind it leave this share of what they have beyond noise, those
# before it that many times as much, and it is mended up to the second share. A slip the other way
# must leave so many times more, and -2 log L must fall by so much.
NAMED, MENDED, OTHERS, OTHER_WAY, LIKELIER = 0.75, 0.7, 1.1, 1.15, 600.0
# And a group behind it must explain this share of what distinguishes the patterns.
EXPLAINS = 0.5
# How many starts are tried on a group at a time, and for how many groups.
STARTS, ROUNDS = 5, 12


@dataclass(frozen=True, eq=False)
class _Group:
    """Numbers of patterns; residuals at their positions and at those ``frames`` later, the residual
    of photon noise, and by how much the latter lower -2 log L."""

    numbers: NDArray[np.int64]
    given: float
    moved: float
    noise: float
    gained: float

    @property
    def ratio(self) -> float:
        """What is beyond noise at the other positions, relative to that at the given ones. A short
        fit of few patterns follows a part of the noise."""
        floor = min(0.8 * self.noise, 0.9 * self.given, 0.9 * self.moved)
        return (self.moved - floor) / (self.given - floor)


def slip(xp: Ops, scan: Scan) -> Finding | None:
    """Whether from some pattern on, or up to some pattern, each belongs to the position one frame
    later or earlier."""
    parts = min(PARTS, scan.M // PART)
    if parts < FEWEST_PARTS:
        return None
    edges = np.linspace(0, scan.M, parts + 1).astype(np.int64)
    rows = {
        frames: [_group(xp, scan, frames, *part) for part in pairwise(edges)] for frames in (1, -1)
    }
    steps = {frames: _step(groups) for frames, groups in rows.items()}
    frames = min(steps, key=lambda one: steps[one][0])
    share, others, border, behind = steps[frames]
    if share > NAMED or others < OTHERS:
        return None
    chosen = slice(border, None) if behind else slice(None, border)
    groups = rows[frames][chosen]
    if _mean(rows[-frames][chosen]) < OTHER_WAY * share:
        return None
    if sum(group.gained for group in groups) < LIKELIER:
        return None
    best = min(groups, key=lambda group: group.ratio)
    if explained_by(_moved(scan, best.numbers, frames), best.moved) < EXPLAINS:
        return None
    low, high = edges[max(border - 1, 0)], edges[min(border + 1, parts)]
    start = _located(xp, scan, frames, behind, int(low), int(high))
    return _said(scan, frames, start, behind, share <= MENDED, groups)


def _step(groups: list[_Group]) -> tuple[float, float, int, bool]:
    """The border between parts behind which, or before which, the other positions are likelier:
    what they leave there, what on the other side, the border, and whether it is behind. The part
    beside the border may hold the slip, and has no say."""
    logs = [float(np.log(group.ratio)) for group in groups]

    def apart(border: int, behind: bool) -> float:
        return (sum(logs[border:]) - sum(logs[:border])) * (1 if behind else -1)

    borders = [(b, behind) for b in range(len(groups)) for behind in (True, False) if b or behind]
    border, behind = min(borders, key=lambda one: apart(*one))
    there = groups[border:] if behind else groups[:border]
    others = groups[: max(border - 1, 0)] if behind else groups[border + 1 :]
    return _mean(there), _mean(others), border, behind


def _mean(groups: list[_Group]) -> float:
    """The geometric mean of their ratios; of none the least that tells right positions."""
    return float(np.exp(np.mean([np.log(group.ratio) for group in groups]))) if groups else OTHERS


def _group(xp: Ops, scan: Scan, frames: int, low: int, high: int) -> _Group:
    """The patterns of a part of the scan that tell most."""
    members = np.arange(max(low, -frames), min(high, scan.M - max(frames, 0)))
    numbers = _telling(scan, members, members, frames)
    parts = [_moved(scan, numbers, by) for by in (0, frames)]
    given, moved = (residual_of(xp, part, PASSES) for part in parts)
    prepared = prepare(parts[0])
    gained = (given - moved) / prepared.likelihood_unit
    return _Group(numbers, given, moved, prepared.expected_misfit, gained)


def _telling(
    scan: Scan, members: NDArray[np.int64], centres: NDArray[np.int64], frames: int
) -> NDArray[np.int64]:
    """Of the members the neighbours of one of the centres whose distances a step by one frame
    changes most. Where it takes some of them far away, those that are there afterwards belong to
    them: a pattern alone fits anywhere."""
    from scipy.spatial import KDTree

    places = scan.positions_px[members]
    moved = scan.positions_px[members + frames]
    half = min(GROUP // 2, len(members))
    centres = centres[:: max(1, len(centres) // CENTRES)]
    distances, near = KDTree(places).query(scan.positions_px[centres], k=half)
    steps = (moved - places)[near]
    apart = np.linalg.norm(steps - np.median(steps, axis=1, keepdims=True), axis=-1)
    best = int(np.minimum(apart, FAR_PX).mean(axis=1).argmax())
    away = near[best][apart[best] > 2 * distances[best].max()]
    if 0 < len(away) <= half // 2:
        landed = np.median(moved[away], axis=0)
        near = np.union1d(near[best], KDTree(moved).query(landed, k=half)[1])
    else:
        centre = scan.positions_px[centres[best]]
        near = KDTree(places).query(centre, k=min(GROUP, len(members)))[1]
    return np.asarray(np.sort(members[near]))


def _moved(scan: Scan, numbers: NDArray[np.int64], by: Any) -> Scan:
    """Some patterns at the positions so many frames later, for a trial."""
    part = replace(scan.select(numbers), positions_px=scan.positions_px[numbers + by], object=None)
    return trial_of(part, np.arange(part.M))


def _located(xp: Ops, scan: Scan, frames: int, behind: bool, low: int, high: int) -> int:
    """Where in [low, high] the slip is: the first pattern of what is behind it."""
    members = np.arange(max(0, -frames), scan.M - max(frames, 0))
    for _ in range(ROUNDS):
        if high <= low:
            break
        quarter = (high - low) // 4
        centres = np.arange(low + quarter, max(high - quarter, low + quarter + 1))
        numbers = _telling(scan, members, np.clip(centres, members[0], members[-1]), frames)
        inside = numbers[(numbers >= low) & (numbers < high)]
        # Starts between two of these patterns part them alike: the first of them, and the last.
        first = np.append(low, inside + 1)
        last = np.append(inside, high)
        tried = np.unique(np.linspace(0, len(first) - 1, STARTS).round().astype(np.int64))
        left = []
        for start in first[tried]:
            ours = numbers >= start if behind else numbers < start
            left.append(residual_of(xp, _moved(scan, numbers, frames * ours), CLOSER))
        best = int(np.argmin(left))
        # Between the neighbours of the best, or there, when all were tried.
        far = 0 if len(tried) == len(first) else 1
        low = int(first[tried[max(best - far, 0)]])
        high = int(last[tried[min(best + far, len(tried) - 1)]])
    return (low + high + 1) // 2


def _said(
    scan: Scan, frames: int, start: int, behind: bool, clear: bool, groups: list[_Group]
) -> Finding:
    first, stop = (start, scan.M) if behind else (0, start)
    gone = left_out(recorded_findings(scan.provenance))
    origin = np.delete(np.arange(scan.M + len(gone)), gone)
    number = int(origin[min(start, scan.M - 1)])
    lost = (frames > 0) == behind
    where, what = ("later" if frames > 0 else "earlier", "was lost" if lost else "came twice")
    which = "on" if behind else "back"
    words = f"each pattern from about number {number} {which} at the position one frame {where}"
    given, moved = (float(np.mean([getattr(g, k) for g in groups])) for k in ("given", "moved"))
    numbers = (
        f"with {words} some patterns leave a residual of {moved:.4f}, as given {given:.4f}: a "
        f"frame {what} there"
    )
    details: dict[str, Any] = {
        "slipped": frames, "start": first, "stop": stop, "words": words, "residual": moved,
        "residual_as_given": given,
    }  # fmt: skip
    if not clear:
        return finding(
            NAME, "doubt", f"{numbers}; put positions and patterns together again.", **details
        )
    without = origin[_without_partner(scan.M, frames, first, stop)]
    remedy = (
        f"leave the position of number {number} out of the positions"
        if lost
        else f"leave pattern {number} out of the patterns"
    )
    return finding(
        NAME, "mended",
        f"{numbers}; they were moved there, and pattern{'s' if len(without) > 1 else ''} "
        f"{numbered(without)} left out; to make that permanent, {remedy}.",
        **details, patterns=without.tolist(),
    )  # fmt: skip


def _without_partner(patterns: int, frames: int, first: int, stop: int) -> NDArray[np.int64]:
    """The pattern whose position would be beyond the ends, or is that of another one."""
    at = stop - 1 if frames > 0 else first
    return np.array([at]) if 0 <= at < patterns else np.array([], np.int64)


def mend_of_slip(details: Any, scan: Scan) -> Mend:
    """What a finding of a slip does to a scan."""
    frames = int(np.sign(details["slipped"]))
    first, stop = (int(np.clip(details[key], 0, scan.M)) for key in ("start", "stop"))
    at = np.arange(scan.M)
    at[first:stop] += frames
    positions = scan.positions_px[np.clip(at, 0, scan.M - 1)]
    return Mend(positions_px=positions, left_out=_without_partner(scan.M, frames, first, stop))
