"""What is recorded, checked and decided after every epoch of a training."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptychopinn.config import Config
from ptychopinn.contracts import Progress
from ptychopinn.io.atomic import atomic_path
from ptychopinn.training.health import HealthCheck, History
from ptychopinn.training.schedule import Schedule


class EarlyStopping:
    """Counts the epochs since the lowest loss; None never stops."""

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.best: float | None = None
        self.waited = 0

    def epoch_done(self, loss: float) -> None:
        if self.best is None or loss < self.best:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1

    @property
    def over(self) -> bool:
        return self.patience is not None and self.waited >= self.patience


class Monitor:
    """Progress, history, health, schedule and early stopping of a run.

    ``judged`` is the metric that schedule and early stopping look at.

    history : metrics of all epochs, those before a resumption too.
    schedule : of the learning rate.
    improved : whether the last epoch has the lowest judged loss so far.
    """

    def __init__(
        self,
        config: Config,
        schedule: Schedule,
        progress: Progress,
        table: Path | None = None,
        judged: str = "val_loss",
    ) -> None:
        self.progress, self.table, self.judged = progress, table, judged
        self.history: History = {}
        self.schedule = schedule
        self.health = HealthCheck(config.training.collapse_patience, judged)
        self.stopping = EarlyStopping(config.training.early_stopping)
        self.improved = False
        self._patterns, self._started = 0, 0.0

    @property
    def over(self) -> bool:
        """Whether early stopping ends the run."""
        return self.stopping.over

    def epoch_begins(self, epoch: int, steps: int) -> None:
        """Epoch ``epoch`` (from 0) has so many batches."""
        self._patterns, self._started = 0, time.perf_counter()
        self.progress.epoch(epoch, steps)

    def batch_done(self, loss: float, patterns: int) -> None:
        """A batch of so many patterns was trained on."""
        self._patterns += patterns
        elapsed = max(time.perf_counter() - self._started, 1e-9)
        self.progress.step(loss, self._patterns / elapsed)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record and judge the metrics of epoch ``epoch`` (from 0).

        Raises TrainingError when the run has collapsed or diverged."""
        for name, value in metrics.items():
            self.history.setdefault(name, []).append((epoch + 1, value))
        self.progress.epoch_done(epoch, metrics)
        if self.table is not None:
            write_table(self.history, self.table)
        self.health.judge(epoch + 1, metrics)
        loss = metrics[self.judged]
        self.schedule.epoch_done(loss)
        self.stopping.epoch_done(loss)
        self.improved = self.stopping.waited == 0

    def state_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {
            "history": {k: [list(p) for p in v] for k, v in self.history.items()},
            "schedule": self.schedule.state_dict(),
            "health": self.health.state_dict(),
            "stopping": {"best": self.stopping.best, "waited": self.stopping.waited},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; what may change on resuming is not in it."""
        for name, points in state["history"].items():
            self.history[name] = [(int(epoch), float(value)) for epoch, value in points]
        self.schedule.load_state_dict(state["schedule"])
        self.health.load_state_dict(state["health"])
        self.stopping.best = state["stopping"]["best"]
        self.stopping.waited = state["stopping"]["waited"]


def write_table(history: History, path: Path) -> None:
    """Write the history as ``metrics.csv``, one line per epoch, those before a resumption too."""
    rows: dict[int, dict[str, float]] = {}
    for name, points in history.items():
        for epoch, value in points:
            rows.setdefault(epoch, {})[name] = value
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        table = csv.DictWriter(stream, ["epoch", *sorted(history)], lineterminator="\n")
        table.writeheader()
        table.writerows({"epoch": epoch, **row} for epoch, row in sorted(rows.items()))
