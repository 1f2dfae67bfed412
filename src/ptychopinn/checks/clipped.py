"""Counts from which others were subtracted, or whose small ones were cut off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptychopinn.checks.base import Look, Noticed, check, finding
from ptychopinn.data.findings import CLIPPED
from ptychopinn.physics.readout import beyond_counting

# Few counts vary by so much more than photons do, as a share.
BEYOND = 0.45
# Patterns that are looked at, and so often the next larger counts occur before a gap is one.
PATTERNS, OFTEN = 64, 50


@check(CLIPPED)
def clipped_counts(look: Look) -> Iterator[Noticed]:
    """Few counts that vary by more than photons do, beside pixels without any.

    Noise of the light stays when others are subtracted, and of those that become negative nothing
    is left: then dark pixels do not vary, and the others more than they count.
    """
    some = look.sample[:: max(1, len(look.sample) // PATTERNS)][:PATTERNS]
    beyond = beyond_counting(some, look.good)
    if beyond is None or beyond < BEYOND:
        return
    numbers = np.unique(some[:, look.good], return_counts=True)
    lit = [(float(v), int(n)) for v, n in zip(*numbers, strict=True) if v > 0]
    least = next((value for value, often in lit if often >= OFTEN), 0.0)
    how = "as where a background was subtracted and what became negative set to 0"
    if least > 1.5:
        how = f"and none is between 0 and {least:.6g}, as where small counts were cut off"
    yield (
        finding(
            CLIPPED, "doubt",
            f"pixels with few counts vary by {beyond:.0%} more than photons do, {how}: the light "
            "that is missing there is missing in the object; store the counts as they were "
            "measured, a background is fitted by the refinement.",
            share=beyond, least=least,
        ),
        None,
    )  # fmt: skip
