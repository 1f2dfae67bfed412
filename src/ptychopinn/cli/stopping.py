"""What a command still does after Ctrl-C or SIGTERM: it saves what is finished."""

from __future__ import annotations

import logging
from collections.abc import Callable

import click

from ptychopinn.errors import PoorFitError
from ptychopinn.machine.interruption import StopFlag


def saved(stop: StopFlag, write: Callable[[], None]) -> int:
    """Write the result; the exit code of the command.

    Raises
    ------
    PoorFitError
        When the result does not explain the patterns and nobody stopped it.
    """
    if stop.signal is not None:
        logging.getLogger(__name__).warning(
            "stopped by signal %d: what was finished by then is saved", stop.signal
        )
    try:
        write()
    except PoorFitError as error:
        if stop.signal is None:
            raise
        # No surprise here; the code says that it was stopped.
        click.echo(f"ptychopinn: {error}", err=True)
    return 0 if stop.signal is None else 128 + stop.signal
