"""What a running command shows: messages, and a log file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import click
from rich.console import Console
from rich.logging import RichHandler

from ptychopinn.cli.border import typed
from ptychopinn.errors import PtychoPINNError
from ptychopinn.io.log_file import LogFile, Worded, kept_messages


@contextmanager
def logging_to(console: Console, quiet: bool = False) -> Iterator[LogFile]:
    """Send the messages of the package to ``console`` and to the yielded file inside the block;
    warnings call options what the running command calls them."""
    logger = logging.getLogger("ptychopinn")
    context = click.get_current_context(silent=True)
    # Messages come from other threads as well, which have no context.
    wording = partial(typed, parameters=[] if context is None else context.command.params)
    shown: logging.Handler
    if console.is_terminal:
        shown = RichHandler(console=console, show_path=False, show_time=False, markup=False)
        shown.setFormatter(Worded("%(message)s", wording))
    else:
        shown = logging.StreamHandler(console.file)
        shown.setFormatter(Worded("%(levelname)s %(message)s", wording))
    shown.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.addHandler(shown)
    try:
        with kept_messages(wording) as file:
            try:
                yield file
            except PtychoPINNError as error:
                # The command line shows it; the file must know too.
                file.note(logging.ERROR, str(error))
                raise
    finally:
        logger.removeHandler(shown)
        shown.close()


def show_warnings() -> None:
    """Show the warnings of the package until the running command ends."""
    click.get_current_context().with_resource(logging_to(stderr(), quiet=True))


def stderr() -> Console:
    """The console for messages; results go to standard output."""
    return Console(file=sys.stderr)


def command_line() -> list[str]:
    """The arguments of the running command."""
    context = click.get_current_context(silent=True)
    return sys.argv[1:] if context is None or context.obj is None else list(context.obj)
