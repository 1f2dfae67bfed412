"""Whole patterns: without beam, flooded, unlike all others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, chosen_pixels, finding, numbered
from ptychopinn.data.normalization import batch_length, slices

# Patterns with less than this share of the median counts have no beam in them.
EMPTY = 0.02
# Where most have none, the others are told by so many brightest ones.
LIT = 0.9
# Samples hardly amplify a beam: so many times the median counts come from somewhere else, unless
# the pattern is shaped like the beam.
FLOODED = 4.0
# How much less alike a pattern is to the mean pattern and to the beam than the others, in robust
# deviations and as a share, to be none of this scan.
UNLIKE_DEVIATIONS, UNLIKE_SHARE = 10.0, 0.75
# More than this share of the patterns is not left out: then something else is wrong. Patterns
# without beam say nothing, however many there are; those at the end of a scan, and those without
# any count, were never measured.
MOST_LEFT_OUT, MOST_EMPTY = 0.2, 0.5
# Of fewer patterns none stands out.
FEWEST = 8


def alike(look: Look) -> NDArray[np.float64]:
    """(M,) how alike the amplitudes of each pattern are to those of the mean pattern or of the
    beam, whichever is more: the cosine of the angle between them."""
    scan, good = look.scan, look.good
    models = np.sqrt(np.stack([look.mean[good], look.vacuum[good]]).clip(0))
    models /= np.maximum(np.linalg.norm(models, axis=1, keepdims=True), 1e-30)
    found = np.zeros(scan.M)
    for part in slices(scan.M, batch_length(scan.N, 8)):
        block = np.sqrt(chosen_pixels(scan.diffraction[part], good).astype(np.float32))
        size = np.maximum(np.sqrt(look.sums[part]), 1e-30)
        found[part] = ((block @ models.T.astype(np.float32)) / size[:, None]).max(axis=1)
    return found


def _left_out(
    look: Look, name: str, which: NDArray[np.int64], why: str, most: float = MOST_LEFT_OUT
) -> Iterator[Noticed]:
    if not len(which):
        return
    numbers = look.origin[which]
    many = len(which) > most * look.scan.M
    what = f"pattern{'s' if len(which) > 1 else ''} {numbered(numbers)}"
    said = f"{len(which)} of {look.scan.M} patterns {why}"
    if many:
        yield (
            finding(
                name, "doubt", f"{said} ({what}): so many are not left out; check the scan.",
                patterns=numbers.tolist(),
            ),
            None,
        )  # fmt: skip
        return
    yield (
        finding(name, "mended", f"left out {what}: {said}.", patterns=numbers.tolist()),
        Mend(left_out=which),
    )


@check("empty-patterns")
def empty_patterns(look: Look) -> Iterator[Noticed]:
    """Patterns without beam: next to no counts."""
    if look.scan.M < FEWEST:
        return
    middle = float(np.median(look.sums))
    lit = look.sums > max(EMPTY * float(np.quantile(look.sums, LIT)), 0.0)
    if middle <= EMPTY * float(np.quantile(look.sums, LIT)) and _beam_in(look, lit):
        which, middle = np.flatnonzero(~lit), float(np.median(look.sums[lit]))
        # The end of a scan that was interrupted, whatever its patterns hold.
        over = not look.sums[which].any() or which[0] == look.scan.M - len(which)
        why = f"hold less than {100 * EMPTY:.0f} % of the {middle:.4g} counts of the others"
        yield from _left_out(look, "empty-patterns", which, why, 1.0 if over else MOST_EMPTY)
        return
    if middle <= 0:
        return
    # As many counts as photons may vanish by chance are no sign of anything.
    low = look.sums < EMPTY * middle if middle > 200 * look.photon else look.sums < -1
    which = np.flatnonzero(low)
    why = f"hold less than {100 * EMPTY:.0f} % of the {middle:.4g} counts of the median"
    yield from _left_out(look, "empty-patterns", which, why, MOST_EMPTY)


def _beam_in(look: Look, lit: NDArray[np.bool_]) -> bool:
    """Whether the patterns with more counts are shaped like the beam, more than the others."""
    if np.count_nonzero(lit) < FEWEST:
        return False
    beam = np.sqrt(look.vacuum[look.good].clip(0))
    total = {True: np.zeros(beam.shape), False: np.zeros(beam.shape)}
    for part in slices(look.scan.M, batch_length(look.scan.N, 8)):
        block = chosen_pixels(look.scan.diffraction[part], look.good)
        for one in total:
            total[one] += block[lit[part] == one].sum(axis=0, dtype=np.float64)

    def likeness(pattern: NDArray[np.float64]) -> float:
        return float(beam @ np.sqrt(pattern.clip(0))) / max(float(np.sqrt(pattern.sum())), 1e-30)

    return likeness(total[True]) > likeness(total[False])


@check("flooded-patterns")
def flooded_patterns(look: Look) -> Iterator[Noticed]:
    """Patterns with far too many counts that are not shaped like the beam."""
    middle = float(np.median(look.sums))
    if look.scan.M < FEWEST or middle <= 0 or look.sums.max() <= FLOODED * middle:
        return
    # The mean would be the flood: ask the others.
    usual = np.flatnonzero(look.sums <= FLOODED * middle)
    others = Look(Mend(left_out=np.setdiff1d(np.arange(look.scan.M), usual)).of(look.scan))
    models = np.sqrt(np.stack([others.mean, look.vacuum])[:, look.good].clip(0))
    models /= np.maximum(np.linalg.norm(models, axis=1, keepdims=True), 1e-30)
    typical = float(np.median(alike(others)))
    high = np.flatnonzero(look.sums > FLOODED * middle)
    block = np.sqrt(np.asarray(look.scan.diffraction[high])[:, look.good].astype(np.float64))
    size = np.maximum(np.linalg.norm(block, axis=1), 1e-30)
    likeness = ((block @ models.T) / size[:, None]).max(axis=1)
    which = high[likeness < 0.9 * typical]
    why = f"hold more than {FLOODED:.0f} times the {middle:.4g} counts of the median"
    yield from _left_out(look, "flooded-patterns", which, f"{why} and do not look like the beam")


@check("outlying-patterns")
def outlying_patterns(look: Look) -> Iterator[Noticed]:
    """Patterns that are unlike all others: noise, a lost half, another scan."""
    if look.scan.M < 2 * FEWEST:
        return
    likeness = alike(look)
    middle = float(np.median(likeness))
    spread = 1.4826 * float(np.median(np.abs(likeness - middle)))
    limit = min(middle - UNLIKE_DEVIATIONS * spread, UNLIKE_SHARE * middle)
    which = np.flatnonzero(likeness < limit)
    yield from _left_out(look, "outlying-patterns", which, "are unlike all others")
