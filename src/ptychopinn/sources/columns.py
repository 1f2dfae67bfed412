"""Tables in text files: separated by commas, semicolons, tabs or blanks, with or without names.

Where commas do not separate columns they may stand in numbers, as in 12,5. Columns of a table with
names may hold words, such as times; those are no numbers.
"""

from __future__ import annotations

import codecs
import csv
import logging
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.units import METRES, PIXELS, spelled
from ptychopinn.errors import InputError, brief, listed
from ptychopinn.io.reading import guarded
from ptychopinn.machine.memory import size_text

# A million positions with twenty columns.
LARGEST_TABLE = 512 << 20
# Thousands of columns, and any number of one.
LONGEST_LINE, LONGEST_NUMBER = 1 << 17, 10
# A row has at least a place in it.
LEAST_NUMBERS = 2
COMMENTS = ("#", "%", "//", "!")
# A column of a file of Online (.fio, PETRA III): number, name and type, each on a line of its own.
_COLUMN = re.compile(r"Col\s+\d+\s+(\S+)\s+[A-Z]+")
# Where a scan begins in a file of SPEC, with its number and its command.
_SCAN = re.compile(r"#S\s+(\d+)(\s.*)?")
# A number with a decimal comma, and one as Fortran writes it in double precision.
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
# Words for a number that is not there, and how those of a spreadsheet begin, as comments do too.
MISSING = ("-", "--", "na", "n/a", "null", "none")
_NO_RESULT = re.compile(r"#(n/a|num!|value!|div/0!|ref!|name\?|null!)", re.I)
_FORTRAN = re.compile(r"([+-]?\d*\.?\d*)[dD]([+-]?\d+)", re.ASCII)

_log = logging.getLogger("ptychopinn")


@dataclass(frozen=True)
class Table:
    """Numbers (rows, columns) and the names of the columns, if there are any.

    ``scan`` is the number that a file of SPEC gives to the scan they belong to.
    """

    path: Path
    names: tuple[str, ...]
    values: NDArray[np.float64]
    scan: str = ""

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
        if word.isdecimal() and len(word) < LONGEST_NUMBER and 1 <= int(word) <= count:
            return int(word) - 1
        there = listed(self.names) if self.names else f"{count} columns without names"
        raise InputError(
            f"a column of '{self.path}' was expected, received '{brief(word, 60)}' where there are "
            f"{there}; give a name, or a number from 1 to {count}."
        )


def read_table(path: Path, rows: int | None = None) -> Table:
    """Read a table.

    The names are the last comment, or the last line of words, before the first line of numbers;
    where that holds units only, those of the line before, with these units. Names may begin with
    the L of SPEC files, and stand one below the other in those of Online. Text is UTF-8, UTF-16
    with its mark, or else Latin-1.

    A file of SPEC may hold several scans: then the one is taken that alone has so many ``rows``,
    with a WARNING, or all of them where they are the lines of one.

    Raises
    ------
    InputError
        When the file is no text, a line holds another number of numbers than the first, or it
        cannot be told which scan is meant.
    """
    with guarded(path) as size:
        if size > LARGEST_TABLE:
            raise InputError(
                f"a table of at most {size_text(LARGEST_TABLE)} was expected, received "
                f"{size_text(size)} in '{path}'; keep the columns of the positions only."
            )
    blocks = [_Block(path)]
    for number, raw in enumerate(_lines(path), start=1):
        # Tabs alone separate cells without content.
        line = raw.strip() or raw.strip(" \r\n")
        begins = _SCAN.fullmatch(line)
        if begins is not None:
            blocks.append(_Block(path, begins[1]))
        else:
            blocks[-1].add(number, line)
    full = [block for block in blocks if block.width] or blocks[-1:]
    return _one_scan([block.table() for block in full], rows)


def _one_scan(tables: list[Table], rows: int | None) -> Table:
    first = tables[0]
    if len(tables) == 1:
        return first
    counts = [len(table.values) for table in tables]
    if sum(counts) == rows and len({(t.names, t.values.shape[1]) for t in tables}) == 1:
        return Table(first.path, first.names, np.concatenate([table.values for table in tables]))
    right = [table for table in tables if len(table.values) == rows]
    there = listed([f"{table.scan} ({len(table.values)} points)" for table in tables])
    if len(right) != 1:
        patterns = "" if rows is None else f" of {rows} points"
        raise InputError(
            f"the positions of one scan{patterns} were expected, received '{first.path}' with the "
            f"scans {there}; copy the lines of the right one into a file of its own."
        )
    _log.warning(
        "'%s' holds the scans %s: the positions are those of scan %s, which alone has as many "
        "points as there are patterns", first.path, there, right[0].scan,
    )  # fmt: skip
    return right[0]


class _Block:
    """The lines of one table as they come."""

    def __init__(self, path: Path, scan: str = "") -> None:
        self._path, self._scan = path, scan
        self._names: list[str] = []
        self._above: list[str] = []
        self._listed_below: list[str] = []
        # Numbers one after the other: a million rows of them as objects would not fit.
        self._found, self.width, self._named = array("d"), 0, 0
        # Whether rows are whole numbers with commas between them.
        self._commas = True
        # Rows without content since the last one, and the last line of words.
        self._empty, self._words = 0, ""

    def add(self, number: int, line: str) -> None:
        """Take the line of this number in the file."""
        mark = next((m for m in COMMENTS if line.startswith(m)), "")
        mark = "" if _NO_RESULT.match(line) else mark
        labels = re.split(r"\s{2,}", line[3:].strip()) if line.startswith("#L ") else []
        words = _words(line.removeprefix(mark).lstrip("#%/! ") if mark else line)
        if len(labels) > 1:
            # SPEC separates names by two blanks, so that one may stand in them.
            words = labels
        # A separator at the end separates nothing.
        while words and not words[-1] and len(words) > (self.width or len(self._names)):
            words.pop()
        if not any(words):
            # Of a row whose cells hold nothing the place is not known; at the end there is no row.
            self._empty += bool(self.width and len(words) > 1 and not mark)
            return
        column = _COLUMN.fullmatch(line)
        if column is not None and not self.width:
            self._listed_below.append(column[1])
            return
        values = None if mark else _numbers(words, self._named, 1 if self.width else LEAST_NUMBERS)
        if values is not None:
            self._commas = self._commas and "." not in line and "," in line
            self._add_row(number, values)
        elif self.width and not mark:
            raise InputError(
                f"line {number} of '{self._path}' must hold numbers, received "
                f"'{brief(line, 60)}'; correct the line or leave it out."
            )
        elif not self.width:
            self._above, self._names = self._names, words
            self._words = self._words if mark else f", but lines such as '{brief(line, 60)}'"
            # Numbers are no names: they are a row with a word in it, as all others are then.
            some = any(_number(name) is not None for name in words)
            self._named = 0 if some else len(words)

    def _add_row(self, number: int, values: list[float]) -> None:
        if self.width and len(values) != self.width:
            raise InputError(
                f"line {number} of '{self._path}' must hold {self.width} numbers as the lines "
                f"before, received {len(values)}; correct it."
            )
        self._found.extend([np.nan] * (self._empty * self.width))
        self._found.extend(values)
        self.width, self._empty = len(values), 0

    def table(self) -> Table:
        """What the lines hold.

        Raises
        ------
        InputError
            When none of them held numbers.
        """
        path, names = self._path, self._names
        if not self.width:
            there = next((word for word in names if _numbers([word]) is None), None)
            if there is not None and any(_numbers([word]) is not None for word in names):
                raise InputError(
                    f"a table of numbers was expected, received '{path}' with '{brief(there, 40)}' "
                    "among the numbers of a line; leave columns out that hold no numbers."
                )
            raise InputError(
                f"a table of numbers was expected, received '{path}' without any"
                f"{self._words}; write numbers only into the lines, or name another file."
            )
        if len(self._listed_below) == self.width:
            names = self._listed_below
        if len(names) == self.width + 1 and names[0] == "L":
            names = names[1:]
        units = [spelled(name) for name in names]
        if len(self._above) == len(names) and all(u in METRES or u == PIXELS for u in units):
            names = [f"{name} [{u}]" for name, u in zip(self._above, units, strict=True)]
        if len(names) > 1 and self.width == 2 * len(names) and self._commas:
            raise InputError(
                f"each of the columns {listed(names)} must hold one number, received '{path}' with "
                f"{self.width} numbers between commas, as if decimal commas stood in them; "
                "separate the columns by semicolons or tabs, or write decimal points."
            )
        if len(names) != self.width:
            names = []
        values = np.array(self._found, dtype=np.float64).reshape(-1, self.width)
        return Table(path, tuple(names), values, self._scan)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file.

    Raises
    ------
    InputError
        When it is no text, or a line is too long for a row of a table.
    """
    encoding = _encoding(path)
    with guarded(path), path.open(encoding=encoding, errors="surrogateescape") as file:
        number = 0
        while True:
            try:
                line = file.readline(LONGEST_LINE)
            except UnicodeDecodeError:
                line = "\0"
            if encoding == "utf-16" and line and not any(letter < "\x80" for letter in line):
                line = "\0"  # bytes that begin like such a text by chance
            if any("\udc80" <= letter <= "\udcff" for letter in line):
                line = line.encode("utf-8", "surrogateescape").decode("latin-1")
            number += 1
            if not line:
                return
            if "\0" in line:
                raise InputError(
                    f"a table of numbers as text was expected, received '{path}' which is no text; "
                    "give an HDF5, NPY, NPZ or MATLAB file as FILE:KEY."
                )
            if len(line) >= LONGEST_LINE:
                raise InputError(
                    f"line {number} of '{path}' must be a row of a table, received one of more "
                    f"than {LONGEST_LINE} characters; write one position per line."
                )
            yield line


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return (
            "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        )


def _words(line: str) -> list[str]:
    # A minus sign as it is printed.
    line = line.replace("\u2212", "-")
    parts = line.split()
    if len(parts) > 1 and all(map(_COMMA.fullmatch, parts)):
        return parts
    # What stands between quotes separates nothing.
    quoted = '"' in line
    between = re.sub(r'"[^"]*"', "", line) if quoted else line
    for separator in ("\t", ";", ","):
        if separator in between:
            cells = line.split(separator)
            if quoted:
                cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
            return [word.strip().strip("\"'") for word in cells]
    return parts


def _numbers(words: list[str], names: int = 0, least: int = 0) -> list[float] | None:
    """The numbers of a row; None for what is none.

    Where it has as many words as there are ``names`` and at least so many numbers, NaN stands for
    the others, such as a time or an empty cell. Words that say that a number is missing may be all
    of a row that has as many as names, or of any row of a table, of which one number is asked.
    """
    numbers = [_number(word) for word in words]
    known = len(words) - numbers.count(None)
    others = [word for word, number in zip(words, numbers, strict=True) if number is None]
    missing = all(word.casefold() in MISSING or _NO_RESULT.fullmatch(word) for word in others)
    alike = len(words) == names
    told = missing and (alike or least == 1 or known >= LEAST_NUMBERS)
    if others and not told and not (alike and known >= least):
        return None
    return [np.nan if number is None else number for number in numbers]


def _number(word: str) -> float | None:
    word = word.replace(",", ".") if _COMMA.fullmatch(word) else word
    double = _FORTRAN.fullmatch(word)
    word = f"{double[1]}e{double[2]}" if double else word
    try:
        # Python would read 1_000 as a number, too.
        return None if "_" in word else float(word)
    except ValueError:
        return None
