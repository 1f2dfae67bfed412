"""Whether the beam on the detector is where the probe puts it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding, likeness
from ptychopinn.data.findings import recorded_findings, with_findings
from ptychopinn.data.scan import Scan

NAME = "beam-off-centre"
# A centre that is so many pixels off is noticed, where moving the probe's far field makes it so
# much more alike; whole scans of samples that deflect the beam gain less than 0.0005.
OFF_CENTRE, MORE_ALIKE = 0.75, 0.004


@check(NAME)
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

    moved = ndimage.shift(np.sqrt(beam), offset, order=1)
    target = np.sqrt(mean)
    before, after = (likeness(target, x) for x in (np.sqrt(beam), moved))
    if after <= before + MORE_ALIKE:
        return
    yield (
        finding(
            NAME, "mended",
            f"the beam is ({offset[0]:.1f}, {offset[1]:.1f}) pixels (y, x) from where the probe "
            "puts it: the probe is tilted by that.",
            offset_yx_px=[float(v) for v in offset],
        ),
        Mend(probe_factor=_tilt(scan.N, offset)),
    )  # fmt: skip


def untilted(scan: Scan) -> Scan:
    """The scan as it was before its probe was tilted, without the finding that says so."""
    kept, probe = [], scan.probe
    for found in recorded_findings(scan.provenance):
        if found.name == NAME and found.level == "mended":
            probe = probe * _tilt(scan.N, found.details["offset_yx_px"]).conj()
        else:
            kept.append(found)
    if probe is scan.probe:
        return scan
    provenance = {key: value for key, value in scan.provenance.items() if key != "findings"}
    return replace(scan, probe=probe, provenance=with_findings(provenance, kept))


def tilted_px(scan: Scan) -> float:
    """By how many pixels of the detector its probe was tilted, along y or x at most."""
    found = [one for one in recorded_findings(scan.provenance) if one.name == NAME]
    tilts = [one.details["offset_yx_px"] for one in found if one.level == "mended"]
    return float(np.abs(np.sum(tilts, axis=0)).max()) if tilts else 0.0


def _tilt(n: int, offset: Sequence[float] | NDArray[np.float64]) -> NDArray[np.complex64]:
    """The phase ramp (n, n) that moves the far field by so many pixels (y, x)."""
    y, x = (np.exp(2j * np.pi * offset[k] * (np.arange(n) - n // 2) / n) for k in (0, 1))
    ramp: NDArray[np.complex64] = (y[:, None] * x[None, :]).astype(np.complex64)
    return ramp


def _centre(pattern: NDArray[Any]) -> NDArray[np.float64]:
    """The centre of mass (y, x), NaN for an empty pattern."""
    total = float(pattern.sum())
    sums = [pattern.sum(axis=1 - axis) @ np.arange(pattern.shape[axis]) for axis in (0, 1)]
    return np.array(sums) / total if total > 0 else np.full(2, np.nan)
