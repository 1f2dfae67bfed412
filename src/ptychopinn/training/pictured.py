"""The object that an epoch has found, to be looked at: of what the metrics were taken from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptychopinn.contracts import Canvas, Solved
from ptychopinn.data.grey import amplitude_picture, phase_picture
from ptychopinn.physics.stitching import Stitcher
from ptychopinn.solvers.problem import canvas_of

# So many patterns of a patch network make the picture; further ones are left out.
MOST = 1024
# Pixels of the longer side of a picture.
LONGEST_PX = 512


class Pictured:
    """Keeps the object of the first sub-scan of a canvas network, or the patches of the first scan
    of a patch network, until it is taken."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._canvas: Canvas | None = None
        self._patches: list[tuple[NDArray[np.float64], NDArray[np.complex64]]] = []
        self._scan: int | None = None
        self._weight: NDArray[np.float32] = np.ones((1, 1), np.float32)
        self._count = 0

    @property
    def scan(self) -> int:
        """The number of the scan that was looked at, 0 before."""
        return self._scan or 0

    def add(self, scan: int, positions_px: NDArray[np.float64], images: Any, weight: Any) -> None:
        """Look at a batch of the scan of this number: an object (H, W), or patches (..., N, N) at
        the positions (..., 2), with their weight: of an object, its light."""
        if self._scan not in (None, scan) or self._count >= MOST:
            return
        images, weight = np.asarray(images), np.asarray(weight, dtype=np.float32)
        if images.ndim == 2:
            light = np.broadcast_to(weight, images.shape)
            self._canvas = canvas_of(images, light, np.zeros(2, dtype=np.int64), ())
            self._count = MOST
        else:
            places = positions_px.reshape(-1, 2)
            self._patches.append((places, images.reshape(-1, *images.shape[-2:])))
            self._weight = weight / weight.max()
            self._count += len(places)
        self._scan = scan

    def take(self, probe: NDArray[np.complex64]) -> Solved | None:
        """The object, network units, with the ``probe`` (P, N, N) of its scan; None when nothing
        was looked at since the last call."""
        canvas = self._take()
        return None if canvas is None else Solved(canvas, probe, np.zeros((0, 2)), 0)

    def _take(self) -> Canvas | None:
        canvas, patches, weight = self._canvas, self._patches, self._weight
        self._start()
        if not patches:
            return canvas
        stitcher = Stitcher(np.concatenate([places for places, _ in patches]), weight)
        for places, images in patches:
            stitcher.add(images, places)
        return Canvas(*stitcher.result(), stitcher.origin_px, np.zeros(0))


def pictures_of(canvas: Canvas) -> dict[str, Image.Image]:
    """Name -> picture of an object, as logs show it: in the colours that its figures have."""
    return {
        "object/amplitude": amplitude_picture(canvas, LONGEST_PX),
        "object/phase": phase_picture(canvas, LONGEST_PX),
    }
