"""The file of a training checkpoint, without pickle: reading one can never run code.

A zip with two members. ``tensors.safetensors`` holds every array; ``state.json`` says which backend
wrote the file and holds the rest of the state, in the way of that backend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from ptychopinn.errors import InputError, shown
from ptychopinn.io.reading import kind_of, parse_json
from ptychopinn.io.strict_zip import check_tensors, read_archive, refuse, write_archive

FORMAT = "ptychopinn-checkpoint"
FORMAT_VERSION = 1
STATE, TENSORS = "state.json", "tensors.safetensors"
#: Largest size of each member in bytes; together below the 4 GiB of a plain zip.
LIMITS: Mapping[str, int] = MappingProxyType({STATE: 64 << 20, TENSORS: 3 << 30})

_WHAT = "the training checkpoint"


def write_checkpoint(path: Path, backend: str, state: Any, tensors: bytes) -> None:
    """Write JSON data ``state`` and a safetensors blob, atomically.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "backend": backend,
        "state": state,
    }
    members = {STATE: json.dumps(header, allow_nan=False).encode(), TENSORS: tensors}
    write_archive(path, members, LIMITS, _WHAT)


def read_checkpoint(path: Path) -> tuple[str, Any, bytes]:
    """The backend that wrote the file, its state and its safetensors blob.

    Raises
    ------
    InputError
        When the file is not one that :func:`write_checkpoint` writes.
    """
    if kind_of(path) != "file":
        raise InputError(
            f"{_WHAT} must be a file, received '{path}', which is none; check the path."
        )
    members = read_archive(path, LIMITS, _WHAT)
    try:
        header = parse_json(members[STATE])
        check_tensors(members[TENSORS])
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError(f"a {STATE} that does not say '{FORMAT}'")
        if header.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"the unknown format version {shown(header.get('format_version'))}")
        if not isinstance(header.get("backend"), str):
            raise ValueError(f"a {STATE} that does not name its backend")
    except ValueError as error:
        damaged(path, error)
    return header["backend"], header.get("state"), members[TENSORS]


def damaged(path: Path, error: ValueError) -> NoReturn:
    """Raise the InputError of a checkpoint whose content is not what it should be."""
    refuse(_WHAT, path, LIMITS, f"a damaged file ({error})")
