"""The slowly varying phase of the object, from the centres of mass of the patterns.

Modulus projections find the fine structure of an object within a few steps, its low spatial
frequencies only over hundreds: they spread from pattern to pattern. The centre of mass of a pattern
tells them directly. For every exit wave psi (Ehrenfest's theorem; k in radians per pixel)

    sum_q k_q I(q) = sum_u Im(conj(psi) grad psi),

so if a model with the intensities I_hat differs from the truth by a phase phi that hardly varies
within the probe, and not in modulus,

    g = sum_q k_q (I - I_hat)(q) / sum_q I_hat(q) = mean of grad phi under the probe.

Differential phase contrast (Dekkers and de Lang, Optik 41, 1974) uses the same with an empty model;
here it is applied to what the model leaves, so that it vanishes at a perfect fit whatever the probe
and the object. The gradients are spread over the canvas with the intensity p of the probe and
integrated in the least-squares sense:

    G(u) = sum_j p(u - r_j) g_j / (sum_j p(u - r_j) + eps max),   phi = argmin sum |grad phi - G|^2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from oracle.forward import split_positions

# Share of the strongest light added in the denominator: gradients fade out where little light fell.
FADE = 0.1


def momentum_axis(n: int) -> NDArray[np.float64]:
    """Spatial frequency k of every detector row or column in FFT order, radians per object
    pixel."""
    return np.asarray(2 * np.pi * np.fft.fftfreq(n), dtype=np.float64)


def phase_gradients(
    modelled: NDArray[Any], measured: NDArray[Any], good: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Missing phase gradient (M, 2) = (dy, dx) under each pattern, radians per pixel.

    ``modelled`` and ``measured`` are intensities (M, N, N), zero frequency at [N/2, N/2]; bad
    pixels are left out on both sides.
    """
    k = np.fft.fftshift(momentum_axis(modelled.shape[-1]))
    difference = np.where(good, np.asarray(measured, np.float64) - modelled, 0)
    total = np.asarray(modelled, np.float64).sum(axis=(1, 2))
    return np.stack(
        ((difference.sum(axis=2) @ k) / total, (difference.sum(axis=1) @ k) / total), axis=1
    )


def probe_spread(probe: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.complex128]:
    """Spectrum (H, W//2+1) of the normalised intensity of ``probe`` (P, N, N), centred on [0,
    0]."""
    n = probe.shape[-1]
    density = (np.abs(np.asarray(probe, np.complex128)) ** 2).sum(axis=0)
    kernel = np.zeros(shape)
    kernel[:n, :n] = density / density.sum()
    return np.fft.rfft2(np.roll(kernel, (-(n // 2), -(n // 2)), axis=(0, 1)))


def transform_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """The shape, hardly larger than that of the canvas, on which the transforms are fast."""
    return next_fast_len(shape[0], real=True), next_fast_len(shape[1], real=True)


def difference_symbols(
    shape: tuple[int, int],
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Spectra (H, 1) and (1, W//2+1) of the forward differences along y and x."""
    ky = momentum_axis(shape[0])[:, None]
    kx = (2 * np.pi * np.fft.rfftfreq(shape[1]))[None]
    return np.exp(1j * ky) - 1, np.exp(1j * kx) - 1


def integration_kernels(shape: tuple[int, int]) -> NDArray[np.complex128]:
    """Spectra (2, H, W//2+1) that turn those of a gradient (dy, dx) into that of its least-squares
    phase, when summed; the mean, which no gradient tells, becomes 0."""
    dy, dx = difference_symbols(shape)
    power = np.abs(dy) ** 2 + np.abs(dx) ** 2
    power[0, 0] = 1  # the numerator is zero there
    return np.stack([np.conj(dy) / power, np.conj(dx) / power])


def missing_phase(
    gradients: NDArray[Any],
    positions_px: NDArray[Any],
    probe: NDArray[Any],
    shape: tuple[int, int],
    origin_px: Any = (0, 0),
) -> NDArray[np.float64]:
    """The phase (H, W) in radians, up to a constant, with these gradients (M, 2) at the positions.

    ``shape`` and ``origin_px`` are those of the canvas; every patch must lie on it.
    """
    n = probe.shape[-1]
    corner, _ = split_positions(positions_px, n, origin_px)
    rows, columns = (corner + n // 2).T
    larger = transform_shape(shape)
    placed = np.zeros((3, *larger))
    for plane, values in zip(placed, (*gradients.T, np.ones(len(gradients))), strict=True):
        np.add.at(plane, (rows, columns), values)
    spread = np.fft.irfft2(np.fft.rfft2(placed) * probe_spread(probe, larger), s=larger)
    field = spread[:2] / (spread[2] + FADE * spread[2].max())
    slope = (np.fft.rfft2(field) * integration_kernels(larger)).sum(axis=0)
    phase: NDArray[np.float64] = np.fft.irfft2(slope, s=larger)
    return phase[: shape[0], : shape[1]]
