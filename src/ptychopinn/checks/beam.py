"""Where the beam is: on the detector, and the probe in its array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding

# Half of the array away is so much more compact that it must be meant.
COMPACT = 0.6


def spread(intensity: NDArray[Any]) -> float:
    """Root mean square distance of an intensity (N, N) from pixel [N/2, N/2], in pixels."""
    n = intensity.shape[-1]
    square = (np.arange(n) - n // 2) ** 2
    total = float(intensity.sum())
    if total <= 0:
        return 0.0
    radial = (intensity.sum(axis=1) @ square + intensity.sum(axis=0) @ square) / total
    return float(np.sqrt(radial))


def in_the_corner(intensity: NDArray[Any]) -> bool:
    """Whether an intensity sits at pixel [0, 0] and not in the middle of its array."""
    n = intensity.shape[-1]
    here = spread(intensity)
    there = spread(np.roll(intensity, (n // 2, n // 2), (0, 1)))
    return there < COMPACT * here


@check("patterns-in-corner")
def patterns_in_corner(look: Look) -> Iterator[Noticed]:
    """Patterns whose zero frequency is at pixel [0, 0]."""
    pattern = np.where(look.good, look.mean, 0)
    # No single pixel decides.
    pattern = np.minimum(pattern, np.percentile(pattern, 99.5))
    if not in_the_corner(pattern):
        return
    half = look.scan.N // 2
    yield (
        finding(
            "patterns-in-corner", "mended",
            f"the patterns have their zero frequency in the corner: rolled by {half} pixels, so "
            "that it is in the middle.",
            rolled=[half, half],
        ),
        Mend(rolled=(half, half)),
    )  # fmt: skip


@check("probe-in-corner")
def probe_in_corner(look: Look) -> Iterator[Noticed]:
    """A probe that is centred at pixel [0, 0]."""
    intensity = (np.abs(look.scan.probe.astype(np.complex128)) ** 2).sum(axis=0)
    if not in_the_corner(intensity):
        return
    half = look.scan.N // 2
    yield (
        finding(
            "probe-in-corner", "mended",
            f"the probe is centred in the corner: rolled by {half} pixels to the middle.",
            rolled=[half, half],
        ),
        Mend(probe_rolled=(half, half)),
    )  # fmt: skip
