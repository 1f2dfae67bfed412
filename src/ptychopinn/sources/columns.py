"""Tables in text files: separated by commas, semicolons, tabs or blanks, with or without names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, brief, listed
from ptychopinn.io.reading import guarded
from ptychopinn.machine.memory import size_text

# A million positions with twenty columns.
LARGEST_TABLE = 512 << 20
COMMENTS = ("#", "%", "//", "!")


@dataclass(frozen=True)
class Table:
    """Numbers (rows, columns) and the names of the columns, if there are any."""

    path: Path
    names: tuple[str, ...]
    values: NDArray[np.float64]

    def column(self, name: str) -> int:
        """The number, from 0, of a column that is named, or numbered from 1.

        Raises
        ------
        InputError
            When there is none.
        """
        word = name.strip()
        if word in self.names:
            return self.names.index(word)
        count = self.values.shape[1]
        if word.isdigit() and 1 <= int(word) <= count:
            return int(word) - 1
        there = listed(self.names) if self.names else f"{count} columns without names"
        raise InputError(
            f"a column of '{self.path}' was expected, received '{brief(word, 60)}' where there are "
            f"{there}; give a name, or a number from 1 to {count}."
        )


def read_table(path: Path) -> Table:
    """Read a table.

    The names are the last comment, or the only line of words, before the first line of numbers.

    Raises
    ------
    InputError
        When the file is no text, or a line holds another number of numbers than the first.
    """
    with guarded(path) as size:
        if size > LARGEST_TABLE:
            raise InputError(
                f"a table of at most {size_text(LARGEST_TABLE)} was expected, received "
                f"{size_text(size)} in '{path}'; keep the columns of the positions only."
            )
        content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"a table of numbers as text was expected, received '{path}' which is no text; give "
            "an HDF5, NPY, NPZ or MATLAB file as FILE:KEY."
        ) from error
    if "\0" in text:
        raise InputError(
            f"a table of numbers as text was expected, received '{path}' which is no text; give "
            "an HDF5, NPY, NPZ or MATLAB file as FILE:KEY."
        )
    names: list[str] = []
    rows: list[list[float]] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        mark = next((m for m in COMMENTS if line.startswith(m)), "")
        words = _words(line.removeprefix(mark).lstrip("#%/! ") if mark else line)
        if not words:
            continue
        values = None if mark else _numbers(words)
        if values is None:
            if rows and not mark:
                raise InputError(
                    f"line {number} of '{path}' must hold numbers, received '{brief(line, 60)}'; "
                    "correct the line or leave it out."
                )
            if not rows:
                names = words
            continue
        if rows and len(values) != len(rows[0]):
            raise InputError(
                f"line {number} of '{path}' must hold {len(rows[0])} numbers as the lines before, "
                f"received {len(values)}; correct it."
            )
        rows.append(values)
    if not rows:
        raise InputError(
            f"a table of numbers was expected, received '{path}' without any; name another file."
        )
    if len(names) != len(rows[0]):
        names = []
    return Table(path, tuple(names), np.array(rows, dtype=np.float64))


def _words(line: str) -> list[str]:
    for separator in ("\t", ";", ","):
        if separator in line:
            return [word.strip().strip("\"'") for word in line.split(separator) if word.strip()]
    return line.split()


def _numbers(words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None
