"""The slowly varying phase of the object, from the centres of mass of the patterns.

Modulus projections find the fine structure of an object within a few steps, its low spatial
frequencies only over hundreds: they spread from pattern to pattern. The centre of mass of a pattern
gives them directly. For every exit wave psi (Ehrenfest's theorem; k in radians per pixel)

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

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.geometry import fast_length, probe_intensity

# Share of the strongest illumination, added in the denominator: gradients fade out with it.
FADE = 0.1
# Below every square of a difference, but of the mean, whose numerator is zero.
NOTHING = 1e-30


class LowFrequency(NamedTuple):
    """What the integration needs on a canvas of one shape.

    spread : (H', W'//2+1) spectrum of the intensity of the probe.  integrate : (2, H', W'//2+1).
    k : (N,) radians per pixel.  shape : (H, W) of the canvas.  larger : (H', W') of the transforms.
    """

    spread: Array
    integrate: Array
    k: Array
    shape: tuple[Any, Any]
    larger: tuple[Any, Any]


def low_frequency(xp: Ops, probe: NDArray[Any], shape: tuple[int, int]) -> LowFrequency:
    """For a ``probe`` (P, N, N) on a canvas (H, W), in the precision of the probe."""
    n, kind = probe.shape[-1], probe.dtype
    real = np.zeros(0, kind).real.dtype
    # Hardly larger than the canvas, and the transforms are fast.
    larger = fast_length(shape[0]), fast_length(shape[1])
    density = probe_intensity(probe)
    down, right = 2 * np.pi * np.fft.fftfreq(larger[0]), 2 * np.pi * np.fft.rfftfreq(larger[1])
    # Moved so that the middle of the probe is [0, 0].
    moved = [xp.asarray(np.exp(1j * (n // 2) * k).astype(kind)) for k in (down, right)]
    spectrum = xp.rfft2(xp.asarray((density / density.sum()).astype(real)), larger)
    return LowFrequency(
        spread=spectrum * moved[0][:, None] * moved[1],
        integrate=_integration_kernels(xp, down, right, kind),
        k=xp.asarray((2 * np.pi * np.fft.fftfreq(n)).astype(real)),
        shape=(int(shape[0]), int(shape[1])),
        larger=larger,
    )


def missing_gradients(xp: Ops, difference: Array, modelled: Array, k: Array) -> Array:
    """Missing phase gradient (M, 2), given measured minus modelled intensities on good pixels and
    the modelled ones, (M, N, N) in FFT order."""
    along_y = xp.matmul(xp.sum(difference, axis=2), k)
    along_x = xp.matmul(xp.sum(difference, axis=1), k)
    return xp.stack([along_y, along_x], axis=1) / xp.sum(modelled, axis=(1, 2))[:, None]


def missing_phase(xp: Ops, gradients: Array, centre: Array, low: LowFrequency) -> Array:
    """The phase (H, W), up to a constant, whose gradients (M, 2) were found at the flat pixels
    ``centre`` (M,)."""
    height, width = low.shape
    values = xp.concat([gradients, xp.ones_like(gradients[:, :1])], axis=1)
    placed = xp.permute_dims(xp.spread_points(values, centre, height * width), (1, 0))
    planes = xp.reshape(placed, (3, height, width))
    spread = xp.irfft2(xp.rfft2(planes, low.larger) * low.spread, low.larger)
    field = spread[:2] / (spread[2] + FADE * xp.max(spread[2]))
    slope = xp.sum(xp.rfft2(field) * low.integrate, axis=0)
    return xp.irfft2(slope, low.larger)[:height, :width]


def under_probe(xp: Ops, field: Array, low: LowFrequency) -> Array:
    """Means (H, W) of a real ``field`` (H, W) under the probe around each pixel."""
    height, width = low.shape
    seen = xp.rfft2(field, low.larger) * xp.conj(low.spread)
    return xp.irfft2(seen, low.larger)[:height, :width]


def _integration_kernels(xp: Ops, down: NDArray[Any], right: NDArray[Any], kind: Any) -> Array:
    """Spectra (2, H, W//2+1) that turn those of a gradient (dy, dx) into that of its least-squares
    phase, when summed, at radians per pixel ``down`` (H,) and ``right`` (W//2+1,); the mean, which
    no gradient determines, becomes 0."""
    # Of the forward differences, whose squares are those of chords.
    dy, dx = (xp.asarray((np.exp(-1j * k) - 1).astype(kind)) for k in (down, right))
    y, x = (xp.asarray((4 * np.sin(k / 2) ** 2).astype(kind).real) for k in (down, right))
    share = 1 / xp.maximum(y[:, None] + x, NOTHING)
    return xp.stack([xp.scaled(dy[:, None], share), xp.scaled(dx[None], share)])
