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
class Prediction:
    """What a network makes of a batch, as arrays of a framework.

    modelled : (share, intensities (..., N, N) in FFT order) of each estimate, the last one counts
    most. measured : (..., N, N) intensities in FFT order, network units.  good : (N, N) 0 or 1,
    FFT order. images : complex objects (..., H, W), ``weight`` their real, broadcastable weight.
    truth : what the images should be, or None.
    """

    modelled: Sequence[tuple[float, Any]]
    measured: Any
    good: Any
    images: Any
    weight: Any
    truth: Any


def shares_of(estimates: Sequence[Any], decay: float) -> list[tuple[float, Any]]:
    """Each estimate with its share, the last with 1 and every earlier one with ``decay`` times the
    share of the next."""
    last = len(estimates) - 1
    return [(decay ** (last - k), estimate) for k, estimate in enumerate(estimates)]


def objective(prediction: Prediction, weights: LossConfig, terms: Any) -> Any:
    """Weighted sum of the terms of the loss, a scalar of the framework that ``terms`` uses."""
    total: Any = 0.0
    share_sum = sum(share for share, _ in prediction.modelled)
    several = len(prediction.modelled) > 1
    compares = bool(weights.nll_weight or weights.mae_weight)
    for share, modelled in prediction.modelled if compares else ():
        term: Any = 0.0
        arguments = (modelled, prediction.measured, prediction.good)
        if weights.nll_weight:
            term = term + weights.nll_weight * terms.poisson_deviance(*arguments)
        if weights.mae_weight:
            term = term + weights.mae_weight * terms.amplitude_mae(*arguments)
        # The iterates of a canvas network span decades; the logarithm lets each of them count.
        if several:
            term = terms.log(term + LOG_FLOOR)
        total = total + (share / share_sum) * term
    images, light = prediction.images, prediction.weight
    if weights.realspace_weight:
        total = total + weights.realspace_weight * terms.total_variation(images, light)
    if weights.realspace_mae_weight and prediction.truth is not None:
        truth = terms.same_global_phase(prediction.truth, images, light)
        error = terms.realspace_mae(images, truth, light)
        total = total + weights.realspace_mae_weight * error
    return total
