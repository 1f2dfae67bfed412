"""The schedule of the learning rate: a factor that multiplies every learning rate of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ptychopinn.config import Config

# A validation loss that fell by less than this has not improved: a share of it, or its absolute
# value for a loss that is a logarithm, of which a share would mean nothing, least of all below 0.
THRESHOLD = 1e-4
# What the cosine falls to.
LOWEST = 0.01


class Schedule:
    """Constant, plateau or cosine, after a linear warm-up.

    config : see TrainingConfig.
    steps : optimiser steps of the whole run, the length of the cosine.
    relative : whether the plateau compares shares of the loss.
    """

    def __init__(self, config: Config, steps: int, relative: bool) -> None:
        self.training, self.steps, self.relative = config.training, max(1, steps), relative
        self.reduction = 1.0
        self.best: float | None = None
        self.bad_epochs = 0

    def factor(self, step: int) -> float:
        """Factor of the learning rates at optimiser step ``step``, counted from 0."""
        rising = min(1.0, (step + 1) / (self.training.warmup_steps + 1))
        if self.training.scheduler == "cosine":
            angle = math.pi * min(1.0, step / self.steps)
            return rising * (LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(angle)))
        return rising * self.reduction

    def epoch_done(self, loss: float) -> None:
        """On a plateau: lower the rate after more than ``plateau_patience`` epochs in vain."""
        if self.training.scheduler != "plateau":
            return
        if self.best is None:
            improved = True
        elif self.relative:
            improved = loss < self.best * (1 - THRESHOLD)
        else:
            improved = loss < self.best - THRESHOLD
        if improved:
            self.best, self.bad_epochs = loss, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self.training.plateau_patience:
            self.reduction *= self.training.plateau_factor
            self.bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        return {"reduction": self.reduction, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.reduction, self.best = state["reduction"], state["best"]
        self.bad_epochs = state["bad_epochs"]
