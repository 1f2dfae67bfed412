"""What marks two files as one scan: a shared identifier, in the files that this program writes."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.errors import InputError
from ptychopinn.io.hdf5 import reading, to_text
from ptychopinn.io.record import Record

KEY = "ptychopinn_pair"


def identifier(record: Record) -> dict[str, str]:
    """The attribute of both files; it follows from everything in the record."""
    digest = hashlib.sha256()
    for part in (record.patterns, record.product):
        assert part is not None
        for field in fields(part):
            value: Any = getattr(part, field.name)
            digest.update(f"{field.name} {np.shape(value)} ".encode())
            if isinstance(value, np.ndarray):
                digest.update(np.ascontiguousarray(value).data)
            else:
                digest.update(repr(value).encode())
    return {KEY: digest.hexdigest()}


def check(first: Path, second: Path) -> None:
    """Raise InputError when both files carry an identifier, and not the same.

    Files of other programs have none.
    """
    found = []
    for path in (first, second):
        with reading(path) as file:
            found.append(file.attribute("/", KEY))
    one, other = (None if value is None else to_text(value) for value in found)
    if one is not None and other is not None and one != other:
        raise InputError(
            f"'{first}' and '{second}' must be written together, received files of two different "
            "scans; convert the scan again."
        )
