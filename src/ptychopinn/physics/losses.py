"""The terms of the loss: how far predicted patterns are from measured ones.

All are ratios, so that the unit of the intensities cancels; intensities are (..., N, N) and in
network units, ``good`` (N, N) is 1 at good pixels and 0 at others, which enter no sum.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ptychopinn.ops.base import Array, Ops

# Networks are trained in single precision on network units, with a mean intensity of 1/4 (see
# input_scale). Intensity below which a pixel counts as dark there: it keeps the gradient of the
# logarithm finite where the model predicts nothing and a photon arrived.
DARK = 1e-7
# The same under square roots, whose chain with the field has a bounded slope.
DARK_ROOT = 1e-12
# Least mean intensity, and amplitude, that the terms are divided by: a hundredth of the mean of
# 1/4. It matters for a step whose patterns are dark, which must not outweigh all others.
SPARSE = 0.0025


def _least(xp: Ops, measured: Array) -> Any:
    """What the counts, or amplitudes, of a step are divided by at least."""
    return SPARSE * xp.number(prod(xp.shape(measured)), measured)


def _counts(xp: Ops, measured: Array, good: Array) -> Array:
    return xp.maximum(xp.sum(good * measured), _least(xp, measured))


def poisson_deviance(xp: Ops, modelled: Array, measured: Array, good: Array) -> Array:
    """``sum(2*(I_hat - I + I*log(I/I_hat))) / sum(I)`` over good pixels.

    Twice the difference of the negative log-likelihoods of the model and of the saturated model,
    per count.
    """
    model = modelled + DARK
    data = measured + DARK
    terms = model - data + data * (xp.log(data) - xp.log(model))
    return 2 * xp.sum(good * terms) / _counts(xp, measured, good)


def amplitude_mae(xp: Ops, modelled: Array, measured: Array, good: Array) -> Array:
    """``mean(abs(sqrt(I_hat) - sqrt(I))) / mean(sqrt(I))`` over good pixels."""
    amplitude = xp.sqrt(measured + DARK_ROOT)
    difference = xp.abs(xp.sqrt(modelled + DARK_ROOT) - amplitude)
    total = xp.maximum(xp.sum(good * amplitude), _least(xp, measured))
    return xp.sum(good * difference) / total


def total_variation(xp: Ops, image: Array, weight: Array) -> Array:
    """Weighted mean modulus of the forward differences of complex (..., H, W); ``weight``
    broadcasts."""
    here = image[..., :-1, :-1]
    down, right = image[..., 1:, :-1] - here, image[..., :-1, 1:] - here
    steps = xp.sqrt(xp.abs2(down) + xp.abs2(right) + 1e-12)
    return _weighted_mean(xp, steps, weight[..., :-1, :-1])


def realspace_mae(xp: Ops, image: Array, truth: Array, weight: Array) -> Array:
    """Weighted mean of ``abs(image - truth)`` for complex (..., H, W); ``weight`` broadcasts."""
    return _weighted_mean(xp, xp.sqrt(xp.abs2(image - truth) + 1e-12), weight)


def same_global_phase(xp: Ops, truth: Array, image: Array, weight: Array) -> Array:
    """``truth`` times the one phase factor that brings it closest to ``image``.

    No measurement fixes the global phase, so no loss may depend on it.
    """
    overlap = xp.sum(xp.scaled(image * xp.conj(truth), weight))
    return truth * xp.scaled(overlap, 1 / (xp.sqrt(xp.abs2(overlap)) + 1e-12))


def _weighted_mean(xp: Ops, values: Array, weight: Array) -> Array:
    w = xp.broadcast_to(weight, xp.shape(values))
    return xp.sum(w * values) / xp.sum(w)
