"""Where the beam is: on the detector, and the probe in its array."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding
from ptychopinn.data.corner import rolls

# A probe that is this share of its array from the middle is rolled there.
OFF_CENTRE = 0.15


@check("patterns-in-corner")
def patterns_in_corner(look: Look) -> Iterator[Noticed]:
    """Patterns whose zero frequency is at pixel [0, 0]."""
    pattern = np.where(look.good, look.mean, 0)
    # No single pixel decides.
    pattern = np.minimum(pattern, np.percentile(pattern, 99.5))
    by = rolls(pattern)
    if not any(by):
        return
    yield (
        finding(
            "patterns-in-corner", "mended",
            f"the patterns have their zero frequency {_where(by)}: rolled by {by[0]} and {by[1]} "
            "pixels (y, x), so that it is in the middle.",
            rolled=list(by),
        ),
        Mend(rolled=by),
    )  # fmt: skip


@check("probe-in-corner")
def probe_in_corner(look: Look) -> Iterator[Noticed]:
    """A probe that is centred at pixel [0, 0]."""
    intensity = (np.abs(look.scan.probe.astype(np.complex128)) ** 2).sum(axis=0)
    by = rolls(intensity)
    if not any(by):
        return
    yield (
        finding(
            "probe-in-corner", "mended",
            f"the probe is centred {_where(by)}: rolled by {by[0]} and {by[1]} pixels (y, x) to "
            "the middle.",
            rolled=list(by),
        ),
        Mend(probe_rolled=by),
    )  # fmt: skip


@check("probe-off-centre")
def probe_off_centre(look: Look) -> Iterator[Noticed]:
    """A probe that is far from the middle of its array, over whose border it reaches.

    Where it sits and where the sample is are one and the same, so that this is safe.
    """
    scan = look.scan
    if not scan.propagator.measures_momentum:
        return
    intensity = (np.abs(scan.probe.astype(np.complex128)) ** 2).sum(axis=0)
    by = tuple(-_middle(intensity.sum(axis=1 - axis)) for axis in (0, 1))
    if max(map(abs, by)) <= OFF_CENTRE * scan.N:
        return
    yield (
        finding(
            "probe-off-centre", "mended",
            f"the probe is centred ({-by[0]}, {-by[1]}) pixels (y, x) from the middle of its "
            "array: rolled to the middle, and the positions moved with it.",
            rolled=list(by),
        ),
        Mend(probe_rolled=(by[0], by[1]), positions_px=scan.positions_px - np.array(by)),
    )  # fmt: skip


def _middle(profile: NDArray[np.float64]) -> int:
    """How many pixels the centre of a periodic profile is away from its middle."""
    n = len(profile)
    turns = np.angle((profile * np.exp(2j * np.pi * (np.arange(n) - n // 2) / n)).sum()) / 2 / np.pi
    return round(float(turns) * n)


def _where(by: tuple[int, int]) -> str:
    return "in the corner" if all(by) else "at the border"
