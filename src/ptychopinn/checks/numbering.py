"""Which frame of the measurement each pattern is: patterns that were left out leave gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import left_out, recorded_findings
from ptychopinn.data.scan import Scan

# Its numbers are those of a file that held more patterns than were counted from then on.
FAR = "far-positions"


def given_numbers(scan: Scan) -> NDArray[np.int64]:
    """(M,) the number of each pattern in the scan as it was given, ascending."""
    gone = left_out(recorded_findings(scan.provenance))
    numbers = np.arange(scan.M + len(gone), dtype=np.int64)
    return np.setdiff1d(numbers, gone) if len(gone) < len(numbers) else numbers[: scan.M]


def frames_of(scan: Scan) -> NDArray[np.int64]:
    """(M,) the frame of each pattern, ascending, where those without a position count as well."""
    numbers = given_numbers(scan)
    if len(numbers) != scan.M:
        return np.arange(scan.M, dtype=np.int64)
    for found in reversed(recorded_findings(scan.provenance)):
        far, total = found.details.get("positions"), found.details.get("of")
        if found.name != FAR or not isinstance(far, list) or not isinstance(total, int):
            continue
        without = [k for k in far if isinstance(k, int) and 0 <= k < total]
        # A scan that is a part of another one has numbers of its own.
        if total <= numbers[-1] + len(far):
            return numbers
        numbers = np.setdiff1d(np.arange(total, dtype=np.int64), without)[numbers]
    return numbers


def partners(scan: Scan, frames: int, first: int = 0, stop: int | None = None) -> NDArray[np.int64]:
    """(M,) which pattern's position each of the patterns [first, stop) has when it belongs to the
    one so many frames later: -1 where there is none, because it is beyond the ends, was left out,
    or is that of a pattern outside [first, stop). All others keep theirs."""
    stop = scan.M if stop is None else stop
    own = np.arange(scan.M)
    numbers = frames_of(scan)
    wanted = numbers[first:stop] + frames
    at = np.clip(np.searchsorted(numbers, wanted), 0, max(scan.M - 1, 0))
    there = (numbers[at] == wanted) & (at >= first) & (at < stop)
    own[first:stop] = np.where(there, at, -1)
    return own
