"""Whole rows and columns that count more or less than those beside them, by the same factor
everywhere: larger pixels at the border between two chips, or an amplifier with another gain.

Light does not do that: a fringe is no narrower than two pixels, because the probe fills at most
half of its array, and stripes of a pupil end where it ends. So the factor must be the same in all
parts of a line with the same counts, and in the darker half of its pixels. Compared with the
geometric mean of the nearest others, right lines of simulated and measured scans have factors
between 0.7 and 1.25 in at least one of six parts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding

# Parts of a line with the same counts, and photons in each that tell a factor; in the darker half.
PARTS, FEWEST_PARTS, ENOUGH, ENOUGH_DARK = 6, 4, 200.0, 20.0
# The factor of each part at least, or at most, and how far apart those of a line may be.
MORE, LESS, ALIKE = 1.5, 0.5, 1.6
# Lines side by side that may be uneven, both chips having their own at a border.
BESIDE = (2, 1)
# Masked at most, as a share of the lines that could be judged.
MOST = 1 / 3
LISTED = 50


@check("uneven-lines")
def uneven_lines(look: Look) -> Iterator[Noticed]:
    """Rows and columns whose pixels are larger, or read with another gain, than others."""
    if not look.scan.propagator.measures_momentum:
        return  # what stripes the beam stripes a hologram
    counts, photon = look.mean * look.scan.M, look.photon
    rows, some_rows = uneven(counts, look.good, photon)
    columns, some_columns = uneven(counts.T, look.good.T, photon)
    found = {f"row y = {k}": factor for k, factor in rows.items()}
    found |= {f"column x = {k}": factor for k, factor in columns.items()}
    if not found:
        return
    said = ", ".join(f"{place} (by {factor:.2f})" for place, factor in list(found.items())[:6])
    said += f" and {len(found) - 6} more" if len(found) > 6 else ""
    details = {"rows": list(rows)[:LISTED], "columns": list(columns)[:LISTED]}
    if not (some_rows and some_columns):
        message = (
            f"{len(found)} rows and columns count more or less than their neighbours by the same "
            f"factor everywhere, {said}, too many to mask; divide the patterns by a flat field."
        )
        yield finding("uneven-lines", "doubt", message, **details), None
        return
    masked = np.zeros_like(look.good)
    masked[list(rows)] = True
    masked[:, list(columns)] = True
    masked &= look.good
    count = int(masked.sum())
    message = (
        f"masked {count} pixels of rows and columns that count more or less than their neighbours "
        f"by the same factor everywhere, as larger pixels do: {said}."
    )
    yield finding("uneven-lines", "mended", message, count=count, **details), Mend(masked=masked)


def uneven(
    counts: NDArray[np.float64], good: NDArray[np.bool_], photon: float
) -> tuple[dict[int, float], bool]:
    """Rows of ``counts`` (N, N), the sum of patterns, that are uneven on good pixels, with the
    factor by which, and whether they are few; ``photon`` is what one photon counts."""
    judged, candidates = 0, list[tuple[float, dict[int, float]]]()
    for beside in BESIDE:
        for first in range(1, len(counts) - beside):
            factors = _factors(counts[first - 1 : first + beside + 1], good, first, photon)
            if factors is None:
                continue
            judged += beside == 1
            # Those that never count are dead, which is another check's.
            if not 0 < factors.min() <= factors.max() <= ALIKE * factors.min():
                continue
            if factors.min() >= MORE or factors.max() <= LESS:
                medians = np.median(factors, axis=1)
                by = {first + k: float(factor) for k, factor in enumerate(medians)}
                candidates.append((float(np.abs(np.log(medians)).min()), by))
    found = dict[int, float]()
    # The strongest first: what is beside it seems uneven because of it.
    for _, by in sorted(candidates, key=lambda one: -one[0]):
        if not any(k + near in found for k in by for near in (-1, 0, 1)):
            found |= by
    return dict(sorted(found.items())), len(found) <= MOST * judged


def _factors(
    block: NDArray[np.float64], good: NDArray[np.bool_], first: int, photon: float
) -> NDArray[np.float64] | None:
    """(lines, parts) counts of the inner rows of a block over those of the outer two; None where
    too few pixels or photons tell."""
    together = good[first - 1 : first - 1 + len(block)].all(axis=0)
    before, *inner, after = block[:, together]
    both = np.cumsum(before + after)
    if 2 * len(both) < block.shape[1] or not both[-1] > 2 * PARTS * ENOUGH * photon:
        return None
    ends = np.searchsorted(both, both[-1] * np.arange(1, PARTS) / PARTS) + 1
    begins = np.unique([0, *ends[ends < len(both)]])
    if len(begins) < FEWEST_PARTS:
        return None
    # What counts least, as one more part.
    dark = before + after <= np.median(before + after)
    parts = [np.append(np.add.reduceat(line, begins), line[dark].sum())
             for line in (before, *inner, after)]  # fmt: skip
    least = min(parts[0][-1], parts[-1][-1])
    if least < ENOUGH_DARK * photon or not min(parts[0].min(), parts[-1].min()) > 0:
        return None
    return np.array(parts[1:-1]) / np.sqrt(parts[0] * parts[-1])
