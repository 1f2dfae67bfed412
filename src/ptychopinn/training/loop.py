"""The one training loop: epochs of batches, steps, validation, checkpoints, stopping.

It knows neither the framework, which is behind :class:`ptychopinn.ops.engine.Engine`, nor what is
trained on, which is behind :class:`ptychopinn.training.tasks.Task`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.contracts import Follows, Step
from ptychopinn.machine.interruption import StopFlag, Stopped
from ptychopinn.machine.readers import read_ahead, reading
from ptychopinn.ops.engine import Engine
from ptychopinn.training.checkpoint import Checkpoint, damaged, read_checkpoint, write_checkpoint
from ptychopinn.training.health import check_loss
from ptychopinn.training.loggers import Log
from ptychopinn.training.monitor import Monitor
from ptychopinn.training.pictured import pictures_of
from ptychopinn.training.tasks import Task

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"
# Parts of the state of a run.
RECORD = "run"


class Loop:
    """A run: its state, and what moves it on.

    Parameters
    ----------
    clip : largest norm of the gradient; 0 for no limit.
    folder : where checkpoints go, or None for none.
    record : plain data that a resumed run is compared with.
    readers : threads or processes that read ahead.

    Attributes
    ----------
    epoch, steps, seen : epochs that are done, optimiser steps, and batches trained on.
    """

    def __init__(
        self,
        task: Task,
        engine: Engine,
        monitor: Monitor,
        stop: StopFlag,
        clip: float,
        folder: Path | None,
        record: Mapping[str, Any],
        epoch_log: Log,
        readers: int = 0,
    ) -> None:
        self.task, self.engine, self.monitor, self.stop = task, engine, monitor, stop
        self.clip, self.record, self.log, self.count = clip, record, epoch_log, readers
        self.folder = None if folder is None else folder / CHECKPOINTS
        self.epoch = self.steps = self.seen = 0
        self.readers: Executor | None = None
        self.follower: Follows | None = None
        if isinstance(monitor.progress, Follows) and engine.ranks.first:
            self.follower = monitor.progress
        task.pictured = epoch_log.pictures_every > 0 or self.follower is not None

    def run(self) -> None:
        """Train until the epochs are over, early stopping, or a signal.

        Raises TrainingError when training diverges or collapses."""
        finished = False
        try:
            with reading(self.count, self.task.reading_computes) or nullcontext() as self.readers:
                while not (self.task.over(self.epoch, self.seen) or self.monitor.over):
                    self._one_epoch()
            finished = True
        except Stopped:
            if self.stop.signal is not None:
                log.warning("stopped by signal %s after the current step", self.stop.signal)
        finally:
            self.log.close(finished)

    def _one_epoch(self) -> None:
        works = self.task.works(self.epoch, self.seen)
        self.monitor.epoch_begins(self.epoch, len(works))
        metrics = {"train_loss": self._train(works)}
        self._validate()
        factor = self.monitor.schedule.factor(self.steps - 1)
        metrics |= self.task.metrics()
        metrics["learning_rate"] = self.task.rates["network"] * factor
        metrics = self._of_the_first(metrics)
        self.monitor.epoch_done(self.epoch, metrics)
        self.epoch += 1
        try:
            self.log.write(metrics, self.epoch)
            self._show(metrics[self.monitor.judged])
        finally:
            # A log that cannot be written must not cost the epoch.
            self._save()
        # Nobody reads what the first process has not written yet.
        self.engine.total(np.zeros(1))

    def _show(self, loss: float) -> None:
        """Let those who follow see what the epoch found."""
        found = self.task.found()
        if found is None:
            return
        every = self.log.pictures_every
        if every > 0 and self.epoch % every == 0:
            self.log.show(pictures_of(found.canvas), self.epoch)
        if self.follower is not None:
            self.follower.found(Step(self.epoch, loss, lambda: found))

    def _train(self, works: Sequence[Any]) -> float:
        """The batches of an epoch, shared by the processes that train together; their mean loss."""
        together, total, ranks = self.task.accumulated, 0.0, self.engine.ranks
        steps = [works[at : at + together] for at in range(0, len(works), together)]
        mine = [step[ranks.rank :: ranks.size] for step in steps]
        batches = self._batches([work for own in mine for work in own])
        number = 0
        for step, own in zip(steps, mine, strict=True):
            for batch in islice(batches, len(own)):
                inputs = self.task.inputs(batch)
                loss, seen = self.engine.accumulate(self.task.loss, inputs, 1 / together)
                check_loss(loss, self.epoch, number)
                total += loss
                self.task.watch(batch, seen, loss, validation=False)
                self.monitor.batch_done(loss, self.task.patterns(batch) * ranks.size)
                number += 1
            self._step()
            self.seen += len(step)
            self._check_stop()
        return float(self.engine.total(np.array(total))) / len(works)

    def _check_stop(self) -> None:
        """Raise Stopped when any of the processes has had a signal."""
        if self.engine.total(np.array(float(self.stop.signal is not None))) > 0:
            raise Stopped

    def _of_the_first(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The metrics that the first process found: all decide by the same numbers."""
        own = np.array([metrics[name] for name in sorted(metrics)])
        found = self.engine.total(own if self.engine.ranks.first else np.zeros_like(own))
        return dict(zip(sorted(metrics), found.tolist(), strict=True))

    def _step(self) -> None:
        factor = self.monitor.schedule.factor(self.steps)
        rates = {group: rate * factor for group, rate in self.task.rates.items()}
        self.engine.step(rates, self.clip)
        self.steps += 1
        self.task.stepped()

    def _validate(self) -> None:
        for batch in self._batches(self.task.validation()):
            loss, seen = self.engine.evaluate(self.task.loss, self.task.inputs(batch))
            self.task.watch(batch, seen, loss, validation=True)
            self._check_stop()

    def _batches(self, works: Sequence[Any]) -> Iterator[Any]:
        return read_ahead(self.task.read, works, self.readers, 2 * self.count)

    # --- checkpoints ------------------------------------------------------------------------------

    def _save(self) -> None:
        if self.folder is None or not self.engine.ranks.first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        backend = self.engine.xp.name
        if self.monitor.improved and self.task.keeps_best:
            best = Checkpoint(backend, {}, self.engine.values())
            write_checkpoint(self.folder / BEST, best)
        # Last, because a run goes on from it with all that was written before.
        engine, arrays = self.engine.state()
        state = {
            "epoch": self.epoch,
            "steps": self.steps,
            "seen": self.seen,
            "engine": engine,
            "monitor": self.monitor.state_dict(),
            RECORD: dict(self.record),
        }
        arrays |= self.task.arrays()
        write_checkpoint(self.folder / LAST, Checkpoint(backend, state, arrays))

    def resume(self, path: Path, earlier: Checkpoint) -> None:
        """Go on from the checkpoint that was read from ``path``.

        Raises InputError when it is damaged."""
        state = earlier.state
        try:
            self.epoch, self.steps, self.seen = (int(state[k]) for k in ("epoch", "steps", "seen"))
            self.monitor.load_state_dict(state["monitor"])
            self.engine.restore(state["engine"], earlier.arrays)
            self.task.restore(earlier.arrays)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            damaged(path, error)

    def take_best(self) -> None:
        """Go back to the variables of the best epoch so far.

        Raises InputError when their file is missing or damaged."""
        assert self.folder is not None  # a run that keeps the best epoch has a folder
        path, engine = self.folder / BEST, self.engine
        try:
            if engine.ranks.first:
                engine.assign(read_checkpoint(path).arrays)
        except ValueError as error:
            damaged(path, error)
        if engine.ranks.size > 1:
            own = engine.values()
            engine.assign(
                {k: engine.total(v if engine.ranks.first else 0 * v) for k, v in own.items()}
            )
