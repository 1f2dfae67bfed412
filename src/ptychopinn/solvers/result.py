"""What a solver found, as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import Canvas
from ptychopinn.ops.base import Array, Ops
from ptychopinn.solvers.descent import RIM


def canvas_result(
    xp: Ops,
    canvas: Array,
    illumination: Array,
    origin_px: NDArray[np.int64],
    misfits: Sequence[float],
) -> Canvas:
    """The object of a canvas solver; pixels with hardly any illumination count as never seen."""
    light = xp.to_numpy(illumination)
    light = light / light.max()
    return Canvas(
        object=xp.to_numpy(canvas),
        weight=np.where(light > RIM / 10, light, 0).astype(np.float32),
        origin_px=origin_px,
        losses=np.array(misfits),
    )
