"""The border of the commands: unforeseen errors end as one sentence too, names with any letters
can be shown, and options are written as flags."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from ptychopinn.errors import DEBUG, InputError, brief, unforeseen

UNEXPECTED = 2
# As the shell says it of programs whose reader went away, such as head.
READER_GONE = 128 + 13


def beside(
    parameters: Sequence[click.Parameter], own: Sequence[click.Parameter]
) -> list[click.Parameter]:
    """Those parameters of another command that are not one's own as well."""
    known = {parameter.name for parameter in own}
    return [parameter for parameter in parameters if parameter.name not in known]


def as_flags(text: str, parameters: Sequence[click.Parameter], of: str = "") -> str:
    """A message of the package with the options of a command as its flags.

    The package calls them as Python does. Rewritten are ``NAME=VALUE``, ``option NAME`` and names
    with an underscore, where they are options of the command; all other words may be ordinary ones,
    and what is quoted is somebody else's. A message about the content of a file, or about a word
    that is no option, speaks of keys. ``of`` is the command, where it is not the one that runs.
    """
    options = {p.name: p for p in parameters if isinstance(p, click.Option) and p.name}
    if not options:
        return text
    names = "|".join(sorted(map(re.escape, options), key=len, reverse=True))
    whose = f" (of {of})" if of else ""
    of_keys = text.startswith("in '") or "' is not an option" in text

    def flag_of(name: str) -> str:
        words = options[name].opts
        return next((word for word in words if word.startswith("--")), words[0])

    def flag(found: re.Match[str]) -> str:
        option, value, long = options[found["name"]], found["value"], flag_of(found["name"])
        if value == "True":
            return long + whose
        if value == "False":
            return option.secondary_opts[0] + whose if option.secondary_opts else found[0]
        if value:
            return (long if value == "..." else f"{long} {value.strip(chr(39))}") + whose
        marked = found["marked"] or ("_" in found["name"] and not of_keys)
        return long + whose if marked else found[0]

    def flags_of(listed: re.Match[str]) -> str:
        return re.sub(rf"(?<![\w./])(?:{names})(?![\w.])", lambda word: flag_of(word[0]), listed[1])

    several = rf"(?:the )?options ((?:{names})(?:(?:, | and )\w+)+|(?:{names})\b)"
    text = re.sub(several, flags_of, text)
    pattern = (
        r"(?<![\w./'\"-])(?P<marked>(?:the )?option (?:\w+\.)?)?(?P<name>"
        + names
        + r")(?:=(?P<value>'[^']*'|\.\.\.|[^\s,;()']*[^\s,;().']))?(?![\w/'\"=-]|\.\w)"
    )
    return re.sub(pattern, flag, text)


def typed(text: str, parameters: Sequence[click.Parameter]) -> str:
    """A message with options of this command, or else of the command refine, as flags.

    What helps against a fit that is not good is often an option of that one.
    """
    text = as_flags(text, parameters)
    if not re.search(r"\boption [a-z_]+", text):
        return text
    from ptychopinn.cli.refine import command

    return as_flags(text, beside(command.params, parameters), "ptychopinn refine")


def show_any_letter() -> None:
    """Let letters that the terminal or the file behind a stream cannot hold be shown as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def check_working_folder() -> None:
    """Raise InputError in a folder that was removed: there libraries end the process by themselves,
    in words of their own."""
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(
            "a command must run in a folder that exists, received one that was removed or cannot "
            "be read; change to another folder."
        ) from error


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
        output = error.filename is None and sys.stdout is not None and _output_fails(error)
        if isinstance(error, BrokenPipeError) and output:
            return READER_GONE
        text = _of_system(error, output)
    else:
        text = unforeseen(error)
    if os.environ.get(DEBUG):
        text = f"{traceback.format_exc()}\n{program}: {text}"
    else:
        text = f"{program}: {text}"
    click.echo(text, err=True)
    return UNEXPECTED


def let_go(error: BaseException) -> None:
    """Free what the frames of an error still hold, which are never looked at again.

    A virtual dataset of HDF5 that is still held when the process ends makes HDF5 crash then.
    """
    left: list[BaseException | None] = [error]
    known: set[int] = set()
    while left:
        one = left.pop()
        # Errors that were raised anew within one another may lead in a circle.
        if one is not None and id(one) not in known:
            known.add(id(one))
            traceback.clear_frames(one.__traceback__)
            left += [one.__cause__, one.__context__]


def _output_fails(error: OSError) -> bool:
    """Whether standard output cannot be written to; then nothing more is written there."""
    # The libraries of files leave out the number of an error; a pipe that is gone says it.
    if error.errno not in (errno.EPIPE, errno.EIO) and not _has_room_to_lose():
        return False
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


def _has_room_to_lose() -> bool:
    """Whether standard output is a file or device that can be full; terminals and pipes cannot."""
    try:
        number = sys.stdout.fileno()
    except io.UnsupportedOperation:
        return False
    return not (os.isatty(number) or stat.S_ISFIFO(os.fstat(number).st_mode))


def _of_system(error: OSError, output: bool) -> str:
    if not output:
        return unforeseen(error)
    return (
        f"what the command shows must be written to standard output, received: "
        f"{brief(error.strerror or error)}; make room there, or send it elsewhere; files that were "
        "due before it are there."
    )
