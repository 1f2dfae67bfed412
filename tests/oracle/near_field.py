"""Free space behind the object, wave by wave: no FFT, and digits to spare.

A field is a sum of plane waves exp(i k u) with k = 2 pi m / N, m = -N/2 .. N/2-1 along each axis.
Over a distance z each of them is multiplied with

    exp(i z (sqrt(k0^2 - |k|^2) - k0)),   k0 = 2 pi / wavelength,   0 where |k| > k0,

the phase of the plane wave along the axis taken off. An exit wave was made with the probe moved by
the remainder f of its position, but the detector does not move: the sum is taken at u + f.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.forward import exit_waves, fourier_shift, scatter_patches, split_positions

Complex = NDArray[np.complex128]
PI = Decimal("3.14159265358979323846264338327950288419716939937510")
# h, c and e of the SI, exactly.
HC_EV_M = Decimal("6.62607015e-34") * 299792458 / Decimal("1.602176634e-19")


@dataclass(frozen=True)
class FreeSpace:
    """``pixel_size_m`` of object and detector, photon energy, and effective distance."""

    pixel_size_m: float
    energy_eV: float
    distance_m: float


@lru_cache(maxsize=64)
def transfer(n: int, space: FreeSpace) -> Complex:
    """What each plane wave (n, n), m = -n/2 .. n/2-1, is multiplied with.

    Computed with 50 digits: z k0 may be a billion radians.
    """
    found = np.zeros((n, n), np.complex128)
    with localcontext(prec=50):
        wavelength = HC_EV_M / Decimal(space.energy_eV)
        k0, z = 2 * PI / wavelength, Decimal(space.distance_m)
        unit = 2 * PI / (n * Decimal(space.pixel_size_m))
        for j, y in enumerate(range(-(n // 2), n - n // 2)):
            for i, x in enumerate(range(-(n // 2), n - n // 2)):
                along = k0**2 - unit**2 * (y * y + x * x)
                if along > 0:
                    phase = float((z * (along.sqrt() - k0)) % (2 * PI))
                    found[j, i] = complex(np.cos(phase), np.sin(phase))
    return found


def plane_waves(n: int, shift: Any) -> Complex:
    """(..., n, n): exp(i k (u + shift)) for pixel u (rows) and wave m (columns), shift (...)."""
    u = np.arange(n) + np.asarray(shift, np.float64)[..., None]
    m = np.arange(-(n // 2), n - n // 2)
    return np.asarray(np.exp(2j * np.pi / n * u[..., None] * m))


def propagate(waves: Complex, fraction: Any, space: FreeSpace) -> Complex:
    """Fields (M, P, N, N) at the detector of exit waves with the remainders ``fraction`` (M, 2)."""
    n = waves.shape[-1]
    still, (y, x) = plane_waves(n, 0.0).conj(), (plane_waves(n, f) for f in np.transpose(fraction))
    coefficients = np.einsum("um,bpuv,vn->bpmn", still, waves, still) / n**2
    moved = coefficients * transfer(n, space)
    return np.asarray(np.einsum("bum,bpmn,bvn->bpuv", y, moved, x))


def adjoint(fields: Complex, fraction: Any, space: FreeSpace) -> Complex:
    """The adjoint of :func:`propagate`, and its inverse where no wave is evanescent."""
    n = fields.shape[-1]
    still, (y, x) = plane_waves(n, 0.0), (plane_waves(n, f) for f in np.transpose(fraction))
    coefficients = np.einsum("bum,bpuv,bvn->bpmn", y.conj(), fields, x.conj()) / n**2
    moved = coefficients * transfer(n, space).conj()
    return np.asarray(np.einsum("um,bpmn,vn->bpuv", still, moved, still))


def forward_linear(
    canvas: Complex, probe: Complex, positions_px: Any, origin_px: Any, space: FreeSpace
) -> Complex:
    """Fields (M, P, N, N): the linear map from the canvas (H, W) to the detector."""
    _, fraction = split_positions(positions_px, probe.shape[-1], origin_px)
    return propagate(exit_waves(canvas, probe, positions_px, origin_px), fraction, space)


def adjoint_linear(
    fields: Complex,
    probe: Complex,
    positions_px: Any,
    shape: tuple[int, int],
    origin_px: Any,
    space: FreeSpace,
) -> Complex:
    """The adjoint of :func:`forward_linear`."""
    corner, fraction = split_positions(positions_px, probe.shape[-1], origin_px)
    shifted = fourier_shift(probe[None], fraction[:, None])
    back = (shifted.conj() * adjoint(fields, fraction, space)).sum(axis=1)
    return scatter_patches(back, corner, shape)
