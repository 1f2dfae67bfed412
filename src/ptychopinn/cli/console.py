"""What a running command shows: messages, a log file, a progress bar."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from logging.handlers import MemoryHandler
from math import isfinite
from pathlib import Path

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ptychopinn.errors import InputError, PtychoPINNError
from ptychopinn.io.atomic import CannotWrite


class _File(logging.FileHandler):
    """A log on disk; what cannot be written ends the command instead of printing a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.stream = None  # what could not be written is not tried again
        raise CannotWrite(Path(self.baseFilename), error.strerror or str(error)) from error


class LogFile:
    """Keeps the messages until a file is opened, so that a refused command writes nothing."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._held = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1)
        self._file: logging.FileHandler | None = None
        logger.addHandler(self._held)

    def open(self, path: Path, append: bool = False) -> None:
        """Write the messages so far, and all that follow, to ``path``; its folder is made.

        Raises
        ------
        InputError
            When that is not possible.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A name that is no text may be part of a message.
            self._file = _File(
                path, mode="a" if append else "w", encoding="utf-8", errors="backslashreplace"
            )
        except OSError as error:
            raise InputError(
                f"the folder '{path.parent}' must be writable, received: {error.strerror}; choose "
                "another one."
            ) from error
        self._file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._held.setTarget(self._file)
        self._held.flush()
        self._logger.removeHandler(self._held)
        self._logger.addHandler(self._file)

    def note(self, level: int, message: str) -> None:
        """A message for the file only."""
        if self._file is not None:
            record = self._logger.makeRecord(self._logger.name, level, "", 0, message, (), None)
            # It is the last message of a command that fails for a reason of its own.
            with suppress(CannotWrite):
                self._file.handle(record)

    def close(self) -> None:
        """Stop listening."""
        for handler in (self._held, self._file):
            if handler is not None:
                self._logger.removeHandler(handler)
                handler.close()


@contextmanager
def logging_to(console: Console, quiet: bool = False) -> Iterator[LogFile]:
    """Send the messages of the package to ``console`` and to the yielded file inside the block."""
    logger = logging.getLogger("ptychopinn")
    level = logger.level
    shown: logging.Handler
    if console.is_terminal:
        shown = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    else:
        shown = logging.StreamHandler(console.file)
        shown.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    shown.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.addHandler(shown)
    logger.setLevel(logging.INFO)
    file = LogFile(logger)
    try:
        yield file
    except PtychoPINNError as error:
        # The command line shows it; the file must know too.
        file.note(logging.ERROR, str(error))
        raise
    finally:
        file.close()
        logger.removeHandler(shown)
        shown.close()
        logger.setLevel(level)


class ProgressBar:
    """Draws how epochs of a training or passes over a scan advance: number, loss, patterns per
    second, time left until the last one is over.

    Parameters
    ----------
    epochs : how many there will be, at most.
    start : called when the first one begins: by then everything has been checked.
    unit, loss : what an epoch and its loss are called.
    """

    def __init__(
        self,
        console: Console,
        epochs: int,
        quiet: bool = False,
        start: Callable[[], None] | None = None,
        unit: str = "epoch",
        loss: str = "loss",
    ) -> None:
        self.epochs, self.unit = epochs, unit
        self._start = start
        self._log = logging.getLogger(__name__)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn(loss + " {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} patterns/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._steps, self._before = 1, 0

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
        self._bar.update(self._task, description=title, completed=number - self._before)

    def step(self, loss: float, patterns_per_s: float) -> None:
        if self._task is not None:
            self._bar.update(
                self._task,
                advance=1 / self._steps,
                loss=f"{loss:.4g}" if isfinite(loss) else "-",
                rate=_rate(patterns_per_s),
            )

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        shown = ("train_loss", "val_loss", "residual", "correlation", "misfit")
        text = ", ".join(f"{name} {metrics[name]:.4g}" for name in shown if name in metrics)
        if text:
            self._log.info("%s %d/%d: %s", self.unit, number + 1, self.epochs, text)


def passes_shown(console: Console, quiet: bool) -> Callable[[int], ProgressBar]:
    """A bar for every stage that makes so many passes over a scan."""
    return partial(ProgressBar, console, quiet=quiet, unit="pass", loss="misfit")


def _rate(per_s: float) -> str:
    """Never 0 while something advances."""
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.2g}"


def stderr() -> Console:
    """The console for messages; results go to standard output."""
    return Console(file=sys.stderr)


def command_line() -> list[str]:
    """The arguments of the running command."""
    context = click.get_current_context(silent=True)
    return sys.argv[1:] if context is None or context.obj is None else list(context.obj)
