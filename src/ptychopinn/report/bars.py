"""A progress bar in a terminal or a notebook."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ptychopinn.contracts import Glance

# Letters of a bar in a notebook.
NOTEBOOK_BAR = 20


class ProgressBar:
    """Draws how epochs of a training or passes over a scan advance: number, loss, patterns per
    second, time left until the last one is over.

    Parameters
    ----------
    epochs : how many there will be, at most.
    start : called when the first one begins: by then everything has been checked.
    unit, loss : what an epoch and its loss are called; without a loss, None.
    """

    def __init__(
        self,
        console: Console,
        epochs: int,
        quiet: bool = False,
        start: Callable[[], None] | None = None,
        unit: str = "epoch",
        loss: str | None = "loss",
    ) -> None:
        self.epochs, self.unit = epochs, unit
        self._start = start
        self._log = logging.getLogger(__name__)
        self._bar = Progress(
            TextColumn("{task.description}"),
            _bar_column(console),
            *([] if loss is None else [TextColumn(loss + " {task.fields[loss]}")]),
            TextColumn("{task.fields[rate]} patterns/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not (console.is_terminal or console.is_jupyter),
        )
        self._task: TaskID | None = None
        self._steps, self._before = 1, 0
        self._begun = self._done = 0

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self) -> None:
        """Call ``start``, once."""
        start, self._start = self._start, None
        if start is not None:
            start()

    def epoch(self, number: int, steps: int) -> None:
        self.begin()
        title = f"{self.unit} {number + 1}/{self.epochs}"
        self._steps = steps
        if self._task is None:
            # A run that goes on begins here: what was done before took no time.
            self._before = number
            total = self.epochs - number
            self._task = self._bar.add_task(title, total=total, loss="-", rate="-")
        self._begun, self._done = number - self._before, 0
        self._bar.update(self._task, description=title, completed=self._begun)

    def step(self, loss: float, patterns_per_s: float) -> None:
        self._done += 1
        if self._task is not None:
            self._bar.update(
                self._task,
                completed=self._begun + self._done / self._steps,
                loss=f"{loss:.4g}" if isfinite(loss) else "-",
                rate=_rate(patterns_per_s),
            )

    def meanwhile(self, number: int, share: float, glance: Callable[[], Glance]) -> None:
        """So much of pass ``number`` (from 1) is done."""
        if self._task is not None:
            self._bar.update(self._task, completed=self._begun + share)

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        shown = ("train_loss", "val_loss", "residual", "correlation", "misfit")
        text = ", ".join(f"{name} {metrics[name]:.4g}" for name in shown if name in metrics)
        if text:
            self._log.info("%s %d/%d: %s", self.unit, number + 1, self.epochs, text)


class ScansBar:
    """Draws how many of many scans are done, and how many of them failed or fit poorly."""

    def __init__(self, console: Console, count: int, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            _bar_column(console),
            TextColumn("{task.completed:.0f}/{task.total:.0f} scans{task.fields[bad]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not (console.is_terminal or console.is_jupyter),
        )
        self._task = self._bar.add_task("", total=count, bad="")
        self._bad = 0

    def __enter__(self) -> ScansBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, row: Any) -> None:
        self._bad += row["verdict"] in ("poor", "failed")
        bad = f", {self._bad} failed or poor" if self._bad else ""
        self._bar.update(self._task, advance=1, bad=bad, description=escape(row["name"][:40]))


def passes_shown(console: Console, quiet: bool) -> Callable[[int], ProgressBar]:
    """A bar for every stage that makes so many passes over a scan."""
    return partial(ProgressBar, console, quiet=quiet, unit="pass", loss="misfit")


def _bar_column(console: Console) -> BarColumn:
    """As wide as the terminal allows. A notebook says nothing of its width: the words are short."""
    return BarColumn(bar_width=NOTEBOOK_BAR if console.is_jupyter else None)


def _rate(per_s: float) -> str:
    """Never 0 while something advances."""
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.2g}"
