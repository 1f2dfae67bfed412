"""Patches onto one canvas: a weighted mean at sub-pixel positions, patterns in any number.

    O(v) = sum_k (T[f_k](w) S[f_k](O_k))(v - d_k) / sum_k T[f_k](w)(v - d_k)

d_k is the whole-pixel corner of patch k, T a Fourier shift by the remainder f_k and S the same for
a patch, which is not periodic (see :mod:`ptychopinn.physics.groups`). The same moved weight stands
above and below, so a constant object stays constant. Only the two canvases are kept in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.geometry import canvas_for, split_positions
from ptychopinn.physics.groups import FILL, taper
from ptychopinn.physics.propagators import ramp

# Canvas pixels with less than this share of the weight of one patch count as never seen.
SEEN = 1e-3


class Shifted(NamedTuple):
    """Patches ready to be added.

    corner : (B, 2) their first pixels on the canvas.  above, below : (B, N, N) their parts of the
    two sums, complex and real.
    """

    corner: NDArray[np.int64]
    above: NDArray[np.complex64]
    below: NDArray[np.float32]


class Stitcher:
    """Accumulates patches of size N at (y, x) positions on a canvas that holds all of them.

    positions_px : (M, 2) every position that will be added.
    weight : (N, N) real weight of a patch, zero at its border, largest value one.
    """

    def __init__(self, positions_px: NDArray[np.float64], weight: NDArray[Any]) -> None:
        self.n = weight.shape[-1]
        # One pixel of margin: a patch position may be rounded to the other side.
        self.shape, self.origin_px = canvas_for(positions_px, self.n, margin=1)
        self.weight = weight.astype(np.float32)
        self._xp = NumpyOps()
        self._spectrum = self._xp.fft2(self.weight.astype(np.complex64))
        self._taper = taper(self._xp, self.n, np.zeros(2)).astype(np.float32)
        # Real and imaginary part of the sum above, and the sum below.
        self.sums: list[NDArray[Any]] = [np.zeros(self.shape) for _ in range(3)]

    def add(self, patches: NDArray[Any], positions_px: NDArray[np.float64]) -> None:
        """Add complex patches (B, N, N) whose pixel [N/2, N/2] sits at ``positions_px`` (B, 2)."""
        self.put(self.shifted(patches, positions_px))

    def shifted(self, patches: NDArray[Any], positions_px: NDArray[np.float64]) -> Shifted:
        """The same patches moved by the remainders of their positions; changes nothing, so that
        several threads may do it."""
        corner, fraction = split_positions(positions_px, self.n, self.origin_px)
        xp = self._xp
        tapered = xp.fft2((self._taper * patches).astype(np.complex64))
        translation = ramp(xp, tapered, fraction)
        weight = xp.ifft2(self._spectrum * translation).real.clip(min=0)
        share = weight / taper(xp, self.n, fraction).astype(np.float32)
        return Shifted(corner, xp.ifft2(tapered * translation) * share, weight)

    def put(self, shifted: Shifted) -> None:
        """Add what :meth:`shifted` gave."""
        real, imaginary, total = self.sums
        for (y, x), patch, weight in zip(*shifted, strict=True):
            place = slice(y, y + self.n), slice(x, x + self.n)
            real[place] += patch.real
            imaginary[place] += patch.imag
            total[place] += weight

    def result(self) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """The canvas (H, W), 1 where nothing was seen, and the weight map (H, W), 0 there."""
        above_re, above_im, total = self.sums
        seen = total > SEEN
        below = np.where(seen, total, 1)
        canvas = np.where(seen, (above_re + 1j * above_im) / below, FILL)
        weight = np.where(seen, total, 0)
        return canvas.astype(np.complex64), weight.astype(np.float32)
