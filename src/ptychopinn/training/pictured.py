"""The object that an epoch has found, to be looked at: of what the metrics were taken from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptychopinn.contracts import Canvas
from ptychopinn.data.grey import amplitude_picture, phase_picture
from ptychopinn.physics.stitching import Stitcher
from ptychopinn.training.data import Batch
from ptychopinn.training.objective import Prediction

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

    def add(self, batch: Batch, prediction: Prediction) -> None:
        """Look at a batch; the prediction holds NumPy arrays."""
        if self._scan not in (None, batch.scan) or self._count >= MOST:
            return
        images = np.asarray(prediction.images)
        weight = np.asarray(prediction.weight, dtype=np.float32)
        if images.ndim == 2:
            zero = np.zeros(2, dtype=np.int64)
            self._canvas = Canvas(images, np.broadcast_to(weight, images.shape), zero, np.zeros(0))
            self._count = MOST
        else:
            places = batch.positions_px.reshape(-1, 2)
            self._patches.append((places, images.reshape(-1, *images.shape[-2:])))
            self._weight = weight / weight.max()
            self._count += len(places)
        self._scan = batch.scan

    def take(self) -> Canvas | None:
        """The object, network units; None when nothing was looked at since the last call."""
        canvas, patches, weight = self._canvas, self._patches, self._weight
        self._start()
        if not patches:
            return canvas
        stitcher = Stitcher(np.concatenate([places for places, _ in patches]), weight)
        for places, images in patches:
            stitcher.add(images, places)
        return Canvas(*stitcher.result(), stitcher.origin_px, np.zeros(0))


def pictures_of(canvas: Canvas) -> dict[str, Image.Image]:
    """Name -> picture of an object, as logs show it."""
    return {
        "object/amplitude": amplitude_picture(canvas, LONGEST_PX),
        "object/phase": phase_picture(canvas, LONGEST_PX),
    }
