"""How far predicted patterns are from measured ones: the float64 reference of every loss.

All functions take the model first: ``I_hat`` expected counts, ``I`` measured counts, both
(..., N, N), and ``mask`` (N, N) bool, True at good pixels (None: all are good). Bad pixels enter no
sum and no mean.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptychopinn.errors import InputError

Array = NDArray[Any]
Float = NDArray[np.float64]

# A larger share of the counts left unexplained beyond the photon noise is a poor fit.
POOR_EXCESS = 0.05

# Structure is what a flat object leaves unexplained beyond the photon noise. Less than this share
# of the counts, or of the noise, cannot be told from none.
STRUCTURE_OF_COUNTS = 0.005
STRUCTURE_OF_NOISE = 0.1

# Networks are trained in single precision on network units, with a mean intensity of 1/4 (see
# input_scale). Intensity below which a pixel counts as dark there: it keeps the gradient of the
# logarithm finite where the model predicts nothing and a photon arrived.
DARK = 1e-7
# The same under square roots, whose chain with the field has a bounded slope.
DARK_ROOT = 1e-12
# Least mean intensity, and amplitude, that the terms are divided by: a hundredth of the mean of
# 1/4. It matters for a step whose patterns are dark, which must not outweigh all others.
SPARSE = 0.0025

# Above this expectation the asymptotic series of the noise is exact to 1e-5; below it is tabulated.
_ASYMPTOTIC_FROM = 36.0
_TABLE_DENSITY = 1000


def _good(values: ArrayLike, mask: ArrayLike | None) -> Float:
    """The good pixels as one flat float64 vector."""
    array = np.asarray(values, dtype=np.float64)
    return array.ravel() if mask is None else array[..., np.asarray(mask, dtype=bool)].ravel()


def _pair(I_hat: ArrayLike, I: ArrayLike, mask: ArrayLike | None) -> tuple[Float, Float]:  # noqa: E741
    if np.shape(I_hat) != np.shape(I):
        raise InputError(
            "predicted and measured patterns must have the same shape, received "
            f"{np.shape(I_hat)} and {np.shape(I)}; predict exactly the measured patterns."
        )
    model, measured = _good(I_hat, mask), _good(I, mask)
    if not measured.sum() > 0:
        raise InputError(
            "measured patterns must hold at least one count on good pixels, received none; "
            "check the mask and the selection of patterns."
        )
    return model, measured


def deviance_terms(model: Array, measured: Array) -> Array:
    """``2*(I_hat - I + I*log(I/I_hat))`` per pixel, with ``0*log 0 = 0``.

    Infinite where a count was measured and none is expected.
    """
    counted = measured > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.where(counted, np.log(np.where(counted, measured, 1) / model), 0)
        return 2 * (model - measured + np.where(counted, measured * log_ratio, 0))


def poisson_deviance(I_hat: ArrayLike, I: ArrayLike, mask: ArrayLike | None = None) -> float:  # noqa: E741
    """Poisson deviance per count: ``mean(2*(I_hat - I + I*log(I/I_hat))) / mean(I)``.

    Zero at a perfect fit and positive elsewhere; twice the difference of the negative
    log-likelihoods of the model and of the saturated model. A correct model with many counts per
    pixel has about one per pixel, that is ``1 / mean(I)``.
    """
    model, measured = _pair(I_hat, I, mask)
    return float(deviance_terms(model, measured).sum() / measured.sum())


def amplitude_residual(I_hat: ArrayLike, I: ArrayLike, mask: ArrayLike | None = None) -> float:  # noqa: E741
    """``sum((sqrt(I_hat) - sqrt(I))^2) / sum(I)``: the squared misfit of the modulus, per count."""
    model, measured = _pair(I_hat, I, mask)
    return float(((np.sqrt(model) - np.sqrt(measured)) ** 2).sum() / measured.sum())


def amplitude_mae(I_hat: ArrayLike, I: ArrayLike, mask: ArrayLike | None = None) -> float:  # noqa: E741
    """``mean(abs(sqrt(I_hat) - sqrt(I))) / mean(sqrt(I))``."""
    model, measured = _pair(I_hat, I, mask)
    root = np.sqrt(measured)
    return float(np.abs(np.sqrt(model) - root).sum() / root.sum())


@lru_cache(maxsize=1)
def _noise_table() -> Float:
    """E[(sqrt(n) - sqrt(lam))^2] on a fine grid of t = sqrt(lam), by summing over n.

    As a function of t the expectation is smooth down to zero (2 t^2 - 2 t^3 + ...), so that linear
    interpolation with this step is exact to 1e-6.
    """
    from scipy.special import gammaln

    # Two points more than needed: the last interval is always complete.
    t = np.arange(round(np.sqrt(_ASYMPTOTIC_FROM) * _TABLE_DENSITY) + 2) / _TABLE_DENSITY
    # 120 is 14 standard deviations above the largest tabulated mean of 36; n = 0 adds nothing.
    n = np.arange(1, 121)
    log_lam = 2 * np.log(np.maximum(t, 1e-150))[:, None]
    mean_root = np.exp(n * log_lam - t[:, None] ** 2 - gammaln(n + 1)) @ np.sqrt(n)
    table: Float = 2 * t**2 - 2 * t * mean_root
    table.flags.writeable = False
    return table


def noise_of_amplitude(lam: ArrayLike) -> Float:
    """E[(sqrt(n) - sqrt(lam))^2] for n ~ Poisson(lam), elementwise.

    Since E[n] = lam it equals ``2*lam - 2*sqrt(lam)*E[sqrt(n)]``. Up to lam = 36 the sum over n is
    tabulated; above, E[sqrt(n)] = sqrt(lam)*(1 - 1/(8 lam) - 7/(128 lam^2) - 75/(1024 lam^3) - ...)
    gives ``1/4 * (1 + 7/(16 lam) + 75/(128 lam^2))``. (The better known 1/4*(1 + 3/(8 lam)) is the
    *variance* of sqrt(n); here the bias of sqrt(n) counts too.)
    """
    mean = np.asarray(lam, dtype=np.float64)
    table = _noise_table()
    place = np.sqrt(np.minimum(mean, _ASYMPTOTIC_FROM)) * _TABLE_DENSITY
    left = place.astype(np.int32)
    noise = np.asarray(table[left])
    noise += (place - left) * (table[left + 1] - noise)
    bright = mean > _ASYMPTOTIC_FROM
    if bright.any():
        inverse = 1 / mean[bright]
        noise[bright] = 0.25 * (1 + inverse * (7 / 16 + inverse * 75 / 128))
    return noise


def expected_residual(I_hat: ArrayLike, mask: ArrayLike | None = None) -> float:
    """The :func:`amplitude_residual` that photon noise alone gives when ``I_hat`` is the truth."""
    model = _good(I_hat, mask)
    if not model.sum() > 0:
        raise InputError(
            "predicted patterns must hold intensity on good pixels, received none; "
            "check the probe, the object and the mask."
        )
    return float(noise_of_amplitude(model).sum() / model.sum())


def total_variation(obj: ArrayLike) -> float:
    """Isotropic total variation ``mean(sqrt(abs(dy O)^2 + abs(dx O)^2))`` of a complex (..., H, W).

    Forward differences, over the (H-1, W-1) pixels that have both neighbours.
    """
    array = np.asarray(obj, dtype=np.complex128)
    here = array[..., :-1, :-1]
    dy, dx = array[..., 1:, :-1] - here, array[..., :-1, 1:] - here
    return float(np.sqrt(np.abs(dy) ** 2 + np.abs(dx) ** 2).mean())


def realspace_mae(obj: ArrayLike, truth: ArrayLike) -> float:
    """``mean(abs(O - O_true))`` of complex objects of one shape (the supervised label loss)."""
    if np.shape(obj) != np.shape(truth):
        raise InputError(
            f"object and truth must have the same shape, received {np.shape(obj)} and "
            f"{np.shape(truth)}; cut both to the same region."
        )
    difference = np.asarray(obj, dtype=np.complex128) - np.asarray(truth, dtype=np.complex128)
    return float(np.abs(difference).mean())


def shows_structure(structure: float, noise: float) -> bool:
    """Whether patterns show more than noise: ``structure`` and ``noise`` per count, see above."""
    return structure > max(STRUCTURE_OF_COUNTS, STRUCTURE_OF_NOISE * noise)
