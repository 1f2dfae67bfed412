"""Patterns that are the same to the last count: the same reading, written more than once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding, likeness, numbered
from ptychopinn.checks.patterns import MOST_LEFT_OUT
from ptychopinn.physics.readout import variance_of_counts

REPEATED = "repeated-patterns"
# Two readings of so many photons are never the same by chance.
PHOTONS = 100.0
# Readings vary by this share of what photons do, or computed patterns may be the same: those that
# saw nothing but the beam, which are so much alike, and of others no more than two.
VARIES, FLAT = 0.3, 0.99
# Positions so near to each other count as one, and so many pairs are named.
SAME_PLACE_PX, NAMED = 0.25, 3


def repeats(look: Look) -> NDArray[np.int64]:
    """(n, 2) numbers of patterns of which the second holds the same counts as the first."""
    lit = np.flatnonzero(look.sums > PHOTONS * look.photon)
    # The same readings have both the same, and others hardly ever.
    order = lit[np.lexsort((lit, look.marks[lit], look.sums[lit]))]
    alike = (np.diff(look.sums[order]) == 0) & (np.diff(look.marks[order].astype(np.int64)) == 0)
    first = np.flatnonzero(alike)
    pairs = np.stack([order[first], order[first + 1]], axis=1)
    pairs = pairs[_same(look, pairs)]
    return pairs if not len(pairs) or _vary(look) else _of_objects(look, pairs)


def _same(look: Look, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    patterns = look.scan.diffraction
    found = [
        np.array_equal(np.asarray(patterns[int(one)]), np.asarray(patterns[int(other)]))
        for one, other in pairs
    ]
    return np.array(found, bool)


def _vary(look: Look) -> bool:
    """Whether readings vary as those of photons do, so that no two patterns are the same."""
    variance = variance_of_counts(look.sample, look.good)
    return variance is not None and variance >= VARIES * look.photon


def _of_objects(look: Look, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of computed patterns that show something, elsewhere, and are no more than two."""
    often = np.bincount(pairs.ravel(), minlength=look.scan.M)
    pairs = pairs[(often[pairs] == 1).all(axis=1) & _away(look, pairs)]
    beam = np.sqrt(look.vacuum[look.good].clip(0))
    flat = [
        likeness(np.sqrt(np.asarray(look.scan.diffraction[int(one)])[look.good], dtype=float), beam)
        for one, _ in pairs
    ]
    return pairs[np.array(flat, float) < FLAT]


def _away(look: Look, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether both are at different positions."""
    places = look.scan.positions_px[pairs]
    return np.asarray(np.abs(places[:, 0] - places[:, 1]).max(axis=1) > SAME_PLACE_PX)


@check(REPEATED)
def repeated_patterns(look: Look) -> Iterator[Noticed]:
    """Patterns that are there more than once."""
    scan = look.scan
    pairs = repeats(look)
    if not len(pairs):
        return
    away = _away(look, pairs)
    again = np.unique(pairs[~away, 1])
    if len(again):
        yield (
            finding(
                REPEATED, "mended",
                f"left out {len(again)} of {scan.M} patterns, which repeat another one at the same "
                f"position to the last count: {numbered(look.origin[again])}.",
                patterns=look.origin[again].tolist(),
            ),
            Mend(left_out=again),
        )  # fmt: skip
    pairs = pairs[away & ~np.isin(pairs, again).any(axis=1)]
    if not len(pairs):
        return
    which = np.unique(pairs)
    some = pairs[np.argsort(pairs[:, 0])[:NAMED]]
    examples = "; ".join(f"{a} and {b}" for a, b in look.origin[some])
    said = (
        f"{len(which)} of {scan.M} patterns that hold the same counts as another one at another "
        f"position ({examples}{'; ...' if len(pairs) > NAMED else ''})"
    )
    details = {"patterns": look.origin[which].tolist(), "pairs": len(pairs)}
    if len(which) > MOST_LEFT_OUT * scan.M:
        yield (
            finding(
                REPEATED, "fault",
                "each pattern must have been measured at its own position, received "
                f"{said}: the scan was written more than once; write the file anew from the files "
                "of the detector.",
                **details,
            ),
            None,
        )  # fmt: skip
        return
    which = np.setdiff1d(which, again)
    # Those before have been left out by now.
    kept = np.setdiff1d(np.arange(scan.M), again)
    yield (
        finding(
            REPEATED, "mended",
            f"left out {said}: nobody knows which of them is in the right place.", **details,
        ),
        Mend(left_out=np.searchsorted(kept, which)),
    )  # fmt: skip
