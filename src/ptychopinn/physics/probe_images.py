"""A probe as real images, for networks that look at it beside the patterns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.physics.forward import vacuum_pattern
from ptychopinn.physics.geometry import probe_intensity
from ptychopinn.physics.propagators import Propagator

#: What the images show, in this order.
PROBE_IMAGES = ("detector", "modulus", "real", "imaginary")


def probe_images(
    probe: NDArray[Any], propagator: Propagator, good: NDArray[Any]
) -> NDArray[np.float32]:
    """Four images (4, N, N) of a ``probe`` (P, N, N) in network units.

    - The amplitude of the bare beam on the detector, sqrt(sum_p abs(D P_p)^2), 0 outside the
      ``good`` pixels (N, N): what a pattern would be without a sample, in the frame and scale of
      the amplitudes that a network sees.
    - sqrt(sum_p abs(P_p)^2) in the plane of the sample.
    - Real and imaginary part of the strongest coherent mode there.

    No pattern tells the phase of a whole mode, nor which of the equivalent sets of modes is meant.
    So the strongest mode is that of the orthogonal set, the first right singular vector of the
    modes times its singular value, with the phase that makes sum abs(P)^2 P real and positive. In
    network units sum_p abs(P_p)^2 has the mean 1/4, as the squared amplitudes have, so that the
    images need no scale of their own.
    """
    field = np.asarray(probe, np.complex128)
    n = field.shape[-1]
    amplitude = np.sqrt(vacuum_pattern(field, propagator)) * good
    modulus = np.sqrt(probe_intensity(field))
    mode = field[0]
    if len(field) > 1:
        _, values, vectors = np.linalg.svd(field.reshape(len(field), -1), full_matrices=False)
        mode = (values[0] * vectors[0]).reshape(n, n)
    total = (np.abs(mode) ** 2 * mode).sum()
    turn = np.conj(total) / np.abs(total) if np.abs(total) > 0 else 1.0
    mode = mode * turn
    return np.stack([amplitude, modulus, mode.real, mode.imag]).astype(np.float32)
