"""The log of a command: kept until there is a place for it, then written beside the result."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import MemoryHandler
from pathlib import Path

from ptychopinn.errors import InputError
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
def kept_messages() -> Iterator[LogFile]:
    """What the package says inside the block, for a file."""
    logger = logging.getLogger("ptychopinn")
    level = logger.level
    logger.setLevel(logging.INFO)
    file = LogFile(logger)
    try:
        yield file
    finally:
        file.close()
        logger.setLevel(level)
