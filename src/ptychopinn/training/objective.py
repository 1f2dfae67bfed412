"""The loss of a prediction: which terms enter, with which weights (see LossConfig).

The terms themselves are the backend's, a module with the functions of
``ptychopinn.backends.pytorch.losses``; what is added up here is arithmetic that any array offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptychopinn.config import LossConfig

# Added before the logarithm of a term, which a perfect fit would make infinite.
LOG_FLOOR = 1e-7


@dataclass(frozen=True)
class Estimate:
    """Modelled and measured intensities (..., N, N) in FFT order, network units, and the share of
    their mismatch in the loss."""

    share: float
    modelled: Any
    measured: Any


@dataclass(frozen=True)
class Prediction:
    """What a network makes of a batch, as arrays of a framework.

    estimates : what the iterates predict, the last one counts most.  good : (N, N) 0 or 1, FFT
    order. images : complex objects (..., H, W), ``weight`` their real, broadcastable weight.
    truth : what the images should be, or None.
    """

    estimates: Sequence[Estimate]
    good: Any
    images: Any
    weight: Any
    truth: Any


def objective(prediction: Prediction, weights: LossConfig, terms: Any) -> Any:
    """Weighted sum of the terms of the loss, a scalar of the framework that ``terms`` uses."""
    total: Any = 0.0
    share_sum = sum(estimate.share for estimate in prediction.estimates)
    several = len(prediction.estimates) > 1
    compares = bool(weights.nll_weight or weights.mae_weight)
    for estimate in prediction.estimates if compares else ():
        term: Any = 0.0
        arguments = (estimate.modelled, estimate.measured, prediction.good)
        if weights.nll_weight:
            term = term + weights.nll_weight * terms.poisson_deviance(*arguments)
        if weights.mae_weight:
            term = term + weights.mae_weight * terms.amplitude_mae(*arguments)
        # The iterates of a canvas network span decades; the logarithm lets each of them count.
        if several:
            term = terms.log(term + LOG_FLOOR)
        total = total + (estimate.share / share_sum) * term
    images, light = prediction.images, prediction.weight
    if weights.realspace_weight:
        total = total + weights.realspace_weight * terms.total_variation(images, light)
    if weights.realspace_mae_weight and prediction.truth is not None:
        truth = terms.same_global_phase(prediction.truth, images, light)
        error = terms.realspace_mae(images, truth, light)
        total = total + weights.realspace_mae_weight * error
    return total
