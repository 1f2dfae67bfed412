"""The course of the learning rate: a factor that multiplies every learning rate of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ptychopinn.config import Config
from ptychopinn.training.plan import GroupPlan

# A validation loss that fell by less than this has not improved: a share of it, or its absolute
# value for a loss that is a logarithm, of which a share would mean nothing, least of all below 0.
THRESHOLD = 1e-4
# What the cosine falls to.
LOWEST = 0.01
# Decay rates of the moments of the Adam optimiser (Kingma and Ba, ICLR 2015) and the least
# denominator, the same for every backend.
BETAS = (0.9, 0.99)
EPSILON = 1e-8


def accumulated(config: Config, plan: GroupPlan) -> int:
    """Batches whose gradients are averaged for one step: a canvas network sees one sub-scan at a
    time."""
    return config.training.batch_size if plan.canvas else 1


class Schedule:
    """Constant, plateau or cosine, after a linear warm-up.

    Parameters
    ----------
    config : see TrainingConfig.
    steps : optimiser steps of the whole run, the length of the cosine.
    relative : whether the plateau compares shares of the loss.
    """

    def __init__(self, config: Config, steps: int, relative: bool) -> None:
        self.training, self.steps, self.relative = config.training, max(1, steps), relative
        self.level = 1.0
        self.best: float | None = None
        self.bad_epochs = 0

    @classmethod
    def of_run(cls, config: Config, plan: GroupPlan) -> Schedule:
        """The schedule of a run whose every epoch has the steps of this plan."""
        per_epoch = math.ceil(len(plan.epoch(0)) / accumulated(config, plan))
        return cls(config, per_epoch * config.training.epochs, relative=not plan.canvas)

    def factor(self, step: int) -> float:
        """Factor of the learning rates at optimiser step ``step``, counted from 0."""
        rising = min(1.0, (step + 1) / (self.training.warmup_steps + 1))
        if self.training.scheduler == "cosine":
            turn = math.pi * min(1.0, step / self.steps)
            return rising * (LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(turn)))
        return rising * self.level

    def epoch_done(self, loss: float) -> None:
        """Lower the plateau's level after more than ``plateau_patience`` epochs in vain."""
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
            self.level *= self.training.plateau_factor
            self.bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        return {"level": self.level, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.level, self.best = state["level"], state["best"]
        self.bad_epochs = state["bad_epochs"]
