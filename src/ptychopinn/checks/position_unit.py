"""Positions in other pixels than those of the object: a wrong unit, pixel size, distance or energy,
or patterns that were binned.

Some neighbouring patterns are reconstructed from nothing with their positions multiplied by each of
a few factors. Far apart, patterns hardly contradict each other, wherever they are. Therefore each
factor is judged by what it leaves beyond photon noise relative to what the positions of other
patterns leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ptychopinn.checks.base import finding
from ptychopinn.checks.trial_fits import (
    beyond_noise,
    explained_by,
    neighbours,
    residuals_of,
    scaled,
    trial_of,
)
from ptychopinn.data.findings import FLAT_PROBE, Finding, recorded_findings
from ptychopinn.data.normalization import prepare
from ptychopinn.data.orientation import AS_GIVEN, ORIENTATIONS, Orientation
from ptychopinn.data.scan import Scan
from ptychopinn.io.summary import nearest_px, probe_diameter
from ptychopinn.ops.base import Ops

NAME = "position-unit"
# Passes of the first round, and of the second with the best factors.
SHORT, LONG = 4, 10
# Factors that are tried, together with their inverses; those between which a factor may be that is
# none of them, and those that are tried with the orientation as well.
UNITS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
FACTORS = tuple(sorted([*UNITS, *(1 / unit for unit in UNITS)]))
BESIDE, OFTEN = 1.6, (0.5, 2.0)
# Positions are right that leave this share of what those of other patterns do, beyond photon noise.
RIGHT = 0.5
# A factor is believed that leaves the first share of what positions of other patterns leave, where
# the next one leaves so many times that share.
BELIEVED, OTHER = 0.7, 1.15
# It leaves this share of the residual as given, and explains that share of the patterns. Where they
# hardly overlap as given that fit leaves as little, and then the share of what other positions
# leave must be as small as this, and so small beside that as given.
LESS, EXPLAINS = 0.85, 0.5
SURE, SURE_EXPLAINS, SURE_OF_GIVEN = 0.35, 0.9, 0.4
# Where a factor leaves more than so many times the photon noise, it must leave that share of the
# residual as given after so many passes, too.
IN_NOISE, PATIENT = 3.0, 80
# The orientation is tried with a factor that leaves this share after a few passes.
ANY = 0.97
# Steps of more than this share of the probe are not tried, nor positions that span less (pixels).
FARTHEST, NARROW_PX = 0.8, 4.0
# From this share on patterns hardly contradict each other, and their fit looks good in any case.
SPARSE = 0.4

# What own positions leave beyond noise relative to those of other patterns, and the residual.
Judged = tuple[float, float]
NO_TURNS: Mapping[float, Orientation] = MappingProxyType({})


def sparse(scan: Scan) -> bool:
    """Whether the patterns of a scan overlap so little that a good fit says nothing of the unit."""
    return _steps(scan) > SPARSE


def _steps(scan: Scan) -> float:
    """The median step, as a share of the probe."""
    if scan.M < 2:
        return 0.0
    step = float(np.median(nearest_px(scan.positions_px)))
    return step / max(probe_diameter(scan.probe, 0.98), 4.0)


def unit(xp: Ops, scan: Scan) -> Finding | None:
    """Positions several times too large or too small."""
    part = trial_of(scan, neighbours(scan))
    noise = prepare(part).expected_misfit

    def placed(factor: float, orientation: Orientation = AS_GIVEN) -> Scan:
        positions = orientation.of_positions(scaled(part.positions_px, factor))
        return replace(part, positions_px=positions)

    def judged(
        factors: Iterable[float], passes: int, turns: Mapping[float, Orientation] = NO_TURNS
    ) -> dict[float, Judged]:
        tried = list(factors)
        own = [placed(factor, turns.get(factor, AS_GIVEN)) for factor in tried]
        others = [
            replace(one, positions_px=np.roll(one.positions_px, one.M // 2, axis=0)) for one in own
        ]
        left = residuals_of(xp, [*own, *others], passes)
        return {
            factor: (beyond_noise(ours, theirs, noise), ours)
            for factor, ours, theirs in zip(tried, left[: len(own)], left[len(own) :], strict=True)
        }

    first = judged([1.0], SHORT)
    share, left = first[1.0]
    if share <= RIGHT:
        return None
    first |= judged(_possible(part), SHORT)
    best = min(first, key=first.__getitem__)
    turn, scores = AS_GIVEN, {}
    if best != 1 and _clearly(first, best):
        near = [f for f in first if 1 / BESIDE < f / best < BESIDE or f == 1]
        scores = judged(near, LONG)
        best = min(scores, key=scores.__getitem__)
    if not scores or best == 1 or not _clearly(scores, best):
        # In a wrong unit all orientations leave much, and then the unit alone mends nothing.
        seen = [f for f in OFTEN if f in first and first[f][1] <= ANY * left]
        if not seen:
            return None
        turns = {}
        for f in OFTEN:
            left_by = residuals_of(xp, [placed(f, o) for o in ORIENTATIONS], SHORT)
            turns[f] = ORIENTATIONS[int(np.argmin(left_by))]
        scores = judged([1.0, *OFTEN], LONG, turns)
        best = min(scores, key=scores.__getitem__)
        if best == 1 or not _clearly(scores, best):
            return None
        turn = turns[best]
    residual, given = scores[best][1], scores[1.0][1]
    found = placed(best, turn)
    explained = explained_by(found, residual)
    sure = scores[best][0] <= min(SURE, SURE_OF_GIVEN * scores[1.0][0])
    # With a hopeless probe the nearest positions hold together best, and leave hardly less.
    less = residual <= LESS * given or (sure and explained >= SURE_EXPLAINS)
    if not less or explained < (SURE_EXPLAINS if _phaseless(scan) else EXPLAINS):
        return None
    # A probe that is far off comes to rest first where patterns contradict each other least.
    if residual > IN_NOISE * noise:
        late, given = residuals_of(xp, [found, part], PATIENT)
        if late > LESS * given:
            return None
    return _said(best, {factor: left for factor, (_, left) in scores.items()})


def _phaseless(scan: Scan) -> bool:
    """Whether the probe is known to lack its phase."""
    return any(one.name == FLAT_PROBE for one in recorded_findings(scan.provenance))


def _possible(part: Scan) -> list[float]:
    """Factors with which positions neither are one place nor too far apart to tell anything."""
    extent, steps = float(np.ptp(part.positions_px, axis=0).max()), _steps(part)
    return [f for f in FACTORS if f * extent >= NARROW_PX and f * steps <= FARTHEST]


def _clearly(scores: dict[float, Judged], best: float) -> bool:
    """Whether a factor leaves clearly less, relative to positions of other patterns, than those do
    that are not just beside it."""
    others = [share for f, (share, _) in scores.items() if not 1 / BESIDE < f / best < BESIDE]
    return scores[best][0] <= min(BELIEVED, min(others, default=np.inf) / OTHER)


def _said(factor: float, residuals: dict[float, float]) -> Finding:
    by = f"divided by {1 / factor:g}" if factor < 1 else f"times {factor:g}"
    given = f"as given {residuals[1.0]:.4f}"
    if residuals[factor] > LESS * residuals[1.0]:
        given += ", where patterns overlap too little to tell"
    return finding(
        NAME,
        "mended",
        f"the positions are {1 / factor:.3g} times as large as they should be in pixels of the "
        f"object: {by} some patterns around the middle leave a residual of "
        f"{residuals[factor]:.4f}, {given}; check the unit of the positions, the size of the "
        "detector pixels, the distance and the energy.",
        scale=factor,
        residuals={f"{k:g}": v for k, v in residuals.items()},
        words=f"the positions {by}",
        residual=residuals[factor],
    )
