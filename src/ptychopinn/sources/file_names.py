"""What the names of the files of a scan tell: their order, and which of them are missing or odd."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from ptychopinn.data.findings import Finding
from ptychopinn.errors import listed

ORDER: Final = "source-order"
# Files that may be missing among those that names count.
MOST_MISSING = 20
# The share of files at most that may have a name of another form.
MOST_ODD = 0.1
_HEXADECIMAL = re.compile(r"[0-9a-f]+")
# A sign, where it joins no words.
_MINUS = r"(?<![0-9a-z])-(?=[0-9])"


def by_number(paths: Iterable[Path]) -> list[Path]:
    """Files in the order of the numbers in their names, hexadecimal ones where all are.

    A minus sign belongs to a number where others stand at the same place without one.
    """
    files = sorted(paths)
    names = [str(path).lower() for path in files]
    numbers = _hexadecimal(names)
    if numbers is not None:
        return [files[k] for k in sorted(range(len(files)), key=numbers.__getitem__)]
    signed = _signed(names)

    def key(k: int) -> list[Any]:
        parts = re.split(rf"((?:{_MINUS})?[0-9]+)" if signed else r"([0-9]+)", names[k])
        # Every second part is a number.
        return [(n % 2, int(part) if n % 2 else part) for n, part in enumerate(parts)]

    return [files[k] for k in sorted(range(len(files)), key=key)]


def _hexadecimal(names: Sequence[str]) -> list[int] | None:
    """The numbers that differ between names, where they count in hexadecimal digits."""
    if len(names) < 2:
        return None
    first, last = min(names), max(names)
    shortest = min(map(len, names))
    head = next((k for k in range(shortest) if first[k] != last[k]), shortest)
    tail = 0
    while tail < shortest - head and len({name[len(name) - tail - 1] for name in names}) == 1:
        tail += 1
    parts = [name[head : len(name) - tail] for name in names]
    decimal = [part.isdecimal() for part in parts]
    if all(decimal) or not any(decimal) or not all(map(_HEXADECIMAL.fullmatch, parts)):
        return None
    found = [int(part, 16) for part in parts]
    missing = max(found) + 1 - min(found) - len(set(found))
    # Words of such letters leave out most numbers.
    return found if missing <= MOST_ODD * len(found) else None


def _signed(names: Sequence[str]) -> bool:
    """Whether signs stand before numbers: the names are alike without those, and some have none."""
    some = [bool(re.search(_MINUS, name)) for name in names]
    if all(some) or not any(some):
        return False
    return len({_form(re.sub(_MINUS, "", name)) for name in names}) == 1


def _form(name: str) -> str:
    """A name with all numbers alike."""
    return re.sub(r"[0-9]+", "#", name)


def in_order(paths: Sequence[Path]) -> tuple[list[Path], tuple[Finding, ...]]:
    """Files that were named one by one, and what is said where they change their places.

    A shell lists what fits a pattern in the order of letters, frame_10 before frame_2. Files in any
    other order, or with names of several forms, were meant to be so.
    """
    given = [str(path).lower() for path in paths]
    # In most languages a shell leaves out what is neither letter nor number.
    letters = [re.sub(r"[^0-9a-z]", "", name) for name in given]
    ordered = by_number(paths)
    by_letters = given == sorted(given) or letters == sorted(letters)
    if ordered == list(paths) or not by_letters or len(set(map(_form, given))) > 1:
        return list(paths), ()
    words = (
        f"the {len(paths)} sources were given in the order of letters, as a shell lists them "
        f"({listed((path.name for path in paths), 60)}): they are taken in the order of the "
        f"numbers in their names ({listed((path.name for path in ordered), 60)})"
    )
    return ordered, (Finding(ORDER, "mended", words, {"sources": len(paths)}),)


def odd_names(files: Sequence[Path]) -> tuple[str, ...]:
    """Names that differ from nearly all others by more than numbers, as of a dark frame."""
    forms = [_form(file.stem.lower()) for file in files]
    usual, often = Counter(forms).most_common(1)[0]
    if len(files) - often > MOST_ODD * len(files):
        return ()
    return tuple(f.name for f, form in zip(files, forms, strict=True) if form != usual)


def gaps_between(files: Sequence[Path]) -> tuple[int, ...]:
    """How many files come before each number that is left out in the last numbers of names."""
    numbers = [re.findall(r"[0-9]+", file.stem)[-1:] for file in files]
    known = [int(found[0]) for found in numbers if found]
    return gaps_among(known) if len(known) == len(files) else ()


def gaps_among(known: Sequence[int]) -> tuple[int, ...]:
    """How many of these numbers come before each one that they leave out."""
    if len(set(known)) < len(known):
        return ()
    step = min((b - a for a, b in pairwise(known)), default=1)
    gaps: list[int] = []
    for k, (before, after) in enumerate(pairwise(known), start=1):
        missing = (after - before) // step - 1 if step > 0 else 0
        # Of a few numbers only; others count something else.
        if missing > MOST_MISSING:
            return ()
        gaps += [k] * missing
    return tuple(gaps) if len(gaps) <= MOST_MISSING else ()
