"""A thick sample: K slices with free space between them (see :mod:`oracle.near_field`).

    psi_1 = P(u - f) O_1,   psi_k = H(psi_{k-1}) O_k,

the detector sees psi_K. Each slice is a canvas (H, W) of its own; all lie at the same places.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle import near_field
from oracle.forward import extract_patches, fourier_shift, split_positions
from oracle.near_field import FreeSpace

Complex = NDArray[np.complex128]


def exit_waves(
    slices: Complex, probe: Complex, positions_px: Any, origin_px: Any, space: FreeSpace
) -> Complex:
    """Exit waves (M, P, N, N) of ``slices`` (K, H, W), ``space`` lying between two of them."""
    n = probe.shape[-1]
    corner, fraction = split_positions(positions_px, n, origin_px)
    waves = fourier_shift(probe[None], fraction[:, None])
    for k, one in enumerate(slices):
        if k > 0:
            waves = near_field.propagate(waves, np.zeros((len(waves), 2)), space)
        waves = waves * extract_patches(one, corner, n)[:, None]
    return np.asarray(waves, np.complex128)
