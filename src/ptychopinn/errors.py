"""Errors a user can act on.

Every message is one sentence: what was expected, what was received, and the remedy.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path, PurePath

# Set to anything, it shows where an unexpected error came from.
DEBUG = "PTYCHOPINN_DEBUG"


class PtychoPINNError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what a command ends with."""

    exit_code = 1


class InputError(PtychoPINNError, ValueError):
    """The data, the options or a file given by the user cannot be used (exit code 2)."""

    exit_code = 2


class PatternShapeError(InputError):
    """Patterns that are not square, or not of an even N that is supported (exit code 2).

    ``frame`` is their size (height, width), where it is known.
    """

    frame: tuple[int, int] | None = None


class MissingDependencyError(InputError):
    """An optional dependency is needed and not installed (exit code 2)."""


class TrainingError(PtychoPINNError, RuntimeError):
    """Training was stopped because it diverged, collapsed or met a NaN (exit code 1)."""


class PoorFitError(PtychoPINNError, RuntimeError):
    """The result was written, but it does not explain the measured patterns (exit code 3)."""

    exit_code = 3


class _Short(reprlib.Repr):
    """``repr`` at bounded cost, whatever is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 6
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write integers of thousands of digits, and takes long for them.
        bits = x.bit_length()
        return f"an integer of {bits} bits" if bits > 256 else repr(x)

    def repr_PosixPath(self, path: PurePath, level: int) -> str:
        return repr(str(path))

    repr_WindowsPath = repr_PosixPath


def brief(text: object, limit: int = 200) -> str:
    """A text on one line, printable and not longer than ``limit`` characters."""
    words = str(text)[: 20 * limit].split()
    line = "".join(c if c.isprintable() else "?" for c in " ".join(words))
    return line if len(line) <= limit else line[: limit - 3] + "..."


def shown(value: object, limit: int = 80) -> str:
    """A value from outside as it is quoted in a message: like ``repr``, but always short."""
    return brief(_Short().repr(value), limit)


def listed(names: Iterable[object], limit: int = 200) -> str:
    """Names from outside, separated by commas and cut where there are many; "none" for none."""
    return brief(", ".join(str(name)[:limit] for name in islice(names, 50)) or "none", limit)


def reason(error: OSError) -> str:
    """Why a file or folder could not be made; a link to what is not there is no place for one."""
    if isinstance(error, FileExistsError) and error.filename is not None:
        path = Path(os.fsdecode(error.filename))
        if path.is_symlink():
            return f"a link to '{brief(path.readlink())}', which is not there"
    return error.strerror or str(error)


def unforeseen(error: Exception) -> str:
    """One sentence for an error that nobody raised on purpose."""
    if isinstance(error, MemoryError):
        return (
            f"the work must fit into memory, received more than there is "
            f"({brief(error) or 'memory exhausted'}); use fewer or smaller patterns, or a machine "
            "with more."
        )
    if not isinstance(error, OSError):
        return (
            "no such error was expected, received "
            f"{type(error).__name__} ({brief(error) or 'without a text'}), a fault of this "
            f"program: please report it with what the command shows when {DEBUG}=1 is set, and "
            "what ptychopinn doctor tells of this machine."
        )
    why = brief(reason(error))
    if error.filename is None:
        return f"the system must do what the command asks, received: {why}; see what it lacks."
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return (
        f"the file or folder '{brief(name)}' must be usable, received: {why}; check its name, "
        "its rights and the room that is left."
    )


def first_line(error: Exception) -> str:
    """The message of an error of a library, without where it arose."""
    return str(error).partition("\n")[0]
