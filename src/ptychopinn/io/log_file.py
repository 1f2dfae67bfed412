"""The log of a command: kept until there is a place for it, then written beside the result."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from logging.handlers import MemoryHandler
from pathlib import Path

from ptychopinn.errors import InputError, reason
from ptychopinn.io.atomic import CannotWrite

# A sentence of the package as somebody else says it.
Wording = Callable[[str], str]


class _File(logging.FileHandler):
    """A log on disk; what cannot be written ends the command instead of printing a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.stream = None  # what could not be written is not tried again
        raise CannotWrite(Path(self.baseFilename), error.strerror or str(error)) from error


class Worded(logging.Formatter):
    """Warnings and errors in the words of whoever reads them, given by ``wording`` of a sentence.

    A single word, such as the name of a scan, is nobody's sentence and stays.
    """

    def __init__(self, form: str, wording: Wording) -> None:
        super().__init__(form)
        self._wording = wording

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        if record.levelno < logging.WARNING:
            return super().format(record)
        shown = copy(record)
        shown.msg = self._wording(str(record.msg))
        if isinstance(record.args, tuple):
            shown.args = tuple(map(self._argument, record.args))
        return super().format(shown)

    def _argument(self, value: object) -> object:
        if not isinstance(value, str | Exception):
            return value
        text = str(value)
        return self._wording(text) if " " in text else text


class LogFile:
    """Keeps the messages until a file is opened, so that a refused command writes nothing.

    ``wording`` says warnings as whoever reads the file would.
    """

    def __init__(self, logger: logging.Logger, wording: Wording = str) -> None:
        self._logger, self._wording = logger, wording
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
                f"the folder '{path.parent}' must be writable, received: {reason(error)}; choose "
                "another one."
            ) from error
        self._file.setFormatter(Worded("%(asctime)s %(levelname)s %(message)s", self._wording))
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
def kept_messages(wording: Wording = str) -> Iterator[LogFile]:
    """What the package says inside the block, for a file; warnings in the words of ``wording``."""
    logger = logging.getLogger("ptychopinn")
    level = logger.level
    logger.setLevel(logging.INFO)
    file = LogFile(logger, wording)
    try:
        yield file
    finally:
        file.close()
        logger.setLevel(level)
