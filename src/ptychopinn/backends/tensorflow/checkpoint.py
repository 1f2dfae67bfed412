"""Checkpoints of the TensorFlow backend: plain JSON and float32 arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as arrays_bytes

from ptychopinn.training.checkpoint import TENSORS, damaged, read_checkpoint, write_checkpoint

BACKEND: Final = "tensorflow"

Arrays = Mapping[str, NDArray[Any]]


def save(path: Path, state: Mapping[str, Any], arrays: Arrays) -> None:
    """Write JSON data and named arrays (see ptychopinn.training.checkpoint)."""
    contiguous = {name: np.array(array, order="C") for name, array in arrays.items()}
    write_checkpoint(path, BACKEND, dict(state), arrays_bytes(contiguous))


def load(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The inverse of :func:`save`.

    Raises
    ------
    InputError
        When the file is none that this backend wrote.
    """
    backend, state, blob = read_checkpoint(path)
    try:
        if backend != BACKEND or not isinstance(state, dict):
            raise ValueError(f"the state of the {backend} backend")
        arrays = load_arrays(blob)
    except SafetensorError as error:
        damaged(path, ValueError(f"a malformed {TENSORS}: {error}"))
    except KeyError as error:
        damaged(path, ValueError(f"a dtype {error} that is none of NumPy's in {TENSORS}"))
    except ValueError as error:
        damaged(path, error)
    return state, arrays
