"""The file of a training checkpoint, without pickle: reading one can never run code.

A zip with two members. ``tensors.safetensors`` holds named arrays; ``state.json`` says which
backend wrote the file and holds the rest of the state. The layout is the same for every backend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as arrays_bytes

from ptychopinn.errors import InputError, shown
from ptychopinn.io.reading import kind_of, parse_json
from ptychopinn.io.strict_zip import check_tensors, read_archive, refuse, write_archive

FORMAT = "ptychopinn-checkpoint"
FORMAT_VERSION = 2
STATE, TENSORS = "state.json", "tensors.safetensors"
#: Largest size of each member in bytes; together below the 4 GiB of a plain zip.
LIMITS: Mapping[str, int] = MappingProxyType({STATE: 64 << 20, TENSORS: 3 << 30})

_WHAT = "the training checkpoint"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """backend : who wrote it.  state : plain data.  arrays : by their names."""

    backend: str
    state: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, atomically.

    Raises InputError when the file cannot be written."""
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "backend": checkpoint.backend,
        "state": dict(checkpoint.state),
    }
    arrays = {name: np.array(array, order="C") for name, array in checkpoint.arrays.items()}
    members = {
        STATE: json.dumps(header, allow_nan=False).encode(),
        TENSORS: arrays_bytes(arrays),
    }
    write_archive(path, members, LIMITS, _WHAT)


def read_checkpoint(path: Path) -> Checkpoint:
    """The inverse of :func:`write_checkpoint`.

    Raises InputError when there is no such file, or it is of another version or damaged."""
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
        if (version := header.get("format_version")) != FORMAT_VERSION:
            raise InputError(
                f"{_WHAT} must have the format version {FORMAT_VERSION}, received "
                f"{shown(version)} in '{path}', which another version of this program wrote; go on "
                "with that one, or start a new run."
            )
        if not isinstance(header.get("backend"), str):
            raise ValueError(f"a {STATE} that does not name its backend")
        if not isinstance(header.get("state"), dict):
            raise ValueError(f"a {STATE} without a state")
        arrays = load_arrays(members[TENSORS])
    except InputError:
        raise
    except SafetensorError as error:
        damaged(path, ValueError(f"a malformed {TENSORS}: {error}"))
    except KeyError as error:
        damaged(path, ValueError(f"a dtype {error} that is none of NumPy's in {TENSORS}"))
    except ValueError as error:
        damaged(path, error)
    return Checkpoint(header["backend"], header["state"], arrays)


def damaged(path: Path, error: Exception) -> NoReturn:
    """Raise the InputError of a checkpoint whose content is not what it should be."""
    refuse(_WHAT, path, LIMITS, f"a damaged file ({' '.join(str(error).split())})")
