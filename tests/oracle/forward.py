"""From an object to its diffraction patterns, and back (the adjoint).

Sub-pixel positions move the *probe*, never the object: a position r is split into the nearest
whole pixel and a remainder f in [-0.5, 0.5); the patch is cut out at the whole pixel and the probe
is moved by f with a Fourier shift. This changes the exit wave only by a common translation, which
the measured intensity cannot see. The probe fades towards the border of its array, so the periodic
wrap-around of a Fourier shift is harmless to it; the object has no such border.

    psi_p(u) = P_p(u - f) * O(u - N/2 + round(r)),   I(q) = sum_p abs(F psi_p)^2

with F the unitary 2-D DFT, zero frequency at [N/2, N/2]. For the near field see
:mod:`oracle.near_field`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating[Any, Any]]
Real = NDArray[np.floating[Any]]
AXES = (-2, -1)


def split_positions(
    positions_px: Real, n: int, origin_px: Any = (0, 0)
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Whole-pixel patch corners on the canvas, (..., 2) int64, and remainders (..., 2) in [-0.5,
    0.5).

    ``origin_px`` is the (y, x) position of canvas pixel [0, 0].
    """
    positions = np.asarray(positions_px, dtype=np.float64)
    nearest = np.floor(positions + 0.5)
    corner = nearest.astype(np.int64) - n // 2 - np.asarray(origin_px, dtype=np.int64)
    return corner, positions - nearest


def fft(field: Complex) -> Complex:
    """Unitary 2-D DFT with the zero frequency at [N/2, N/2]; real space is not shifted."""
    return np.fft.fftshift(np.fft.fft2(field, norm="ortho"), axes=AXES)


def ifft(spectrum: Complex) -> Complex:
    """Inverse and adjoint of :func:`fft`."""
    return np.fft.ifft2(np.fft.ifftshift(spectrum, axes=AXES), norm="ortho")


def fourier_shift(field: Complex, shift_px: Real) -> Complex:
    """Translate ``field`` (..., N, N) by ``shift_px`` (..., 2) = (dy, dx): out(u) = field(u -
    shift).

    Periodic and unitary; exact for band-limited fields.
    """
    ky = np.fft.fftfreq(field.shape[-2])[:, None]
    kx = np.fft.fftfreq(field.shape[-1])[None, :]
    shift = np.asarray(shift_px)
    phase = ky * shift[..., 0, None, None] + kx * shift[..., 1, None, None]
    return np.fft.ifft2(np.fft.fft2(field) * np.exp(-2j * np.pi * phase))


def _pixel_index(corner: NDArray[np.int64], n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    u = np.arange(n)
    return corner[..., 0, None, None] + u[:, None], corner[..., 1, None, None] + u[None, :]


def extract_patches(canvas: Complex, corner: NDArray[np.int64], n: int) -> Complex:
    """Cut the patches (M, N, N) whose first pixels are ``corner`` (M, 2) out of ``canvas`` (H,
    W)."""
    rows, columns = _pixel_index(corner, n)
    return canvas[rows, columns]


def scatter_patches(patches: Complex, corner: NDArray[np.int64], shape: tuple[int, int]) -> Complex:
    """Add patches (M, N, N) onto a canvas of zeros; the adjoint of :func:`extract_patches`."""
    canvas = np.zeros(shape, dtype=patches.dtype)
    np.add.at(canvas, _pixel_index(corner, patches.shape[-1]), patches)
    return canvas


def exit_waves(
    canvas: Complex, probe: Complex, positions_px: Real, origin_px: Any = (0, 0)
) -> Complex:
    """Exit waves (M, P, N, N) of ``probe`` (P, N, N) at ``positions_px`` (M, 2) on ``canvas`` (H,
    W)."""
    n = probe.shape[-1]
    corner, fraction = split_positions(positions_px, n, origin_px)
    patches = extract_patches(canvas, corner, n)
    return fourier_shift(probe[None], fraction[:, None]) * patches[:, None]


def intensities(
    canvas: Complex, probe: Complex, positions_px: Real, origin_px: Any = (0, 0)
) -> Real:
    """Expected counts (M, N, N): incoherent modes add as intensities."""
    waves = fft(exit_waves(canvas, probe, positions_px, origin_px))
    return (np.abs(waves) ** 2).sum(axis=1)


def forward_linear(
    canvas: Complex, probe: Complex, positions_px: Real, origin_px: Any = (0, 0)
) -> Complex:
    """Far fields (M, P, N, N): the linear map A from the canvas to the detector."""
    return fft(exit_waves(canvas, probe, positions_px, origin_px))


def adjoint_linear(
    fields: Complex,
    probe: Complex,
    positions_px: Real,
    shape: tuple[int, int],
    origin_px: Any = (0, 0),
) -> Complex:
    """The adjoint of :func:`forward_linear`: <A O, Psi> = <O, A* Psi> for all O and Psi."""
    n = probe.shape[-1]
    corner, fraction = split_positions(positions_px, n, origin_px)
    shifted = fourier_shift(probe[None], fraction[:, None])
    back = (np.conj(shifted) * ifft(fields)).sum(axis=1)
    return scatter_patches(back, corner, shape)


def canvas_for(
    positions_px: Real, n: int, margin: int = 0
) -> tuple[tuple[int, int], NDArray[np.int64]]:
    """Smallest canvas holding every patch: its shape (H, W) and ``origin_px`` (y, x)."""
    corner, _ = split_positions(positions_px, n)
    low = corner.reshape(-1, 2).min(axis=0) - margin
    high = corner.reshape(-1, 2).max(axis=0) + n + margin
    height, width = (int(v) for v in high - low)
    return (height, width), low


def illumination(
    positions_px: Real, probe: Complex, shape: tuple[int, int], origin_px: Any = (0, 0)
) -> NDArray[np.float64]:
    """Light on every pixel of a canvas (H, W): the intensity of ``probe`` (P, N, N), summed over
    its modes and over the positions (M, 2), to the whole pixel."""
    n = probe.shape[-1]
    corner, _ = split_positions(positions_px, n, origin_px)
    kernel = np.zeros(shape)
    kernel[:n, :n] = (np.abs(np.asarray(probe, np.complex128)) ** 2).sum(axis=0)
    count = np.zeros(shape)
    np.add.at(count, (corner[:, 0], corner[:, 1]), 1.0)
    light = np.fft.irfft2(np.fft.rfft2(count) * np.fft.rfft2(kernel), s=shape)
    return np.maximum(light, 0)


def mean_overlap(positions_px: Real, probe: Complex) -> float:
    """How many patterns see a point of the object, on average, weighted with the light there.

    With p the intensity of ``probe`` (P, N, N) and L = sum_j p(u - r_j) over M positions:
    ``sum L^2 / (M sum p^2)``, which is 1 for a single pattern.
    """
    density = (np.abs(np.asarray(probe, np.complex128)) ** 2).sum(axis=0)
    light = illumination(positions_px, probe, *canvas_for(positions_px, probe.shape[-1]))
    return float((light**2).sum() / (len(positions_px) * (density**2).sum()))
