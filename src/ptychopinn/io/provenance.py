"""Where a file says what it was made of and what was done to it, under the checksums of HDF5.

It is JSON in the attribute ``provenance`` of a group. HDF5 puts longer texts outside of the
structure that it sums up: those are the bytes of a dataset of the same name, and the attribute says
so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ptychopinn.errors import InputError, brief
from ptychopinn.io.hdf5 import Reader
from ptychopinn.io.hdf5_writer import LARGEST_ATTRIBUTE, NewFile
from ptychopinn.io.reading import parse_json

NAME = "provenance"
ELSEWHERE = {"note": "too long for an attribute: see the dataset of this name"}


def provenance_text(content: Mapping[str, Any]) -> bytes:
    """Provenance as it is stored.

    Raises
    ------
    InputError
        When it is no plain JSON data.
    """
    try:
        return json.dumps(dict(content), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the provenance must be plain JSON data, received something else ({error}); "
            "convert arrays and paths to lists and strings."
        ) from error


def write_provenance(file: NewFile, group: str, text: bytes) -> None:
    """Write what :func:`provenance_text` gave; ``group`` is "/" for the file."""
    short = len(text) <= LARGEST_ATTRIBUTE
    if not short:
        file.put(f"{group}/{NAME}", np.frombuffer(text, np.uint8))
    # Of fixed length: text of any other length lies outside the checksummed structure.
    stored = text if short else provenance_text(ELSEWHERE)
    file.attributes(group, {NAME: np.bytes_(stored)})


def read_provenance(file: Reader, group: str) -> dict[str, Any]:
    """The provenance of a group; empty where there is none.

    Raises
    ------
    InputError
        When it is damaged.
    """
    name = f"{group.rstrip('/')}/{NAME}"
    if file.shape(name) is not None:
        text = file.array(name, "u", (1,)).astype(np.uint8).tobytes()
    else:
        text = file.attribute_text(group, NAME, "{}").encode()
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputError(
            f"the attribute '{NAME}' must be JSON, received something else in '{file.path}' "
            f"({brief(error)}); write the file again."
        ) from error
    return content if isinstance(content, dict) else {"note": content}
