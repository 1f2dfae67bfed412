"""The pattern that an object without structure leaves, which a result is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.physics import forward
from ptychopinn.physics.background import Background


def flat_amplitude_of(
    result: Reconstruction, good: NDArray[np.bool_], power: float, readings: Any, counts: float
) -> NDArray[np.float32]:
    """Amplitudes (good pixels,) of a flat object with the probe and the background of a result.

    Parameters
    ----------
    good : (N, N), True at pixels that measure.
    power : what the model of the result is multiplied by.
    readings : of each good pixel, or one number for all: how many were counted up.
    counts : the sum of all these readings, which the object and the background have together.
    """
    flat = forward.vacuum_pattern(result.probe, result.propagator)[good].astype(np.float64)
    lit = power * result.effects.get(Background.name, np.zeros(good.shape))[good]
    seen = max(float((flat * readings).sum()), 1e-300)
    flat *= max(counts - float((lit * readings).sum()), 0.0) / seen
    return np.sqrt(flat + lit).astype(np.float32)
