"""What the numbers of patterns are, told by the object in the same file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.io.base import Units, sample_indices
from ptychopinn.physics.forward import intensities
from ptychopinn.physics.geometry import canvas_for

PATTERNS = 16
# The misfit of the right units, as a part of the patterns, and of that of the wrong ones.
GOOD, BETTER = 0.3, 0.5


def units_of_object(
    stored: NDArray[Any],
    positions: NDArray[np.float64],
    probe: NDArray[Any] | None,
    obj: NDArray[Any] | None,
) -> Units | None:
    """Whether patterns (M, N, N) are the intensities or the amplitudes that an object gives.

    ``positions`` (M, 2) are (y, x) in pixels of the object (H, W), ``probe`` is (P, N, N) of any
    scale. None where there is no object, it does not hold the patches, or it fits neither.
    """
    n = stored.shape[-1]
    if (
        probe is None
        or obj is None
        or obj.ndim != 2
        or probe.ndim != 3
        or probe.shape[-2:] != (n, n)
    ):
        return None
    misfits = np.zeros(2)
    sizes = np.zeros(2)
    for i in sample_indices(len(stored), PATTERNS):
        position = positions[i : i + 1]
        if not np.isfinite(position).all():
            return None
        (height, width), (y, x) = canvas_for(position, n)
        if y < 0 or x < 0 or y + height > obj.shape[0] or x + width > obj.shape[1]:
            return None
        window = obj[y : y + height, x : x + width]
        model = intensities(window, probe, position, (y, x))[0]
        pattern = stored[i].astype(np.float64)
        for k, expected in enumerate((model, np.sqrt(model))):
            scale = (expected * pattern).sum() / max((expected**2).sum(), 1e-300)
            misfits[k] += ((pattern - scale * expected) ** 2).sum()
            sizes[k] += (pattern**2).sum()
    counts, amplitude = np.sqrt(misfits / np.maximum(sizes, 1e-300))
    if counts <= GOOD and counts <= BETTER * amplitude:
        return "counts"
    if amplitude <= GOOD and amplitude <= BETTER * counts:
        return "amplitude"
    return None
