"""Whether the beam on the detector is where the probe puts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding

# A centre that is so many pixels off is noticed.
OFF_CENTRE = 1.5


@check("beam-off-centre")
def beam_off_centre(look: Look) -> Iterator[Noticed]:
    """A beam that is not where the probe's far field is: the probe is tilted to it.

    A tilt of the probe and a phase ramp of the object cannot be told apart, so this is safe.
    """
    scan = look.scan
    if not scan.propagator.measures_momentum:
        return
    good = look.good
    mean, beam = np.where(good, look.mean, 0), np.where(good, look.vacuum, 0)
    offset = _centre(mean) - _centre(beam)
    if not np.isfinite(offset).all() or np.abs(offset).max() < OFF_CENTRE:
        return
    from scipy import ndimage

    n = scan.N
    moved = ndimage.shift(np.sqrt(beam), offset, order=1)
    target = np.sqrt(mean)
    before, after = (_likeness(target, x) for x in (np.sqrt(beam), moved))
    if after <= before + 0.01:
        return
    y, x = (np.exp(2j * np.pi * offset[k] * (np.arange(n) - n // 2) / n) for k in (0, 1))
    yield (
        finding(
            "beam-off-centre", "mended",
            f"the beam is ({offset[0]:.1f}, {offset[1]:.1f}) pixels (y, x) from where the probe "
            "puts it: the probe is tilted by that.",
            offset_yx_px=[float(v) for v in offset],
        ),
        Mend(probe_factor=(y[:, None] * x[None, :]).astype(np.complex64)),
    )  # fmt: skip


def _centre(pattern: NDArray[Any]) -> NDArray[np.float64]:
    """The centre of mass (y, x), NaN for an empty pattern."""
    total = float(pattern.sum())
    sums = [pattern.sum(axis=1 - axis) @ np.arange(pattern.shape[axis]) for axis in (0, 1)]
    return np.array(sums) / total if total > 0 else np.full(2, np.nan)


def _likeness(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float((a * b).sum() / max(1e-30, np.linalg.norm(a) * np.linalg.norm(b)))
