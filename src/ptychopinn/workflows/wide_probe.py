"""Is the far field of a probe wider than the patterns? Nothing that an object does makes it so.

An object spreads the light of a probe over more of the detector, never over less. A probe whose
pixels are too large, as one from another detector, spreads over too much from the start; scan axes
that are far smaller make up for a part of that, and are no cause.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.evaluation.verdict import NARROW_BEAM, WIDE_BEAM
from ptychopinn.physics.forward import vacuum_pattern

# The radii that hold a half and nine tenths of the light of the far field are both so many times
# those of the mean pattern: at most 1.0 of right probes, 1.9 and more of half the pixels.
WIDER = 1.2
SHARES = (0.5, 0.9)


def wider_beam(result: Reconstruction) -> list[tuple[str, float]]:
    """How many times as wide as the mean pattern the far field of the probe is, as an alternative,
    where that is too much."""
    fit = result.fit
    if fit is None or not result.propagator.measures_momentum:
        return []
    mean = np.nan_to_num(fit.measured_mean)
    beam = np.where(
        np.isfinite(fit.measured_mean), vacuum_pattern(result.probe, result.propagator), 0.0
    )
    y, x = np.indices(mean.shape) - result.N // 2
    radius = np.hypot(y, x).ravel()
    order = np.argsort(radius, kind="stable")

    def radii(pattern: NDArray[Any]) -> NDArray[Any]:
        held = np.cumsum(pattern.ravel()[order], dtype=np.float64)
        # Half a pixel at least.
        return np.maximum(radius[order][np.searchsorted(held, np.array(SHARES) * held[-1])], 0.5)

    if not (mean.sum() > 0 and beam.sum() > 0):
        return []
    times = float((radii(beam) / radii(mean)).min())
    return [(NARROW_BEAM, 1.0), (WIDE_BEAM, times)] if times >= WIDER else []
