"""Frames of a detector that goes on counting, and readings that all contain the same number."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import PatternArray

GOES_ON = (
    "each frame must hold its own counts, received frames in which no pixel ever counts less than "
    "in the one before{reset}: the detector went on counting; subtract from each frame the one "
    "before it"
)


def never_less(patterns: PatternArray, numbers: Iterable[int], good: NDArray[np.bool_]) -> bool:
    """Whether no good pixel (N, N) counts less in the pattern after one of these numbers."""
    # One is enough where nothing is wrong.
    for k in numbers:
        earlier, later = (np.asarray(patterns[int(j)])[good] for j in (k, k + 1))
        if (later < earlier).any():
            return False
    return True
