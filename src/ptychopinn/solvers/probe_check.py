"""Does the probe fit the data? Asked before training, answered by a few plain physics steps.

On one compact cluster of patterns the object is updated by the modulus projection with momentum,

    v <- m v + sum_k conj(P_k) chi_k / (sum_k |P_k|^2 + 0.02 max),   O <- O + v,

the update of ePIE (Maiden and Rodenburg, Ultramicroscopy 109, 2009) for all patterns at once. With
a fitting probe the residual falls to a few per cent beyond the photon noise within some twenty
steps; with a wrong one it stays near 0.1, whatever the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft as scipy_fft

from ptychopinn.data.normalization import PreparedScan
from ptychopinn.data.sampling import nearest_groups
from ptychopinn.ops.threads import available
from ptychopinn.physics.forward import (
    canvas_for,
    extract_patches,
    fourier_shift,
    scatter_patches,
    split_positions,
)
from ptychopinn.physics.losses import POOR_EXCESS, noise_of_amplitude

PATTERNS = 64
STEPS = 30
MOMENTUM = 0.7
RIM = 0.02


@dataclass(frozen=True)
class ProbeCheck:
    """residual : ``sum((sqrt(I_hat) - sqrt(I))^2) / sum(I)`` after the physics steps.
    expected : what photon noise alone gives.  fits : whether the difference is at most 0.05.
    """

    residual: float
    expected: float

    @property
    def fits(self) -> bool:
        return self.residual - self.expected <= POOR_EXCESS


# What may have happened to the positions on the way into the file: in words, and (y, x) as the
# signed axes of the file's (1 is y, 2 is x).
ORIENTATIONS: Mapping[str, tuple[int, int]] = {
    "y and x swapped": (2, 1),
    "y reversed": (-1, 2),
    "x reversed": (1, -2),
    "y and x reversed": (-1, -2),
    "y and x swapped and y reversed": (-2, 1),
    "y and x swapped and x reversed": (2, -1),
    "y and x swapped and both reversed": (-2, -1),
}
# Orientations are tried when the residual exceeds the one expected by this much. One is believed
# when it takes away this share of the excess, and more than this share of the noise.
SUSPICIOUS, BELIEVED, BEYOND_NOISE = 0.001, 0.5, 0.03


def better_orientation(prepared: PreparedScan, found: ProbeCheck) -> tuple[str, float] | None:
    """Another orientation of the positions with which the physics steps explain the patterns far
    better, in words, and the residual there; None when there is none.

    ``found`` is the check of the scan as it is.
    """
    excess = found.residual - found.expected
    if excess <= SUSPICIOUS:
        return None
    scan = prepared.scan
    tried = []
    for words, axes in ORIENTATIONS.items():
        positions = np.stack([np.sign(a) * scan.positions_px[:, abs(a) - 1] for a in axes], axis=1)
        turned = replace(prepared, scan=replace(scan, positions_px=positions, object=None))
        tried.append((check_probe(turned).residual, words))
    residual, words = min(tried)
    least = max(BELIEVED * excess, BEYOND_NOISE * found.expected)
    return (words, residual) if found.residual - residual > least else None


def check_probe(prepared: PreparedScan) -> ProbeCheck:
    """Run the physics steps on the patterns around the middle of the scan."""
    scan = prepared.scan
    count = min(PATTERNS, scan.M)
    middle = np.median(scan.positions_px, axis=0)
    anchor = np.argmin(((scan.positions_px - middle) ** 2).sum(axis=1))
    rng = np.random.default_rng(0)
    chosen = nearest_groups(scan.positions_px, np.array([anchor]), count, count - 1, rng)[0]
    positions = scan.positions_px[chosen]
    n = scan.N
    shape, origin = canvas_for(positions, n)
    corner, fraction = split_positions(positions, n, origin)
    probes = fourier_shift(prepared.probe[None], fraction[:, None]).astype(np.complex64)
    measured = np.fft.ifftshift(prepared.amplitudes(chosen), axes=(-2, -1))
    good = np.fft.ifftshift(scan.good_pixels)
    density = (np.abs(probes) ** 2).sum(axis=1)
    light = scatter_patches(density, corner, shape)
    weight = light + RIM * light.max()

    canvas = np.ones(shape, dtype=np.complex64)
    velocity = np.zeros_like(canvas)
    for step in range(STEPS + 1):
        patches = extract_patches(canvas, corner, n)[:, None]
        fields = scipy_fft.fft2(probes * patches, norm="ortho", workers=available())
        modelled = (fields.real**2 + fields.imag**2).sum(axis=1)
        amplitude = np.sqrt(modelled + np.float32(1e-12))
        if step == STEPS:
            break
        ratio = np.where(good, measured / amplitude - 1, 0).astype(np.float32)
        chi = scipy_fft.ifft2(fields * ratio[:, None], norm="ortho", workers=available())
        back = (probes.conj() * chi).sum(axis=1)
        velocity = MOMENTUM * velocity + scatter_patches(back, corner, shape) / weight
        canvas = canvas + velocity
    total = float((measured**2).sum(dtype=np.float64))
    residual = float(((amplitude - measured)[:, good] ** 2).sum(dtype=np.float64)) / total
    photons = modelled[:, good] / prepared.photon_scale**2
    expected = float(noise_of_amplitude(photons).sum()) * prepared.photon_scale**2 / total
    return ProbeCheck(residual, expected)
