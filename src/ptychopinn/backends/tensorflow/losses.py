"""The loss terms of :mod:`ptychopinn.physics.losses` in TensorFlow, on network units.

Network intensities are counts times a^2; every term is a ratio in which a^2 cancels.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow import Tensor

from ptychopinn.backends.tensorflow.physics import as_complex, squared_modulus
from ptychopinn.physics.losses import DARK, DARK_ROOT, SPARSE

log = tf.math.log


def _least(measured: Tensor) -> Tensor:
    """What the counts, or amplitudes, of a step are divided by at least."""
    return SPARSE * tf.cast(tf.size(measured), measured.dtype)


def _counts(measured: Tensor, good: Tensor) -> Tensor:
    return tf.maximum(tf.reduce_sum(good * measured), _least(measured))


def poisson_deviance(modelled: Tensor, measured: Tensor, good: Tensor) -> Tensor:
    """``sum(2*(I_hat - I + I*log(I/I_hat))) / sum(I)`` over good pixels of (..., N, N)."""
    model = modelled + DARK
    data = measured + DARK
    terms = model - data + data * (log(data) - log(model))
    return 2 * tf.reduce_sum(good * terms) / _counts(measured, good)


def amplitude_residual(modelled: Tensor, measured: Tensor, good: Tensor) -> Tensor:
    """``sum((sqrt(I_hat) - sqrt(I))^2) / sum(I)`` over good pixels."""
    difference = tf.sqrt(modelled + DARK_ROOT) - tf.sqrt(measured + DARK_ROOT)
    return tf.reduce_sum(good * tf.square(difference)) / _counts(measured, good)


def amplitude_mae(modelled: Tensor, measured: Tensor, good: Tensor) -> Tensor:
    """``mean(abs(sqrt(I_hat) - sqrt(I))) / mean(sqrt(I))`` over good pixels."""
    amplitude = tf.sqrt(measured + DARK_ROOT)
    difference = tf.abs(tf.sqrt(modelled + DARK_ROOT) - amplitude)
    total = tf.maximum(tf.reduce_sum(good * amplitude), _least(measured))
    return tf.reduce_sum(good * difference) / total


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    w = tf.broadcast_to(weight, tf.shape(values))
    return tf.reduce_sum(w * values) / tf.reduce_sum(w)


def total_variation(image: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean modulus of the forward differences of complex (..., H, W); weight
    broadcasts."""
    here = image[..., :-1, :-1]
    down, right = image[..., 1:, :-1] - here, image[..., :-1, 1:] - here
    steps = tf.sqrt(squared_modulus(down) + squared_modulus(right) + 1e-12)
    return _weighted_mean(steps, weight[..., :-1, :-1])


def realspace_mae(image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of ``abs(image - truth)`` for complex (..., H, W); weight broadcasts."""
    return _weighted_mean(tf.sqrt(squared_modulus(image - truth) + 1e-12), weight)


def same_global_phase(truth: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    """``truth`` times the one phase factor that brings it closest to ``image``.

    No measurement fixes the global phase, so no loss may depend on it.
    """
    overlap = tf.reduce_sum(as_complex(weight) * image * tf.math.conj(truth))
    return truth * (overlap / as_complex(tf.sqrt(squared_modulus(overlap)) + 1e-12))
