"""What a running command shows: messages, and a log file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.logging import RichHandler

from ptychopinn.cli.border import as_flags
from ptychopinn.errors import PtychoPINNError
from ptychopinn.io.log_file import LogFile, kept_messages


@contextmanager
def logging_to(console: Console, quiet: bool = False) -> Iterator[LogFile]:
    """Send the messages of the package to ``console`` and to the yielded file inside the block."""
    logger = logging.getLogger("ptychopinn")
    shown: logging.Handler
    if console.is_terminal:
        shown = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    else:
        shown = logging.StreamHandler(console.file)
        shown.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    shown.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.addHandler(shown)
    try:
        with kept_messages() as file:
            try:
                yield file
            except PtychoPINNError as error:
                # The command line shows it; the file must know too.
                context = click.get_current_context(silent=True)
                parameters = [] if context is None else context.command.params
                file.note(logging.ERROR, as_flags(str(error), parameters))
                raise
    finally:
        logger.removeHandler(shown)
        shown.close()


def stderr() -> Console:
    """The console for messages; results go to standard output."""
    return Console(file=sys.stderr)


def command_line() -> list[str]:
    """The arguments of the running command."""
    context = click.get_current_context(silent=True)
    return sys.argv[1:] if context is None or context.obj is None else list(context.obj)
