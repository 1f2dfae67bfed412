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
from scipy.interpolate import CubicSpline
from scipy.stats import poisson

Array = NDArray[Any]
Float = NDArray[np.float64]


def _good(values: ArrayLike, mask: ArrayLike | None) -> Float:
    """The good pixels as one flat float64 vector."""
    array = np.asarray(values, dtype=np.float64)
    return array.ravel() if mask is None else array[..., np.asarray(mask, dtype=bool)].ravel()


def _pair(I_hat: ArrayLike, I: ArrayLike, mask: ArrayLike | None) -> tuple[Float, Float]:  # noqa: E741
    if np.shape(I_hat) != np.shape(I):
        raise ValueError(f"shapes differ: {np.shape(I_hat)} and {np.shape(I)}")
    model, measured = _good(I_hat, mask), _good(I, mask)
    if not measured.sum() > 0:
        raise ValueError("no counts on good pixels")
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


# Above this square root of the mean the noise is given by a series.
BRIGHT = 60.0


@lru_cache(maxsize=1)
def _noise_of_root() -> CubicSpline:
    """E[(sqrt(n) - t)^2] for n ~ Poisson(t^2) as a function of t: sums over n, joined smoothly."""
    roots = np.linspace(0, BRIGHT, 1201)
    sums = []
    for t in roots:
        n = np.arange(max(0, int(t**2 - 12 * t) - 30), int(t**2 + 12 * t) + 60)
        sums.append((poisson.pmf(n, t**2) * (np.sqrt(n) - t) ** 2).sum())
    return CubicSpline(roots, sums)


def noise_of_amplitude(lam: ArrayLike) -> Float:
    """E[(sqrt(n) - sqrt(lam))^2] for n ~ Poisson(lam), elementwise."""
    root = np.sqrt(np.asarray(lam, dtype=np.float64))
    series = 0.25 * (1 + 7 / (16 * np.maximum(root, 1) ** 2))
    return np.where(root < BRIGHT, _noise_of_root()(np.minimum(root, BRIGHT)), series)


def expected_residual(I_hat: ArrayLike, mask: ArrayLike | None = None) -> float:
    """The :func:`amplitude_residual` that photon noise alone gives when ``I_hat`` is the truth."""
    model = _good(I_hat, mask)
    if not model.sum() > 0:
        raise ValueError("no intensity on good pixels")
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
        raise ValueError(f"shapes differ: {np.shape(obj)} and {np.shape(truth)}")
    difference = np.asarray(obj, dtype=np.complex128) - np.asarray(truth, dtype=np.complex128)
    return float(np.abs(difference).mean())
