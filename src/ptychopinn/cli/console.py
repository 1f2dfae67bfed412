"""What a running command shows: messages, a log file, a progress bar."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


@contextmanager
def logging_to(path: Path | None, console: Console, quiet: bool = False) -> Iterator[None]:
    """Send messages of the package to ``console`` and to the file ``path`` inside the block."""
    logger = logging.getLogger("ptychopinn")
    level = logger.level
    shown = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    shown.setLevel(logging.WARNING if quiet else logging.INFO)
    handlers: list[logging.Handler] = [shown]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, mode="a", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(file)
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


class ProgressBar:
    """Draws the training: epoch, step, loss, patterns per second, time left."""

    def __init__(self, console: Console, epochs: int) -> None:
        self.epochs = epochs
        self._log = logging.getLogger(__name__)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} patterns/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def epoch(self, number: int, steps: int) -> None:
        title = f"epoch {number + 1}/{self.epochs}"
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(title, total=steps, loss="-", rate="-")

    def step(self, loss: float, patterns_per_s: float) -> None:
        if self._task is not None:
            self._bar.update(
                self._task, advance=1, loss=f"{loss:.4g}", rate=f"{patterns_per_s:.0f}"
            )

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        shown = ("train_loss", "val_loss", "residual", "correlation")
        text = ", ".join(f"{name} {metrics[name]:.4g}" for name in shown if name in metrics)
        self._log.info("epoch %d/%d: %s", number + 1, self.epochs, text)


def stderr() -> Console:
    """The console for messages; results go to standard output."""
    return Console(file=sys.stderr)
