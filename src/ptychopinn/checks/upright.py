"""Geometry that verifies itself: are patterns and positions turned the same way, and paired?

A few dozen neighbouring patterns are reconstructed from nothing in each of the eight orientations
of the positions, with the probe refined, and then with each pattern at the position of a frame
earlier or later. The right geometry leaves the smallest residual. Which of the two was turned,
patterns or positions, is told by the probe: held fixed, it fits patterns of its own orientation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np

from ptychopinn.checks.base import CHECKS, examine, finding
from ptychopinn.checks.centre import NAME as CENTRE
from ptychopinn.checks.centre import tilted_px, untilted
from ptychopinn.checks.closed_gaps import NAME as GAP
from ptychopinn.checks.closed_gaps import closed_gaps
from ptychopinn.checks.frame_order import (
    OFFSET,
    ORDER,
    REVERSED,
    offset,
    order,
    partners_in,
    reordered,
    said,
)
from ptychopinn.checks.geometry_mends import in_details, mend_in, mend_of, turn_of
from ptychopinn.checks.near_distance import NAME as DISTANCE
from ptychopinn.checks.near_distance import distance
from ptychopinn.checks.position_unit import NAME as UNIT
from ptychopinn.checks.position_unit import unit
from ptychopinn.checks.probe_plane import NAME as PLANE
from ptychopinn.checks.probe_plane import plane
from ptychopinn.checks.row_slips import row_slip
from ptychopinn.checks.slips import NAME as SLIP
from ptychopinn.checks.slips import slips
from ptychopinn.checks.trial_fits import (
    FEWEST,
    beyond_noise,
    explained_by,
    neighbours,
    residual_of,
    residuals_of,
    trial_of,
)
from ptychopinn.data.findings import Finding, with_findings
from ptychopinn.data.normalization import prepare
from ptychopinn.data.orientation import AS_GIVEN, ORIENTATIONS, Orientation
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops

# Passes of the first round, of the second with the best ones, and how many these are; and of those
# with the probe held, which tell patterns from positions: all, and the likely ones.
SHORT, LONG, FINALISTS, HELD_SHORT, HELD = 4, 10, 3, 6, 20
# In the second round nobody is who left more than so many times the least of the first.
LOST = 1.6
# Patterns or positions: within this factor of the smallest residual both may be what was turned.
UNTOLD = 1.05
# What leaves up to so many times the smallest residual after some passes is gone on with.
MAY_BE = 1.4
# Another orientation is believed when it leaves this share of the residual or less, and doubted
# about up to the second number.
BELIEVED, DOUBTED = 0.85, 0.97
# Of orientations that differ by less the one nearer to what was given is taken: a mirrored object
# under a mirrored probe gives the same patterns.
TIE = 1.08
# Turned by 180 degrees, or in another unit, they must leave this share with the probe held.
HALF_TURN_BELIEVED = 0.6
# Patterns that were turned must leave this share, beyond photon noise, with the probe held.
HELD_BELIEVED = 0.3
# They were not where the patterns as given are explained so well: 0.6 at most of 32 turned ones.
UPRIGHT_EXPLAINS = 0.8
# Where noise is most of a residual -2 log L must fall by so much, with the probe held and free, and
# this share be explained: 1600 and 1.1 at least where 14 scans of 1e3 to 1e4 photons were turned.
# Where a probe of another width makes another orientation best, less than nothing is explained.
FAR_LIKELIER, LITTLE_EXPLAINS = 500.0, 0.7
# And it must explain this share of what distinguishes the patterns: with a hopeless probe all fits
# are bad, and one of them is less bad than the others by chance.
MUCH_EXPLAINS, TURN_EXPLAINS = 0.5, 0.2


def right_geometry(
    xp: Ops, scan: Scan, skip: Collection[str] = ()
) -> tuple[Scan, tuple[Finding, ...]]:
    """The scan in the geometry that explains its patterns best, and what was found.

    Parameters
    ----------
    xp : the operations of a framework.
    scan : with a probe that need not be good; it is refined.
    skip : names of :data:`ptychopinn.checks.base.LATER` that are not tried.
    """
    found: list[Finding] = []
    if scan.M < FEWEST:
        return scan, ()

    def tried(name: str, look: Callable[[Ops, Scan], Finding | None]) -> bool:
        """Whether a look found, and mended, what was not found before."""
        nonlocal scan
        if name in skip or any(one.name == name for one in found):
            return False
        one = look(xp, scan)
        if one is None:
            return False
        found.append(one)
        scan = mend_of(one, scan).of(scan)
        scan = replace(scan, provenance=with_findings(scan.provenance, [one]))
        return one.level == "mended"

    tried(PLANE, plane)
    tried(DISTANCE, distance)
    tried(GAP, closed_gaps)
    given, before = scan, list(found)
    if tried("orientation", lambda xp, scan: _orientation(xp, scan, ORDER not in skip)):
        # Of a raster that is walked along its other axis first it may be the better half only.
        # What the known probe tells is no matter of what fits a little better.
        known = ORDER in skip or "with_known_probe" in found[-1].details
        other = None if known else order(xp, given)
        if other is not None and other.details["residual"] * UNTOLD < found[-1].details["residual"]:
            found[:] = before
            scan = given
            tried(ORDER, lambda xp, scan: other)
    else:
        tried(ORDER, order)
    moved = not _reordered(found) and tried(OFFSET, offset)
    if not moved and tried(UNIT, unit):
        # In a wrong unit they may have looked alike.
        tried("orientation", _orientation)
        tried(OFFSET, offset)
    # A slip early in the scan is an offset of nearly all of it, and the rest is left.
    if SLIP not in skip and all(one.level == "mended" for one in found):
        single = slips(xp, scan)
        row = None if single or found else row_slip(xp, scan)
        for slipped in single if row is None else (row,):
            found.append(slipped)
            scan = mend_of(slipped, scan).of(scan)
            scan = replace(scan, provenance=with_findings(scan.provenance, [slipped]))
    return scan, tuple(found)


def _reordered(found: Collection[Finding]) -> bool:
    return any(one.name == ORDER and one.level == "mended" for one in found)


def _orientation(xp: Ops, scan: Scan, reversible: bool = False) -> Finding | None:
    part = trial_of(scan, neighbours(scan))

    def run(orientations: Iterable[Orientation], passes: int) -> dict[Orientation, float]:
        tried = list(orientations)
        turned = [replace(part, positions_px=o.of_positions(part.positions_px)) for o in tried]
        return dict(zip(tried, residuals_of(xp, turned, passes), strict=True))

    first = run(ORIENTATIONS, SHORT)
    best = sorted(first, key=first.__getitem__)[:FINALISTS]
    best = [o for o in best if first[o] <= LOST * first[best[0]]]
    final = run(dict.fromkeys([*best, AS_GIVEN]), LONG)
    given, least = final[AS_GIVEN], min(final.values())
    near = [o for o, residual in final.items() if residual <= TIE * least]
    top = min(near, key=lambda o: len(o.flags))
    trials = [[str(o), final[o]] for o in sorted(final, key=final.__getitem__)]
    numbers = (
        f"some patterns around the middle leave a residual of {final[top]:.4f}, as given "
        f"{given:.4f}"
    )
    if AS_GIVEN in (top, top.opposite):
        half = _half_turn(xp, part, trials, scan if reversible else None)
        if half is not None:
            return half
    # With a probe that is far off all of them may diverge, which tells nothing. Patterns that show
    # nothing fit a little better by chance in one of eight orientations.
    better = top != AS_GIVEN and final[top] < min(1.0, DOUBTED * given)
    better = better and first[top] <= BELIEVED * float(np.median(list(first.values())))
    if not better or final[top] > BELIEVED * given:
        certain = _turned_patterns(xp, part, given, trials) or _far_likelier(
            xp, part, trials, scan if reversible else None
        )
        if certain is not None:
            return certain
    if not better:
        return None
    if final[top] > BELIEVED * given:
        return finding(
            "orientation",
            "doubt",
            f"the geometry is in doubt: with {top} {numbers}, too little apart to decide.",
            trials=trials,
        )
    # Nor does one of them that is less bad than the others: on a background all of them are.
    best_part = replace(part, positions_px=top.of_positions(part.positions_px))
    if explained_by(best_part, final[top]) < TURN_EXPLAINS:
        return None
    turns = [turn for o in (top, top.opposite) if o != AS_GIVEN for turn in _turns(o)]
    return _said(_held(xp, part, turns), numbers, final[top], trials)


def _half_turn(
    xp: Ops, part: Scan, trials: list[list[Any]], scan: Scan | None, by_far: bool = False
) -> Finding | None:
    """Patterns or positions that were turned by 180 degrees, if the probe, held fixed, tells.

    A free probe does not: its conjugate explains them as given (:mod:`ptychopinn.physics.twin`).
    Nor does an even raster tell it from frames of the ``scan`` in the opposite order. Where it is
    the likeliest orientation ``by_far`` it need not leave far less.
    """
    given = residual_of(xp, part, HELD, free_probe=False)
    held = _held(xp, part, list(_turns(AS_GIVEN.opposite)))
    best = min(held, key=lambda one: one[1])
    backwards = np.inf
    if scan is not None:
        part_backwards = reordered(scan, partners_in(scan, REVERSED))
        if part_backwards.M >= FEWEST:
            backwards = residual_of(xp, part_backwards, HELD, free_probe=False)
    if min(best[1], backwards) > HALF_TURN_BELIEVED * given and not by_far:
        return None
    explains = LITTLE_EXPLAINS if by_far else MUCH_EXPLAINS
    if scan is not None and backwards * UNTOLD < best[1]:
        if explained_by(part_backwards, backwards) < explains:
            return None
        return said(scan, REVERSED, given, backwards)
    if explained_by(_as_turned(best[0], part), best[1]) < explains:
        return None
    numbers = (
        f"some patterns around the middle leave a residual of {best[1]:.4f} with the probe of the "
        f"scan, as given {given:.4f}"
    )
    also = {
        "patterns": (
            ", or the probe is the complex conjugate of the true one, which is the same here but "
            "gives the phases of the object the opposite sign"
        )
    }
    if backwards <= UNTOLD * best[1]:
        order = ", or the frames are in the opposite order of the positions, which is the same here"
        also["positions"] = order
    return _said(held, numbers, best[1], trials, also)


def _turned_patterns(xp: Ops, part: Scan, free: float, trials: list[list[Any]]) -> Finding | None:
    """Patterns that were turned or mirrored, if the probe, held fixed, tells.

    A free probe begins as the mirror image of the right one then, and is slow to leave it, or
    explains a few patterns of an even raster whatever their orientation; ``free`` is what it leaves
    as given.
    """
    given = residual_of(xp, part, HELD, free_probe=False)
    if explained_by(part, given) >= UPRIGHT_EXPLAINS:
        return None
    others = [o for o in ORIENTATIONS if o not in (AS_GIVEN, AS_GIVEN.opposite)]
    turns = [turn for o in others for turn in _turns(o) if turn["turned"] == "patterns"]
    held = _held(xp, part, turns)
    best = turn_of(min(held, key=lambda one: one[1])[0])
    held = [
        *_held(xp, part, [next(_turns(best.inverse))]),
        *(h for h in held if turn_of(h[0]) == best),
    ]
    turned, least = min(held, key=lambda one: one[1])
    if turned["turned"] != "patterns" or least > free:
        return None
    if beyond_noise(least, given, prepare(part).expected_misfit) > HELD_BELIEVED:
        return None
    if explained_by(_as_turned(turned, part), least) < MUCH_EXPLAINS:
        return None
    numbers = (
        f"some patterns around the middle leave a residual of {least:.4f} with the probe of the "
        f"scan, as given {given:.4f}"
    )
    told = _said(held, numbers, least, trials)
    return replace(told, details={**told.details, "with_known_probe": True})


def _far_likelier(
    xp: Ops, part: Scan, trials: list[list[Any]], scan: Scan | None
) -> Finding | None:
    """Positions or patterns that were turned, where noise is most of what every orientation leaves:
    with the known probe, held, the right one is far likelier than all others, and explains the
    patterns. With a free one it is so as well, which patterns that are turned as a mirrored probe
    are not."""
    turns = [turn for o in ORIENTATIONS if o != AS_GIVEN for turn in _turns(o)]
    turned = (_as_turned(turn, part) for turn in turns)
    as_given, *residuals = residuals_of(xp, chain([part], turned), HELD_SHORT, free_probe=False)
    left = {AS_GIVEN: as_given}
    for turn, residual in zip(turns, residuals, strict=True):
        relative = turn_of(turn) if turn["turned"] == "positions" else turn_of(turn).inverse
        left[relative] = min(residual, left.get(relative, residual))
    best, following = sorted(left, key=left.__getitem__)[:2]
    far = FAR_LIKELIER * prepare(part).likelihood_unit
    if best == AS_GIVEN or left[following] - left[best] < far:
        return None
    if best == AS_GIVEN.opposite:
        return _half_turn(xp, part, trials, scan, by_far=True)
    held = _held(xp, part, list(_turns(best)))
    which, least = min(held, key=lambda one: one[1])
    best_part = _as_turned(which, part)
    if explained_by(best_part, least) < LITTLE_EXPLAINS:
        return None
    given, turned_back = residuals_of(xp, [part, best_part], HELD)
    if given - turned_back < far:
        return None
    numbers = (
        f"some patterns around the middle leave a residual of {least:.4f} with the probe of the "
        f"scan, as given {as_given:.4f}, and are far likelier"
    )
    # With other turns than that of the best they leave a little more, but are far less likely.
    return _said([one for one in held if one[1] <= least + far], numbers, least, trials)


# What may have been turned, as the details of a finding, and the residual with the probe held.
Held = tuple[dict[str, Any], float]


def _turns(positions: Orientation) -> Iterator[dict[str, Any]]:
    """What has the same relative orientation as turned positions."""
    yield {"turned": "positions", **in_details(positions)}
    for about_centre in (True, False):
        yield {
            "turned": "patterns", **in_details(positions.inverse), "about_centre": about_centre,
        }  # fmt: skip


def _as_turned(turn: dict[str, Any], part: Scan) -> Scan:
    """Some patterns after one of these turns. Where their beam was beside the middle, and the probe
    is tilted by that, it is elsewhere in patterns that were turned."""
    turned = mend_in(turn, part).of(part)
    before = untilted(turned)
    if turn["turned"] == "positions" or before is turned:
        return turned
    return examine(before, [name for name in CHECKS if name != CENTRE]).scan


def _held(xp: Ops, part: Scan, turns: list[dict[str, Any]]) -> list[Held]:
    """Each with the residual that the probe leaves, held fixed, the likely ones more exactly.
    Positions come first: nothing else changes with them."""

    def run(tried: Sequence[dict[str, Any]], passes: int) -> list[float]:
        parts = (_as_turned(turn, part) for turn in tried)
        return residuals_of(xp, parts, passes, free_probe=False)

    found = run(turns, HELD_SHORT)
    likely = [k for k, left in enumerate(found) if left <= MAY_BE * min(found)]
    for k, left in zip(likely, run([turns[k] for k in likely], HELD), strict=True):
        found[k] = left
    held = list(zip(turns, found, strict=True))

    def order(one: Held) -> tuple[bool, int, float]:
        turn = one[0]
        patterns = turn["turned"] == "patterns"
        # The beam of reversed patterns is in the middle one way round, else a pixel beside it.
        tilt = tilted_px(_as_turned(turn, part)) if patterns else 0.0
        return patterns, len(turn_of(turn).flags), tilt

    return sorted(held, key=order)


def _said(
    held: list[Held],
    numbers: str,
    residual: float,
    trials: list[list[Any]],
    also: Mapping[str, str] = MappingProxyType({}),
) -> Finding:
    """The finding of the first of what may have been turned that leaves hardly more than the best;
    ``numbers`` are what is said of residuals, ``also`` what is the same as turned "patterns" or
    "positions"."""
    least = min(left for _, left in held)
    likely = [turn for turn, left in held if left <= UNTOLD * least]
    turn, orientation = likely[0], turn_of(likely[0])
    what = turn["turned"]
    flags = " ".join(orientation.flags)
    remedy = f"; ptychopinn prepare {flags} makes that permanent" if what == "patterns" else ""
    others = [other for other in likely if other["turned"] != what]
    if others:
        other = turn_of(others[0])
        remedy = (
            "; the probe looks the same either way, so that it may have been the patterns "
            f"({other}) instead, and then the object is {_image(other)} of the true one"
        )
    return finding(
        "orientation",
        "mended",
        f"the {what} were turned ({orientation}){also.get(what, '')}: so {numbers}{remedy}.",
        **turn,
        undecided=bool(others),
        trials=trials,
        words=str(orientation if what == "positions" else orientation.inverse),
        residual=residual,
    )


def _image(orientation: Orientation) -> str:
    """What an object is whose positions were turned so instead of its patterns, in words."""
    mirrors = orientation.transpose ^ orientation.flip_y ^ orientation.flip_x
    return "the mirror image" if mirrors else "a turned image"
