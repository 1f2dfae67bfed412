"""Frames that were lost, or came twice, during a scan: from there on patterns and positions are
some frames apart.

Along the rows of a raster all patterns then are where they should be, but for a shift that no
pattern tells; those at the ends of the rows are in a row of their own. Therefore groups of patterns
are tried in which a step by one frame changes the distances most: those at one end of some rows
together with those at the other end, where the frames after them are. Each of a few windows of the
scan has such a group, and tells whether its patterns belong to their positions or to those some
frames later or earlier. The path through all windows that leaves least, each change of it having
its price, tells where the slips are; the first of them is looked for among single patterns and
mended, then the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Mend, finding, numbered
from ptychopinn.checks.numbering import given_numbers, partners
from ptychopinn.checks.repeats import REPEATED
from ptychopinn.checks.trial_fits import (
    beyond_noise,
    explained_by,
    residuals_of,
    trial_of,
)
from ptychopinn.data.findings import Finding, left_out, recorded_findings, with_findings
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops

NAME = "frame-slip"
# Passes of a trial, and of one that looks for single patterns or asks again; patterns of a group,
# parts of a scan at most and at least, and the patterns of a part at least. Windows are parts, and
# then halves of two neighbouring ones.
PASSES, CLOSER, GROUP, PARTS, FEWEST_PARTS, PART = 4, 8, 32, 6, 3, 32
# Centres of groups that are looked at, and the distance in pixels that counts at most.
CENTRES, FAR_PX = 150, 12.0
# A slip is named when the patterns behind it leave this share of what they have beyond noise, those
# before it that many times as much, and it is mended up to the second share. A slip the other way
# must leave so many times more, and -2 log L must fall by so much.
NAMED, MENDED, OTHERS, OTHER_WAY, LIKELIER = 0.75, 0.7, 1.1, 1.15, 600.0
# Nothing is gone on with where no window is right and none leaves this share one frame away.
BETTER = 0.9
# And a group behind it must explain this share of what distinguishes the patterns.
EXPLAINS = 0.5
# Patterns and positions may be so many frames apart; the price of a change by one frame, as the
# logarithm of such a share; slips of a scan at most.
APART, PRICE, MOST = 3, 0.25, 5
# How the words of a slip begin.
SLIPPED = "each pattern from about number "
# How many starts are tried on a group at a time, and for how many groups.
STARTS, ROUNDS = 5, 12


@dataclass(eq=False)
class _Window:
    """Numbers of patterns that tell most about [low, high), and what they leave at their positions
    and at those some frames later."""

    low: int
    high: int
    numbers: NDArray[np.int64]
    noise: float
    unit: float
    left: dict[int, float]

    def ratio(self, frames: int) -> float:
        """What is beyond noise at other positions, relative to that at the given ones."""
        return beyond_noise(self.left.get(frames, np.inf), self.left[0], self.noise)

    def gained(self, frames: int) -> float:
        """By how much other positions lower -2 log L."""
        return (self.left[0] - self.left[frames]) / self.unit

    @property
    def right(self) -> bool:
        """Whether one frame away all is worse."""
        return min(self.ratio(1), self.ratio(-1)) >= OTHERS

    @property
    def likelier(self) -> bool:
        """Whether one frame away something is better."""
        return min(self.ratio(1), self.ratio(-1)) <= BETTER


def slips(xp: Ops, scan: Scan) -> tuple[Finding, ...]:
    """Slips one after the other, each of a scan in which those before it are mended."""
    found: list[Finding] = []
    while len(found) < MOST and all(one.level == "mended" for one in found):
        one = slip(xp, scan)
        if one is None:
            break
        found.append(one)
        scan = mend_of_slip(one.details, scan).of(scan)
        scan = replace(scan, provenance=with_findings(scan.provenance, [one]))
    return tuple(found)


def slip(xp: Ops, scan: Scan) -> Finding | None:
    """The first slip: from some pattern on, or up to some pattern, each belongs to the position
    some frames later or earlier."""
    parts = min(PARTS, scan.M // PART)
    if parts < FEWEST_PARTS:
        return None
    edges = np.linspace(0, scan.M, 2 * parts + 1).round().astype(int).tolist()
    windows = _windows(xp, scan, zip(edges[:-2:2], edges[2::2], strict=True))
    right = [window.right for window in windows]
    # Of slips by more than one frame only what is before them tells.
    if all(right) or not (any(right) or any(w.likelier for w in windows)):
        return None
    windows += _windows(xp, scan, zip(edges[1:-2:2], edges[3::2], strict=True))
    windows.sort(key=lambda window: window.low)
    if any(right):
        others = [window for window in windows if not window.right]
        _try(xp, scan, others, [f for f in range(-APART, APART + 1) if f])
    path = _path(windows)
    if not any(path):
        return None
    # Where the path leaves its first state; one that never is 0 left it before the first window.
    at = next((k for k, frames in enumerate(path) if frames != path[0]), len(path))
    before = path[0] != 0 and 0 in path
    frames = path[0] if path[0] else path[at]
    ours = windows[:at] if path[0] else windows[at:]
    ours = list(takewhile(lambda w: path[windows.index(w)] == frames, ours))
    # The first and the last of them may hold a slip.
    ours = ours[1:-1] if len(ours) > 3 else ours
    there = _mean(window.ratio(frames) for window in ours)
    beside = windows[at] if before else windows[at - 1]
    others = [w for w, state in zip(windows, path, strict=True) if not state and w is not beside]
    if there > NAMED or _mean(w.ratio(frames) for w in others) < OTHERS:
        return None
    if _mean(window.ratio(-frames) for window in ours) < OTHER_WAY * there:
        return None
    if sum(window.gained(frames) for window in ours) < LIKELIER:
        return None
    # What was not finished after a few passes leaves more here or there by chance.
    there = _mean(_longer(xp, scan, window, frames).ratio(frames) for window in ours)
    if there > NAMED:
        return None
    best = min(ours, key=lambda window: window.ratio(frames))
    if explained_by(_moved(scan, best.numbers, frames), best.left[frames]) < EXPLAINS:
        return None
    if before:
        around = windows[at - 1].low, windows[at].high
    elif path[0]:
        around = 0, windows[0].high
    else:
        around = windows[at - 1].low, windows[at].high
    twice = (frames > 0) == before
    known = _behind_repeats(scan, abs(frames), *around) if twice else []
    start = known[0] if len(known) == 1 else _located(xp, scan, frames, not before, *around)
    return _said(scan, frames, start, not before, there <= MENDED, ours)


def _windows(xp: Ops, scan: Scan, bounds: Iterable[tuple[int, int]]) -> list[_Window]:
    """Parts of the scan, with what their patterns leave where they are and one frame away."""
    found = []
    for low, high in bounds:
        members = np.arange(max(low, 1), min(high, scan.M - 1))
        numbers = _telling(scan, members, members, 1)
        prepared = prepare(_moved(scan, numbers, 0))
        noise, unit = prepared.expected_misfit, prepared.likelihood_unit
        found.append(_Window(low, high, numbers, noise, unit, {}))
    _try(xp, scan, found, (0, 1, -1))
    return found


def _try(xp: Ops, scan: Scan, windows: Iterable[_Window], frames: Iterable[int]) -> None:
    """Add what the patterns of windows leave so many frames later, as far as there are any."""

    def is_new(window: _Window, by: int) -> bool:
        there = window.numbers + by
        return by not in window.left and there.min() >= 0 and there.max() < scan.M

    new = [(window, by) for window, by in product(windows, frames) if is_new(window, by)]
    parts = (_moved(scan, window.numbers, by) for window, by in new)
    for (window, by), left in zip(new, residuals_of(xp, parts, PASSES), strict=True):
        window.left[by] = left


def _longer(xp: Ops, scan: Scan, window: _Window, frames: int) -> _Window:
    """The window with what its patterns leave after more passes."""
    parts = [_moved(scan, window.numbers, k) for k in (0, frames)]
    residuals = residuals_of(xp, parts, CLOSER)
    return replace(window, left=dict(zip((0, frames), residuals, strict=True)))


def _path(windows: list[_Window]) -> list[int]:
    """By how many frames each window is off, on the way that leaves least."""
    states = range(-APART, APART + 1)
    costs = dict.fromkeys(states, 0.0)
    came: list[dict[int, int]] = []
    for window in windows:
        own = {state: 0.0 if state == 0 else _log(window.ratio(state)) for state in states}
        step: dict[int, int] = {}
        total: dict[int, float] = {}
        for state in states:
            step[state] = min(
                states, key=lambda old: (costs[old] + PRICE * abs(old - state), abs(old))
            )
            total[state] = costs[step[state]] + PRICE * abs(step[state] - state) + own[state]
        came.append(step)
        costs = total
    state = min(states, key=lambda one: (costs[one], abs(one)))
    path = []
    for step in reversed(came):
        path.append(state)
        state = step[state]
    return path[::-1]


def _log(ratio: float) -> float:
    return float(np.log(ratio)) if ratio < np.inf else np.inf


def _mean(ratios: Iterable[float]) -> float:
    """The geometric mean; of none the least that tells right positions."""
    known = list(ratios)
    return float(np.exp(np.mean(np.log(known)))) if known else OTHERS


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
        moved = []
        for start in first[tried]:
            ours = numbers >= start if behind else numbers < start
            moved.append(_moved(scan, numbers, frames * ours))
        best = int(np.argmin(residuals_of(xp, moved, CLOSER)))
        # Between the neighbours of the best, or there, when all were tried.
        far = 0 if len(tried) == len(first) else 1
        low = int(first[tried[max(best - far, 0)]])
        high = int(last[tried[min(best + far, len(tried) - 1)]])
    return (low + high + 1) // 2


def _behind_repeats(scan: Scan, count: int, low: int, high: int) -> list[int]:
    """Which patterns of [low, high) come after a frame that is known to have come so many times
    more: all of them hold the same counts and were left out."""
    found = recorded_findings(scan.provenance)
    again = left_out([one for one in found if one.name == REPEATED])
    numbers = given_numbers(scan)
    inside = range(max(low, 1), min(high, scan.M))
    behind = [k for k in inside if numbers[k] - numbers[k - 1] == count + 2]
    return [k for k in behind if np.isin(np.arange(numbers[k - 1] + 1, numbers[k]), again).all()]


def _said(
    scan: Scan, frames: int, start: int, behind: bool, clear: bool, windows: list[_Window]
) -> Finding:
    first, stop = (start, scan.M) if behind else (0, start)
    origin = given_numbers(scan)
    number = int(origin[min(start, scan.M - 1)])
    lost, count = (frames > 0) == behind, abs(frames)
    first_again = number
    if not lost and _behind_repeats(scan, count, start, start + 1):
        first_again -= count
    far = "one frame" if count == 1 else f"{count} frames"
    what = ("a frame was" if count == 1 else f"{count} frames were") + " lost"
    if not lost:
        what = "a frame came twice" if count == 1 else f"{count} frames came twice"
    words = (
        f"{SLIPPED}{number} {'on' if behind else 'back'} at the position {far} "
        f"{'later' if frames > 0 else 'earlier'}"
    )
    given, moved = (float(np.mean([w.left[k] for w in windows])) for k in (0, frames))
    said = (
        f"with {words} some patterns leave a residual of {moved:.4f}, as given {given:.4f}: {what} "
        "there"
    )
    details: dict[str, Any] = {
        "slipped": frames, "start": first, "stop": stop, "words": words, "residual": moved,
        "residual_as_given": given,
    }  # fmt: skip
    if not clear:
        return finding(
            NAME, "doubt", f"{said}; put positions and patterns together again.", **details
        )
    without = origin[partners(scan, frames, first, stop) < 0]
    some = f"number {first_again}" if count == 1 else f"the {count} from number {first_again} on"
    remedy = (
        f"leave the position of {some} out of the positions"
        if lost
        else f"leave {some.replace('number', 'pattern', 1)} out of the patterns"
    )
    return finding(
        NAME, "mended",
        f"{said}; they were moved there, and pattern{'s' if len(without) > 1 else ''} "
        f"{numbered(without)} left out; to make that permanent, {remedy}.",
        **details, patterns=without.tolist(),
    )  # fmt: skip


def mend_of_slip(details: Any, scan: Scan) -> Mend:
    """What a finding of a slip does to a scan."""
    frames = int(np.clip(details["slipped"], -scan.M, scan.M))
    first, stop = (int(np.clip(details[key], 0, scan.M)) for key in ("start", "stop"))
    return moved_to(scan, partners(scan, frames, first, stop))


def moved_to(scan: Scan, at: NDArray[np.int64]) -> Mend:
    """Each pattern at the position of pattern ``at`` (M,); those with -1 have none."""
    positions = scan.positions_px[np.maximum(at, 0)]
    return Mend(positions_px=positions, left_out=np.flatnonzero(at < 0))
