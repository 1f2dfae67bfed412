"""Where the reconstructed object becomes the array that a client expects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.raw_data import LOGGER, GroupedData
from ptychopinn.clients.ptychodus import centred_shape, on_canvas
from ptychopinn.clients.running import reporting
from ptychopinn.data.reconstruction import Reconstruction


def reassemble_position(
    obj_tensor: Reconstruction, global_offsets: GroupedData, M: int = 20
) -> NDArray[Any]:
    """The object (H, W) complex64 on the canvas of the object that the positions index.

    ``M`` has no effect: patches are weighted by the probe, nothing is cut off.
    """
    with reporting(LOGGER):
        if global_offsets.shape is not None:
            return on_canvas(obj_tensor, global_offsets.shape)
        y, x = global_offsets.scan.positions_px.T - 0.5
        shape, first = centred_shape(x, y, global_offsets.scan.N)
        moved = replace(obj_tensor, origin_px=np.asarray(obj_tensor.origin_px) - first)
        return on_canvas(moved, shape)
