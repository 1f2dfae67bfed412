"""The loss terms of :mod:`ptychopinn.physics.losses` in PyTorch, on network units.

Network intensities are counts times a^2; every term is a ratio in which a^2 cancels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.physics.losses import DARK, DARK_ROOT, SPARSE

log = torch.log


def _counts(measured: Tensor, good: Tensor) -> Tensor:
    return (good * measured).sum().clamp_min(SPARSE * measured.numel())


def poisson_deviance(modelled: Tensor, measured: Tensor, good: Tensor) -> Tensor:
    """``sum(2*(I_hat - I + I*log(I/I_hat))) / sum(I)`` over good pixels of (..., N, N)."""
    model = modelled + DARK
    data = measured + DARK
    terms = model - data + data * (torch.log(data) - torch.log(model))
    return 2 * (good * terms).sum() / _counts(measured, good)


def amplitude_residual(modelled: Tensor, measured: Tensor, good: Tensor) -> Tensor:
    """``sum((sqrt(I_hat) - sqrt(I))^2) / sum(I)`` over good pixels."""
    difference = torch.sqrt(modelled + DARK_ROOT) - torch.sqrt(measured + DARK_ROOT)
    return (good * difference.square()).sum() / _counts(measured, good)


def amplitude_mae(modelled: Tensor, measured: Tensor, good: Tensor) -> Tensor:
    """``mean(abs(sqrt(I_hat) - sqrt(I))) / mean(sqrt(I))`` over good pixels."""
    amplitude = torch.sqrt(measured + DARK_ROOT)
    difference = torch.abs(torch.sqrt(modelled + DARK_ROOT) - amplitude)
    return (good * difference).sum() / (good * amplitude).sum().clamp_min(SPARSE * measured.numel())


def total_variation(image: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean modulus of the forward differences of complex (..., H, W); weight
    broadcasts."""
    down = image[..., 1:, :-1] - image[..., :-1, :-1]
    right = image[..., :-1, 1:] - image[..., :-1, :-1]
    steps = torch.sqrt(
        down.real.square() + down.imag.square() + right.real.square() + right.imag.square() + 1e-12
    )
    w = weight[..., :-1, :-1].expand_as(steps)
    return (w * steps).sum() / w.sum()


def realspace_mae(image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of ``abs(image - truth)`` for complex (..., H, W); weight broadcasts."""
    difference = image - truth
    modulus = torch.sqrt(difference.real.square() + difference.imag.square() + 1e-12)
    w = weight.expand_as(modulus)
    return (w * modulus).sum() / w.sum()


def same_global_phase(truth: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    """``truth`` times the one phase factor that brings it closest to ``image``.

    No measurement fixes the global phase, so no loss may depend on it.
    """
    overlap = (weight * image * truth.conj()).sum()
    return truth * (overlap / (overlap.abs() + 1e-12))
