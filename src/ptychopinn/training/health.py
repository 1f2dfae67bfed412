"""Does a run make progress? Collapse, divergence and NaN are errors, not results."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ptychopinn.errors import TrainingError

log = logging.getLogger(__name__)

# Metric -> (epoch, value) pairs, epochs counted from 1.
History = dict[str, list[tuple[int, float]]]

# An object whose relative standard deviation is below this is flat.
FLAT = 1e-3
# Share of the structure in the patterns that a useful object explains at the very least.
EXPLAINED = 0.01
# Every network starts as a flat object (0); one that is this much worse has diverged.
DIVERGED = -0.5
# A loss that fell by less than this share has not improved.
IMPROVEMENT = 1e-3


def metrics_at_best(history: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, float]:
    """The metrics of the epoch with the lowest ``val_loss``, and its number as ``epoch``.

    Empty when no epoch was finished.
    """
    losses = history.get("val_loss")
    if not losses:
        return {}
    best = min(losses, key=lambda point: point[1])[0]
    found = {name: dict(points) for name, points in history.items()}
    return {"epoch": best, **{name: at[best] for name, at in found.items() if best in at}}


def explains(metrics: Mapping[str, float]) -> bool:
    """Whether the object does better than a flat one, or there is nothing to explain."""
    if "explained" not in metrics:
        return True
    return metrics["explained"] >= EXPLAINED and metrics["object_std"] >= FLAT


class HealthCheck:
    """Stops a run that makes no progress while its object is no better than a flat one.

    A network that starts slowly but whose loss still falls is left alone, and so is a scan in which
    nothing but photon noise distinguishes the patterns.
    """

    def __init__(self, patience: int, judged: str = "val_loss") -> None:
        self.patience, self.judged = patience, judged
        self.bad_epochs = 0
        self.best: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"bad_epochs": self.bad_epochs, "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.bad_epochs, self.best = state["bad_epochs"], state["best"]

    def judge(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Look at the metrics of an epoch (counted from 1).

        Raises TrainingError when one of them is not finite, or the run was bad for ``patience``
        epochs."""
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} must stay finite, received {value} after epoch {epoch}: training "
                    "diverged; lower learning_rate."
                )
        loss = metrics[self.judged]
        improved = self.best is None or loss < self.best - IMPROVEMENT * abs(self.best)
        self.best = loss if self.best is None else min(self.best, loss)
        if explains(metrics):
            self.bad_epochs = 0
            return
        self.bad_epochs = 0 if improved else self.bad_epochs + 1
        if self.bad_epochs < self.patience:
            return
        if metrics["object_std"] < FLAT:
            raise TrainingError(
                "the object must show structure, received a flat one (relative variation "
                f"{metrics['object_std']:.1e}) without progress for {self.bad_epochs} epochs: "
                "training collapsed; lower learning_rate, use more patterns, or check that the "
                "probe fits the data."
            )
        raise TrainingError(
            "the predicted patterns must fit better than those of a flat object, received a share "
            f"of {metrics['explained']:.2f} of their structure explained and a correlation of "
            f"{metrics['correlation']:.2f} without progress for {self.bad_epochs} epochs: training "
            "diverged or the physics does not fit; lower learning_rate, or check the probe and "
            "the order and unit of the positions."
        )


def check_loss(loss: float, epoch: int, step: int) -> None:
    """Raise TrainingError unless the loss of a step is finite; both numbers count from 0."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss must stay finite, received {loss} in epoch {epoch + 1}, step {step + 1}: "
            "training diverged; lower learning_rate or gradient_clip_val."
        )


def judge_result(history: History, fatal: bool) -> None:
    """Warn when even the best epoch is that of a network that has not learned anything yet.

    Raises TrainingError when it has diverged, if that is ``fatal``."""
    metrics = metrics_at_best(history)
    if explains(metrics):
        return
    if fatal and metrics["explained"] < DIVERGED:
        raise TrainingError(
            "the predicted patterns must fit better than those of a flat object, received a share "
            f"of {metrics['explained']:.2f} of their structure explained: training diverged; lower "
            "learning_rate."
        )
    log.warning(
        "the model does not fit better than a flat object yet (share of the structure explained: "
        "%.2f): train for more epochs",
        metrics["explained"],
    )
