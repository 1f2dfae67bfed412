"""The forward model of :mod:`ptychopinn.physics` in TensorFlow: batched, differentiable.

The twin of the PyTorch backend's module: detector arrays are in FFT order (zero frequency at
[0, 0]) inside the backend, sub-pixel positions shift the probe, and a patch is a gather from the
canvas with a scatter-add as its adjoint. No shape is fixed when a function is traced, so that
batches and canvases of all sizes share one graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.physics.groups import FILL, FLOOR, TAPER_RIM
from ptychopinn.physics.low_frequency import (
    FADE,
    integration_kernels,
    momentum_axis,
    probe_spread,
    transform_shape,
)

PI = 3.141592653589793


def to_fft_order(patterns: Tensor) -> Tensor:
    """Move the zero frequency of (..., N, N) from [N/2, N/2] to [0, 0]."""
    return tf.signal.ifftshift(patterns, axes=(-2, -1))


def from_fft_order(patterns: Tensor) -> Tensor:
    """Inverse of :func:`to_fft_order`."""
    return tf.signal.fftshift(patterns, axes=(-2, -1))


def fft(field: Tensor) -> Tensor:
    """Unitary 2-D DFT of (..., N, N), zero frequency at [0, 0]."""
    return tf.signal.fft2d(field) * (1 / _side(field))


def ifft(spectrum: Tensor) -> Tensor:
    """Inverse and adjoint of :func:`fft`."""
    return tf.signal.ifft2d(spectrum) * _side(spectrum)


def _side(field: Tensor) -> Tensor:
    """N of square arrays (..., N, N), as a number of their type."""
    return tf.cast(tf.shape(field)[-1], field.dtype)


def as_complex(values: Tensor) -> Tensor:
    """Real values as complex ones of the same precision."""
    return tf.complex(values, tf.zeros_like(values))


def rotation(phase: Tensor) -> Tensor:
    """exp(i phase) of a real phase."""
    return tf.complex(tf.cos(phase), tf.sin(phase))


def squared_modulus(values: Tensor) -> Tensor:
    """abs(values)^2, with a gradient at zero."""
    return tf.square(tf.math.real(values)) + tf.square(tf.math.imag(values))


def fourier_shift(field: Tensor, shift_px: Tensor) -> Tensor:
    """Translate ``field`` (..., N, N) by ``shift_px`` (..., 2) = (dy, dx): out(u) = field(u -
    shift)."""
    real = tf.math.real(field).dtype
    shift = tf.cast(shift_px, real)
    ky = _frequencies(tf.shape(field)[-2], real)[:, None]
    kx = _frequencies(tf.shape(field)[-1], real)[None, :]
    ramp = rotation(-2 * PI * ky * shift[..., 0, None, None]) * rotation(
        -2 * PI * kx * shift[..., 1, None, None]
    )
    spectrum = tf.signal.fft2d(field if field.dtype.is_complex else as_complex(field))
    return tf.signal.ifft2d(spectrum * ramp)


def _frequencies(n: Tensor, real: tf.DType) -> Tensor:
    """Cycles per pixel in FFT order: 0, 1, ..., -1 over n."""
    k = tf.range(n)
    return tf.cast(tf.where(k < (n + 1) // 2, k, k - n), real) / tf.cast(n, real)


def shifted_probes(probe: Tensor, fraction: Tensor) -> Tensor:
    """Probes (..., P, N, N) moved to the sub-pixel remainders ``fraction`` (..., 2)."""
    return fourier_shift(probe, fraction[..., None, :])


def pixel_index(corner: Tensor, n: Tensor, width: Tensor) -> Tensor:
    """Flat canvas indices (M, N*N) of the patches whose first pixels are ``corner`` (M, 2)."""
    u = tf.range(n)
    inside = tf.reshape(u[:, None] * width + u[None, :], [-1])
    return (corner[:, 0] * width + corner[:, 1])[:, None] + inside[None, :]


def gather(canvas: Tensor, index: Tensor, n: Tensor) -> Tensor:
    """Patches (M, N, N) of a complex ``canvas`` (H, W) at ``index`` (M, N*N)."""
    size = tf.size(canvas)

    @tf.custom_gradient
    def pixels(flat: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        def adjoint(upstream: Tensor) -> Tensor:
            return tf.math.unsorted_segment_sum(upstream, index, size)

        # On a CPU twice as fast as tf.gather, which copies slices, for single pixels.
        return tf.gather_nd(flat, index[..., None]), adjoint

    return tf.reshape(pixels(tf.reshape(canvas, [-1])), [-1, n, n])


def scatter(patches: Tensor, index: Tensor, shape: Tensor) -> Tensor:
    """Sum of the patches (M, N, N) on a canvas of zeros (H, W); the adjoint of :func:`gather`."""
    size = shape[0] * shape[1]

    # The library's own gradient would look for negative indices, of which there are none.
    @tf.custom_gradient
    def total(values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        def adjoint(upstream: Tensor) -> Tensor:
            return tf.gather(upstream, index)

        return tf.math.unsorted_segment_sum(values, index, size), adjoint

    return tf.reshape(total(tf.reshape(patches, tf.shape(index))), shape)


def far_field(probes: Tensor, patches: Tensor) -> Tensor:
    """Far fields (M, P, N, N) in FFT order of ``probes`` (M, P, N, N) on ``patches`` (M, N, N)."""
    return fft(probes * patches[:, None])


def intensity(fields: Tensor) -> Tensor:
    """Expected intensity (M, N, N) of far fields (M, P, N, N): incoherent modes add as
    intensities."""
    return tf.reduce_sum(squared_modulus(fields), axis=1)


@tf.custom_gradient
def half_spectrum(values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """2-D DFT of real ``values`` (..., H, W), the half (..., H, W//2 + 1) that tells the rest.

    Its derivative, unlike TensorFlow's own, is an inverse transform of half a spectrum: columns
    that stand for their mirror image too are counted twice there, so they enter with one half.
    """
    size = tf.shape(values)[-2:]

    def adjoint(upstream: Tensor) -> Tensor:
        column = tf.range(size[1] // 2 + 1)
        single = (column == 0) | (2 * column == size[1])
        real = tf.math.real(upstream).dtype
        weight = tf.where(single, tf.constant(1.0, real), tf.constant(0.5, real))
        area = tf.cast(size[0] * size[1], real)
        return tf.signal.irfft2d(upstream * as_complex(weight * area), size)

    return tf.signal.rfft2d(values), adjoint


class LowFrequency(NamedTuple):
    """What :mod:`ptychopinn.physics.low_frequency` needs on a canvas of one shape.

    spread : (H', W'//2+1) spectrum of the probe's intensity.  integrate : (2, H', W'//2+1).
    k : (N,) radians per pixel.  shape : (H, W) of the canvas.  larger : (H', W') of the transforms.
    """

    spread: Tensor
    integrate: Tensor
    k: Tensor
    shape: Tensor
    larger: Tensor

    @classmethod
    def of(cls, probe: NDArray[Any], shape: tuple[int, int]) -> LowFrequency:
        """For a ``probe`` (P, N, N) on a canvas (H, W), in the precision of the probe."""
        larger = transform_shape(shape)
        real = np.zeros(0, probe.dtype).real.dtype
        return cls(
            spread=tf.constant(probe_spread(probe, larger).astype(probe.dtype)),
            integrate=tf.constant(integration_kernels(larger).astype(probe.dtype)),
            k=tf.constant(momentum_axis(probe.shape[-1]).astype(real)),
            shape=tf.constant(shape, tf.int32),
            larger=tf.constant(larger, tf.int32),
        )

    def phase(self, gradients: Tensor, centre: Tensor) -> Tensor:
        """The phase (H, W) whose gradients (M, 2) were found at the flat pixels ``centre`` (M,)."""
        height, width = self.shape[0], self.shape[1]
        values = tf.concat([gradients, tf.ones_like(gradients[:, :1])], axis=1)
        placed = tf.math.unsorted_segment_sum(values, centre, height * width)
        planes = tf.reshape(tf.transpose(placed), tf.stack([3, height, width]))
        rest = self.larger - self.shape
        padding = tf.stack([tf.stack([0, 0]), tf.stack([0, rest[0]]), tf.stack([0, rest[1]])])
        spectrum = half_spectrum(tf.pad(planes, padding)) * self.spread
        spread = tf.signal.irfft2d(spectrum, self.larger)
        field = spread[:2] / (spread[2] + FADE * tf.reduce_max(spread[2]))
        slope = tf.reduce_sum(half_spectrum(field) * self.integrate, axis=0)
        phase = tf.signal.irfft2d(slope, self.larger)
        return phase[:height, :width]


def missing_gradients(difference: Tensor, modelled: Tensor, k: Tensor) -> Tensor:
    """Missing phase gradient (M, 2), given measured minus modelled intensities on good pixels and
    the modelled ones, (M, N, N) in FFT order; ``k`` as in :class:`LowFrequency`."""
    along = tf.stack(
        [
            tf.linalg.matvec(tf.reduce_sum(difference, axis=2), k),
            tf.linalg.matvec(tf.reduce_sum(difference, axis=1), k),
        ],
        axis=1,
    )
    return along / tf.reduce_sum(modelled, axis=[1, 2])[:, None]


def split_offsets(offsets_px: Tensor) -> tuple[Tensor, Tensor]:
    """Whole pixels (B, C, 2) int32 and remainders in [-0.5, 0.5) of group offsets (B, C, 2)."""
    whole = tf.floor(offsets_px + 0.5)
    return tf.cast(whole, tf.int32), offsets_px - whole


def taper(n: Tensor, fraction: Tensor) -> Tensor:
    """Hann window on a rim, (..., n, n), moved by ``fraction`` (..., 2)."""
    side = tf.cast(n, fraction.dtype)
    u = tf.range(side)
    y = tf.square(tf.sin(PI * (u - fraction[..., 0, None]) / side))
    x = tf.square(tf.sin(PI * (u - fraction[..., 1, None]) / side))
    return TAPER_RIM + (1 - TAPER_RIM) * y[..., :, None] * x[..., None, :]


def shift_patches(patches: Tensor, fraction: Tensor) -> Tensor:
    """Move patches (..., N, N), which are not periodic, by ``fraction`` (..., 2) of a pixel."""
    n = tf.shape(patches)[-1]
    shift = tf.cast(fraction, tf.math.real(patches).dtype)
    tapered = as_complex(taper(n, tf.zeros_like(shift))) * patches
    return fourier_shift(tapered, shift) * as_complex(1 / taper(n, shift))


def shift_weight(weight: Tensor, fraction: Tensor) -> Tensor:
    """The weight (N, N) moved by ``fraction`` (..., 2) of a pixel, (..., N, N), always positive."""
    shift = tf.cast(fraction, weight.dtype)
    floor = FLOOR * tf.reduce_max(weight) * taper(tf.shape(weight)[-1], shift)
    return tf.nn.relu(tf.math.real(fourier_shift(weight, shift))) + floor


def group_index(whole: Tensor, n: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Flat indices (B*C, N*N) into group canvases laid out one after the other, and their side
    L."""
    size = n + 2 * reach
    groups, members = tf.shape(whole)[0], tf.shape(whole)[1]
    first = tf.repeat(tf.range(groups) * size * size, members)
    corner = tf.reshape(whole + reach, [-1, 2])
    return pixel_index(corner, n, size) + first[:, None], size


def merge(patches: Tensor, offsets_px: Tensor, weight: Tensor, reach: Tensor) -> Tensor:
    """Merge patches (B, C, N, N) into group canvases (B, L, L); see ptychopinn.physics.groups."""
    n = tf.shape(patches)[-1]
    whole, fraction = split_offsets(offsets_px)
    index, size = group_index(whole, n, reach)
    shape = tf.stack([tf.shape(patches)[0], size * size])
    shift = tf.reshape(fraction, [-1, 2])
    moved = shift_weight(weight, shift)
    shifted = shift_patches(tf.reshape(patches, [-1, n, n]), shift)
    above = scatter(as_complex(moved) * shifted, index, shape)
    below = scatter(moved, index, shape)
    covered = below > 0
    merged = above * as_complex(1 / tf.where(covered, below, tf.ones_like(below)))
    filled = tf.where(covered, merged, tf.constant(FILL, merged.dtype))
    return tf.reshape(filled, tf.stack([-1, size, size]))


def extract(canvas: Tensor, offsets_px: Tensor, n: Tensor, reach: Tensor) -> Tensor:
    """Cut the patches (B, C, N, N) at the whole-pixel offsets out of group canvases (B, L, L)."""
    whole, _ = split_offsets(offsets_px)
    index, _ = group_index(whole, n, reach)
    shape = tf.shape(offsets_px)
    return tf.reshape(gather(canvas, index, n), tf.stack([shape[0], shape[1], n, n]))


def common_patches(patches: Tensor, offsets_px: Tensor, weight: Tensor) -> Tensor:
    """Patches (B, C, N, N) after merging each group into one object and cutting them out again."""
    whole, _ = split_offsets(offsets_px)
    reach = tf.reduce_max(tf.abs(whole))
    merged = merge(patches, offsets_px, weight, reach)
    return extract(merged, offsets_px, tf.shape(patches)[-1], reach)


def group_intensities(patches: Tensor, offsets_px: Tensor, probe: Tensor, weight: Tensor) -> Tensor:
    """Expected intensities (B, C, N, N), FFT order, of merged patches under ``probe`` (P, N, N)."""
    n = tf.shape(patches)[-1]
    _, fraction = split_offsets(offsets_px)
    common = common_patches(patches, offsets_px, weight)
    shifted = shifted_probes(probe, tf.reshape(fraction, [-1, 2]))
    modelled = intensity(far_field(shifted, tf.reshape(common, [-1, n, n])))
    return tf.reshape(modelled, tf.shape(patches))
