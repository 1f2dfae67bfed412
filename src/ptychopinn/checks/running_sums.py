"""Frames that go on counting: each holds all that was recorded before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptychopinn.checks.base import Look, Noticed, check, finding
from ptychopinn.data.cumulative import GOES_ON, never_less

# So many pairs of neighbours are looked at, and fewer than the second tell nothing.
LOOKED_AT, FEWEST = 8, 4
# The earlier one has so many photons, and the later one so many more, but at most so many times as
# many: some pixel would have fewer of them by chance. Frames without beam tell nothing.
PHOTONS, TIMES = 100.0, 3.0


@check("running-sums")
def running_sums(look: Look) -> Iterator[Noticed]:
    """No pixel ever counts less than in the frame before, as a detector that is not reset."""
    patterns, sums = look.scan.diffraction, look.sums
    before, after, least = sums[:-1], sums[1:], PHOTONS * look.photon
    more = np.flatnonzero((before > least) & (after > before + least) & (after < TIMES * before))
    if len(more) < FEWEST:
        return
    if not never_less(patterns, more[:: max(1, len(more) // LOOKED_AT)], look.good):
        return
    again = int(np.count_nonzero(np.diff(sums) < 0))
    reset = f", and began anew {again} times" if again else ""
    yield (
        finding(
            "running-sums", "fault",
            f"{GOES_ON.format(reset=reset)}.",
            resets=again,
        ),
        None,
    )  # fmt: skip
