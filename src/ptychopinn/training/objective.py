"""The loss of a prediction: which terms enter, with which weights (see LossConfig)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ptychopinn.config import LossConfig
from ptychopinn.errors import InputError
from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics import losses

# Added before the logarithm of a term, which a perfect fit would make infinite.
LOG_FLOOR = 1e-7


class Estimate(NamedTuple):
    """Modelled and measured intensities (..., N, N) in the order of the fields, network units, and
    the share of their mismatch in the loss."""

    share: float
    modelled: Array
    measured: Array


class Prediction(NamedTuple):
    """What a network makes of a batch, as arrays of a framework.

    estimates : what the iterates predict, the last one counts most.  good : (N, N) 0 or 1, in the
    order of the fields.  images : complex objects (..., H, W), ``weight`` their real, broadcastable
    weight.  truth : what the images should be, or None.
    """

    estimates: list[Estimate]
    good: Array
    images: Array
    weight: Array
    truth: Array | None


class OwnLoss(NamedTuple):
    """A loss of the user.

    function : a real scalar of the framework, of the operations (:class:`ptychopinn.ops.base.Ops`)
    and a :class:`Prediction`.  replaces : whether it takes the place of the configured terms, to
    which it is added otherwise.
    """

    function: Callable[[Ops, Prediction], Any]
    replaces: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """What a model and a run say of it; the function itself is in no file."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return {"own_loss": {"name": name, "replaces": self.replaces}}

    def value(self, xp: Ops, prediction: Prediction) -> Any:
        """The loss; InputError when it is no scalar."""
        found = self.function(xp, prediction)
        shape = None if isinstance(found, int | float) else getattr(found, "shape", None)
        if shape is None or tuple(shape) != ():
            what = type(found).__name__ if shape is None else f"the shape {tuple(shape)}"
            raise InputError(
                f"an own loss must return a real scalar made of the prediction, received {what}; "
                "end it with xp.sum."
            )
        return found


def objective(
    xp: Ops, prediction: Prediction, weights: LossConfig, own: OwnLoss | None = None
) -> Any:
    """Weighted sum of the terms of the loss, a real scalar."""
    total: Any = 0.0
    if own is not None:
        total = own.value(xp, prediction)
        if own.replaces:
            return total
    share_sum = sum(estimate.share for estimate in prediction.estimates)
    several = len(prediction.estimates) > 1
    compares = bool(weights.nll_weight or weights.mae_weight)
    for estimate in prediction.estimates if compares else ():
        term: Any = 0.0
        given = (estimate.modelled, estimate.measured, prediction.good)
        if weights.nll_weight:
            term = term + weights.nll_weight * losses.poisson_deviance(xp, *given)
        if weights.mae_weight:
            term = term + weights.mae_weight * losses.amplitude_mae(xp, *given)
        # The iterates of a canvas network span decades; the logarithm lets each of them count.
        if several:
            term = xp.log(term + LOG_FLOOR)
        total = total + (estimate.share / share_sum) * term
    images, light = prediction.images, prediction.weight
    if weights.realspace_weight:
        total = total + weights.realspace_weight * losses.total_variation(xp, images, light)
    if weights.realspace_mae_weight and prediction.truth is not None:
        truth = losses.same_global_phase(xp, prediction.truth, images, light)
        error = losses.realspace_mae(xp, images, truth, light)
        total = total + weights.realspace_mae_weight * error
    return total
