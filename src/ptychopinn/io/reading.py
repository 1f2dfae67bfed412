"""Files from outside: what is checked before they are opened, and the border round every parser.

A file may be anything: cut off, flipped bits, made to exhaust the memory, or no file at all. Each
reader opens it with :func:`guarded` and asks :func:`check_size` before it takes memory.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

from ptychopinn.errors import InputError, PtychoPINNError, brief
from ptychopinn.machine.memory import check_memory, size_text

# No lossless compression of measured patterns reaches this: deflate ends at 1032. An array that is
# larger than SMALL and declares more than this many times its stored bytes is not really there.
LARGEST_RATIO = 1100
SMALL = 128 << 20
LONGEST_INTEGER = 100


def kind_of(path: Path) -> Literal["nothing", "file", "folder"]:
    """What is at ``path``.

    Raises
    ------
    InputError
        For what no reader may open (a pipe, a socket, a device: reading could wait for ever), and
        for a name that the system refuses (too long, a circle of links, no permission).
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"the name of a file was expected, received '{brief(path)}', which cannot be opened: "
            f"{reason}; check the path."
        ) from error
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    raise InputError(
        f"a regular file was expected, received '{path}', which is a pipe, a socket or a device; "
        "write its content to a file first."
    )


def require_file(path: Path) -> int:
    """The size in bytes of the regular file ``path``.

    Raises
    ------
    InputError
        When there is none, or it is of another kind.
    """
    kind = kind_of(path)
    if kind == "nothing":
        raise InputError(
            f"an existing file was expected, received '{path}' which does not exist; "
            "check the path."
        )
    if kind == "folder":
        raise InputError(f"a file was expected, received the folder '{path}'; name a file in it.")
    return path.stat().st_size


def damaged(path: Path, reason: object) -> InputError:
    """The error for a file whose content cannot be read to its end."""
    return InputError(
        f"a complete file was expected, received '{path}' which is damaged or truncated "
        f"({brief(reason)}); copy or write it again."
    )


# What HDF5 says of a file that is being written, or was not closed, and of a lock on it.
_WRITING = ("already open for write", "unable to lock file")


def _unfinished(path: Path) -> InputError:
    """The error for an HDF5 file that another program writes, or did not close."""
    return InputError(
        f"a file that nobody writes was expected, received '{path}' which another program has open "
        "for writing, or left so when it was stopped; wait until it is closed, and if no program "
        "writes it any more, type: h5clear -s FILE, of the tools of HDF5, or write it again."
    )


@contextmanager
def guarded(path: Path) -> Iterator[int]:
    """Open and parse the regular file ``path`` inside this block; see :func:`parsing`.

    Yields the size of the file in bytes.

    Raises
    ------
    InputError
        Also when ``path`` is missing, a folder, a pipe or a device.
    """
    size = require_file(path)
    with parsing(path):
        yield size


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """The border round a parser: whatever it raises on the bytes of ``path`` becomes InputError.

    Parsers raise nearly every class of exception on hostile bytes, so all are caught here, and only
    here. Errors that are a sentence already pass.

    Raises
    ------
    InputError
        With the cause as the parser gave it.
    """
    try:
        yield
    except PtychoPINNError:
        raise
    except MemoryError as error:
        raise InputError(
            f"the content of '{path}' must fit into memory, received more than there is "
            f"({brief(error) or 'memory exhausted'}); use a part of it, or a machine with more."
        ) from error
    except RecursionError as error:
        raise damaged(path, "nested too deeply") from error
    except PermissionError as error:
        raise InputError(
            f"a readable file was expected, received '{path}': {error.strerror}; check its rights."
        ) from error
    except Exception as error:
        if any(words in str(error) for words in _WRITING):
            raise _unfinished(path) from error
        raise damaged(path, str(error) or type(error).__name__) from error


def read_json(path: Path, limit: int = 16 << 20) -> dict[str, Any]:
    """The mapping in a JSON file of at most ``limit`` bytes.

    Raises
    ------
    InputError
        When the file is missing, larger, or anything else.
    """
    with guarded(path) as size:
        content = parse_json(path.read_bytes()) if size <= limit else None
    if not isinstance(content, dict):
        raise InputError(
            f"a JSON file with a mapping of at most {size_text(limit)} was expected, received "
            f"'{path}' which holds another thing; use a file written by this program."
        )
    return content


def parse_json(content: bytes) -> Any:
    """Strict JSON that every reader can take: UTF-8, no repeated keys, finite numbers only.

    Raises
    ------
    ValueError
        When the text is anything else, or nested too deeply.
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short_integer,
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a key occurs twice")
    return mapping


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{brief(text, 40)} is not a finite number")
    return value


def _short_integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def check_declared(declared: int, stored: int, what: str) -> None:
    """Raise InputError for an array that is declared only.

    ``declared`` is its size in memory, ``stored`` what the file holds of it, both in bytes.
    """
    if declared > max(SMALL, LARGEST_RATIO * stored):
        raise InputError(
            f"{what} must be stored in the file, received {size_text(declared)} that are declared "
            f"and {size_text(stored)} that are there; write the file again."
        )


def check_size(declared: int, stored: int, what: str) -> None:
    """The same for an array that is read whole, and must fit into the memory."""
    check_declared(declared, stored, what)
    check_memory(declared, what, "use a part of the scan, or a machine with more")
