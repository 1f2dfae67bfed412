"""The border of the commands: what nobody foresaw ends as one sentence too, and whatever a name
holds can be shown."""

from __future__ import annotations

import io
import os
import sys
import traceback

import click

from ptychopinn.errors import brief

# Set to anything, it shows where an unexpected error came from.
DEBUG = "PTYCHOPINN_DEBUG"
UNEXPECTED = 2
# As the shell says it of programs whose reader went away, such as head.
READER_GONE = 128 + 13


def show_any_letter() -> None:
    """Let letters that the terminal or the file behind a stream cannot hold be shown as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flushed(program: str, code: int) -> int:
    """``code``, once all that was printed has arrived; the code of the error when it has not."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return ended(program, error)
    return code


def ended(program: str, error: Exception) -> int:
    """Say what went wrong in one sentence, and give the exit code."""
    if isinstance(error, OSError):
        output = error.filename is None and sys.stdout is not None and _output_fails()
        if isinstance(error, BrokenPipeError) and output:
            return READER_GONE
        text = _of_system(error, output)
    elif isinstance(error, MemoryError):
        text = (
            f"the work must fit into memory, received more than there is "
            f"({brief(error) or 'memory exhausted'}); use fewer or smaller patterns, or a machine "
            "with more."
        )
    else:
        text = (
            "no such error was expected, received "
            f"{type(error).__name__} ({brief(error) or 'without a text'}), a fault of this "
            f"program: please report it with what the command shows when {DEBUG}=1 is set."
        )
    if os.environ.get(DEBUG):
        text = f"{traceback.format_exc()}\n{program}: {text}"
    else:
        text = f"{program}: {text}"
    click.echo(text, err=True)
    return UNEXPECTED


def _output_fails() -> bool:
    """Whether standard output cannot be written to; then nothing more is written there."""
    try:
        # Nothing but an attempt tells: what failed once has been thrown away by Python.
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        # What is still held would be tried, and complained about, when Python ends.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
        return True
    return False


def _of_system(error: OSError, output: bool) -> str:
    reason = brief(error.strerror or error)
    if output:
        return (
            f"what the command shows must be written to standard output, received: {reason}; make "
            "room there, or send it elsewhere; files that were due before it are there."
        )
    if error.filename is None:
        return f"the system must do what the command asks, received: {reason}; see what it lacks."
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return (
        f"the file or folder '{brief(name)}' must be usable, received: {reason}; check its name, "
        "its rights and the room that is left."
    )
