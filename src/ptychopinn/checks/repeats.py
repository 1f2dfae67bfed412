"""Patterns that are the same to the last count: the same reading, written more than once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding, numbered
from ptychopinn.checks.patterns import MOST_LEFT_OUT

# Two readings of so many photons are never the same by chance.
PHOTONS = 100.0
# So many repeats, and of neighbours so many and this share: a few of those are frames that came
# twice, behind which all others are shifted, and which "frame-slip" looks for.
FEWEST, FEWEST_NEIGHBOURS, NEIGHBOURS = 3, 8, 0.08
# Patterns with the same sum that are compared, and positions that count as one.
COMPARED, SAME_PLACE_PX = 32, 0.25


def repeats(look: Look) -> NDArray[np.int64]:
    """(n, 2) numbers of patterns of which the second holds the same counts as the first."""
    sums = look.sums
    lit = sums > PHOTONS * look.photon
    order = np.argsort(sums, kind="stable")
    equal = np.flatnonzero((np.diff(sums[order]) == 0) & lit[order[1:]])
    pairs = np.stack([order[equal], order[equal + 1]], axis=1)
    pairs.sort(axis=1)
    if len(pairs) < FEWEST:
        return pairs[:0]
    # Sums may be the same by chance: in a large scan there would be many such pairs to read.
    some = pairs[:: max(1, len(pairs) // COMPARED)]
    if np.count_nonzero(_same(look, some)) < min(FEWEST, len(some)):
        return pairs[:0]
    return pairs[_same(look, pairs)]


def _same(look: Look, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    patterns = look.scan.diffraction
    found = [
        np.array_equal(np.asarray(patterns[int(one)]), np.asarray(patterns[int(other)]))
        for one, other in pairs
    ]
    return np.array(found, bool)


@check("repeated-patterns")
def repeated_patterns(look: Look) -> Iterator[Noticed]:
    """Patterns that are there more than once."""
    scan = look.scan
    # Of noise-free patterns some may be the same: of those that saw nothing but the beam.
    if np.dtype(scan.diffraction.dtype).kind != "u":
        return
    pairs = repeats(look)
    beside = np.count_nonzero(pairs[:, 1] - pairs[:, 0] == 1)
    if beside < max(FEWEST_NEIGHBOURS, NEIGHBOURS * scan.M):
        pairs = pairs[pairs[:, 1] - pairs[:, 0] > 1]
    if len(pairs) < FEWEST:
        return
    places = scan.positions_px
    away = np.abs(places[pairs[:, 0]] - places[pairs[:, 1]]).max(axis=1) > SAME_PLACE_PX
    again = np.unique(pairs[~away, 1])
    if len(again):
        yield (
            finding(
                "repeated-patterns", "mended",
                f"left out {len(again)} of {scan.M} patterns, which repeat another one at the same "
                f"position to the last count: {numbered(look.origin[again])}.",
                patterns=look.origin[again].tolist(),
            ),
            Mend(left_out=again),
        )  # fmt: skip
    pairs = pairs[away & ~np.isin(pairs, again).any(axis=1)]
    if len(pairs) < FEWEST:
        return
    which = np.unique(pairs)
    examples = "; ".join(f"{a} and {b}" for a, b in look.origin[pairs[np.argsort(pairs[:, 0])[:3]]])
    said = (
        f"{len(which)} of {scan.M} patterns that hold the same counts as another one at another "
        f"position ({examples}{'; ...' if len(pairs) > FEWEST else ''})"
    )
    details = {"patterns": look.origin[which].tolist(), "pairs": len(pairs)}
    if len(which) > MOST_LEFT_OUT * scan.M:
        yield (
            finding(
                "repeated-patterns", "fault",
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
            "repeated-patterns", "mended",
            f"left out {said}: nobody knows which of them is in the right place.", **details,
        ),
        Mend(left_out=np.searchsorted(kept, which)),
    )  # fmt: skip
