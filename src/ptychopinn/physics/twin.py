"""How alike two probes are, and the twins that the patterns do not tell from a probe.

In the far field the complex conjugates of probe and object give I(-q) at the same positions,
because abs(F conj(psi))(q) = abs(F psi)(-q). So patterns that were turned by 180 degrees are
explained exactly by the conjugates, and so are, with both turned about the middle of the probe,
positions that were reversed. It is the twin image of holography.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Tilts between two probes that are tried (y, x), in pixels of the detector.
TILTS = (-1, 0, 1)


def of_turned_patterns(mode: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """The mode (N, N) that explains patterns which were turned by 180 degrees."""
    return np.conj(mode)


def of_reversed_positions(mode: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """The mode (N, N) that explains positions of the opposite sign."""
    return np.conj(np.roll(mode[::-1, ::-1], (1, 1), (0, 1)))


def strongest(probe: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """The mode (N, N) of a probe (P, N, N) that has most power."""
    modes = probe.astype(np.complex128)
    found: NDArray[np.complex128] = modes[int((np.abs(modes) ** 2).sum(axis=(1, 2)).argmax())]
    return found


def likeness(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]) -> float:
    """The share of power that two modes (N, N) have in common, wherever they are and however
    tilted: a shift and a tilt of the object make up for those of the probe."""
    power = float((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum())
    if not power > 0:
        return 0.0
    near, far = np.fft.fft2(a), np.conj(np.fft.fft2(b))
    overlaps = [
        np.abs(np.fft.ifft2(np.roll(near, (y, x), (0, 1)) * far)).max()
        for y in TILTS
        for x in TILTS
    ]
    return float(max(overlaps)) ** 2 / power
