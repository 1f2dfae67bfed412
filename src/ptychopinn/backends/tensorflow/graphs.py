"""What works on one batch of patterns, or on one canvas, as functions of tensors.

Each runs as a graph of its own, built once for batches and canvases of all sizes, or as a part of
another one, as in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from ptychopinn.backends.tensorflow import physics
from ptychopinn.networks.unrolled import RIM

NUMBER = tf.TensorSpec([], tf.float32)
COUNT = tf.TensorSpec([], tf.int32)
REAL = tf.TensorSpec([None, None], tf.float32)
IMAGE = tf.TensorSpec([None, None], tf.complex64)
PATTERNS = tf.TensorSpec([None] * 3, tf.float32)
PROBE = tf.TensorSpec([None] * 3, tf.complex64)
PROBES = tf.TensorSpec([None] * 4, tf.complex64)
INDEX = tf.TensorSpec([None, None], tf.int32)
CENTRE = tf.TensorSpec([None], tf.int32)
SHAPE = tf.TensorSpec([2], tf.int32)
PAIRS = tf.TensorSpec([None, 2], tf.float32)
FEATURES = tf.TensorSpec([None] * 4, tf.float32)
AXIS = tf.TensorSpec([None], tf.float32)
LOW = physics.LowFrequency(IMAGE, PROBE, AXIS, SHAPE, SHAPE)


class Compiled:
    """A function as one graph with this signature, built when it is first called.

    Outside of another graph it is called the short way, which checks no arguments and knows no
    derivatives.
    """

    def __init__(self, function: Callable[..., Any], *signature: Any) -> None:
        self.graph = tf.function(function, input_signature=signature, autograph=False)
        self._built: Any = None

    def __call__(self, *arguments: Any) -> Any:
        if not tf.executing_eagerly():
            return self.graph(*arguments)
        if self._built is None:
            self._built = self.graph.get_concrete_function()
        flat = self._built.inference_fn.call_flat(*tf.nest.flatten(arguments))
        return tf.nest.pack_sequence_as(self._built.structured_outputs, flat)


def compiled(*signature: Any) -> Callable[[Callable[..., Any]], Compiled]:
    """Make a function a :class:`Compiled` one."""
    return lambda function: Compiled(function, *signature)


shifted_probes = Compiled(physics.shifted_probes, PROBE, PAIRS)


@compiled(PROBES, INDEX, SHAPE)
def light_of(probes: Tensor, index: Tensor, shape: Tensor) -> Tensor:
    """Sum of abs(probe)^2 on the canvas (H, W), the weight of every object pixel."""
    return physics.scatter(physics.intensity(probes), index, shape)


class Projected(NamedTuple):
    """The modelled modulus of some patterns replaced by the measured one, the phase kept.

    chi : (M, P, N, N) change of the exit waves, F^-1(Psi') - psi.  patches : (M, N, N).
    misfit : squared, of the moduli.  modelled : intensities (M, N, N).
    change : (M, N, N) measured minus modelled intensities on good pixels.
    """

    chi: Tensor
    patches: Tensor
    misfit: Tensor
    modelled: Tensor
    change: Tensor


def projected(
    canvas: Tensor, amplitudes: Tensor, probes: Tensor, index: Tensor, good: Tensor, spare: Tensor
) -> Projected:
    """Project onto the measured moduli, which are sqrt(I + ``spare``)."""
    n = tf.shape(amplitudes)[-1]
    patches = physics.gather(canvas, index, n)
    # Without the factors that make the transforms unitary: in chi they cancel.
    fields = tf.signal.fft2d(probes * patches[:, None])
    modelled = physics.intensity(fields) / tf.cast(n * n, amplitudes.dtype)
    amplitude = tf.sqrt(modelled + spare)
    measured = tf.sqrt(tf.square(amplitudes) + spare)
    difference = good * (measured - amplitude)
    chi = tf.signal.ifft2d(fields * physics.as_complex(difference / amplitude)[:, None])
    # (a - A)(a + A) = a^2 - A^2
    change = difference * (measured + amplitude)
    return Projected(chi, patches, tf.reduce_sum(tf.square(difference)), modelled, change)


def summed(
    found: Projected, probes: Tensor, index: Tensor, shape: Tensor, k: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Numerator, misfit, modelled intensities and phase gradients, see canvas.Projection."""
    back = tf.reduce_sum(tf.math.conj(probes) * found.chi, axis=1)
    missing = physics.missing_gradients(found.change, found.modelled, k)
    return physics.scatter(back, index, shape), found.misfit, found.modelled, missing


@compiled(IMAGE, PATTERNS, PROBES, INDEX, REAL, NUMBER, AXIS)
def modulus_step(
    canvas: Tensor,
    amplitudes: Tensor,
    probes: Tensor,
    index: Tensor,
    good: Tensor,
    spare: Tensor,
    k: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One modulus projection of a batch and its sums, see :func:`summed`."""
    found = projected(canvas, amplitudes, probes, index, good, spare)
    return summed(found, probes, index, tf.shape(canvas), k)


@compiled(IMAGE, PATTERNS, PROBES, INDEX, REAL, NUMBER, AXIS, PAIRS)
def modulus_step_with_probe(
    canvas: Tensor,
    amplitudes: Tensor,
    probes: Tensor,
    index: Tensor,
    good: Tensor,
    spare: Tensor,
    k: Tensor,
    fraction: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The same with numerator (P, N, N) and weight (N, N) of a step of the probe."""
    found = projected(canvas, amplitudes, probes, index, good, spare)
    waves = tf.math.conj(found.patches)[:, None] * found.chi
    change = tf.reduce_sum(physics.fourier_shift(waves, -fraction[:, None]), axis=0)
    weight = tf.reduce_sum(physics.squared_modulus(found.patches), axis=0)
    return *summed(found, probes, index, tf.shape(canvas), k), change, weight


@compiled(IMAGE, PATTERNS, PROBES, INDEX, REAL)
def batch_misfit(
    canvas: Tensor, amplitudes: Tensor, probes: Tensor, index: Tensor, good: Tensor
) -> Tensor:
    """Sum of (sqrt(I_hat) - sqrt(I))^2 over good pixels of a batch."""
    n = tf.shape(amplitudes)[-1]
    fields = tf.signal.fft2d(probes * physics.gather(canvas, index, n)[:, None])
    amplitude = tf.sqrt(physics.intensity(fields)) / tf.cast(n, amplitudes.dtype)
    return tf.reduce_sum(tf.square(good * (amplitudes - amplitude)))


@compiled(IMAGE, IMAGE, IMAGE, REAL, NUMBER, NUMBER, NUMBER)
def advanced(
    canvas: Tensor, velocity: Tensor, numerator: Tensor, light: Tensor, step: Tensor,
    momentum: Tensor, damping: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Canvas and velocity after a physics step; ``damping`` is added to the weight."""
    weight = physics.as_complex(step / (light + RIM * tf.reduce_max(light) + damping))
    velocity = physics.as_complex(momentum) * velocity + weight * numerator
    return canvas + velocity, velocity


@compiled(PAIRS, CENTRE, NUMBER, LOW)
def missing_rotation(
    gradients: Tensor, centre: Tensor, turn: Tensor, low: physics.LowFrequency
) -> Tensor:
    """exp(i turn phi) (H, W) with the low-frequency phase phi."""
    return physics.rotation(turn * low.phase(gradients, centre))


@compiled(IMAGE, IMAGE, REAL, NUMBER, NUMBER, COUNT)
def features(
    canvas: Tensor,
    velocity: Tensor,
    light: Tensor,
    noise: Tensor,
    misfit: Tensor,
    multiple: Tensor,
) -> Tensor:
    """Features (1, channels, H', W') of the U-Net; its sides are multiples of ``multiple``."""
    brightest = tf.reduce_max(light)
    light = light / brightest
    # Standard deviation that photon noise gives to an object pixel in least squares.
    noise = noise / tf.sqrt(brightest * (light + RIM))
    deviation = canvas - 1
    channels = tf.stack(
        [
            tf.math.real(deviation),
            tf.math.imag(deviation),
            tf.math.real(velocity),
            tf.math.imag(velocity),
            light,
            0.25 * _log10(noise + 1e-6),
            0.25 * _log10(misfit + 1e-6) * tf.ones_like(light),
        ]
    )[None]
    height, width = tf.shape(light)[0], tf.shape(light)[1]
    # Up to a multiple with the last row and column repeated.
    below = tf.ones(tf.stack([1, 1, -height % multiple, 1])) * channels[:, :, -1:]
    channels = tf.concat([channels, below], axis=2)
    right = tf.ones(tf.stack([1, 1, 1, -width % multiple])) * channels[..., -1:]
    return tf.concat([channels, right], axis=3)


@compiled(FEATURES, REAL, NUMBER)
def faded(out: Tensor, light: Tensor, gain: Tensor) -> Tensor:
    """Correction (H, W) from the output (1, 2, H', W') of the U-Net.

    Where no light falls nothing is known: the correction fades out with the illumination.
    """
    relative = light / tf.reduce_max(light)
    fade = gain * relative / (relative + RIM)
    correction = out[0, :, : tf.shape(light)[0], : tf.shape(light)[1]] * fade
    return tf.complex(correction[0], correction[1])


def _log10(values: Tensor) -> Tensor:
    return tf.math.log(values) / np.float32(np.log(10))
