"""Probes from other files: ``FILE`` or ``FILE:KEY``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, listed
from ptychopinn.io.base import (
    BZIP2_SIGNATURE,
    ZIP_SIGNATURE,
    is_hdf5,
    signature,
)
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.layout import modes_first, own_edge, probe_modes
from ptychopinn.io.matlab import is_version_5, read_field, read_version_5, variables
from ptychopinn.io.npz_members import Archive, read_npy
from ptychopinn.io.reading import kind_of

DEFAULT_KEYS = ("probe", "probeGuess")
NPY_SIGNATURE = b"\x93NUMPY"


def read_probe(source: str) -> NDArray[Any]:
    """Probe modes (P, N, N), complex, in the scale of the file.

    ``source`` is ``FILE`` or ``FILE:KEY``, with FILE an NPZ, HDF5 (a scan, a result, a ptychodus
    product), MATLAB (5 or 7.3) or NPY file. Without KEY, ``probe`` and then ``probeGuess`` is
    taken. Of a probe (R, P, N, N) in HDF5, or (N, N, P, R) in MATLAB, the first set of modes is
    taken: products put the mean probe there and its variations along the scan behind it.

    Raises
    ------
    InputError
        When the file or the key is missing, or the array is not a probe.
    """
    path, key = _split(source)
    head = signature(path)
    if head.startswith(NPY_SIGNATURE):
        probe = _read_npy(path, key)
    elif is_hdf5(path):
        probe = _read_hdf5(path, key)
    elif is_version_5(path):
        probe = read_version_5(path, key or _default_key(path, list(variables(path))))
    elif head.startswith((ZIP_SIGNATURE, BZIP2_SIGNATURE)):
        with Archive(path) as archive:
            probe = archive.numbers(key or _default_key(path, archive.keys()))
    else:
        raise InputError(
            f"a probe must come from an NPZ, HDF5, MATLAB or NPY file, received '{path}'; convert "
            "it."
        )
    n = own_edge(probe)
    if probe.dtype.kind in "fciu":
        probe = modes_first(probe, n)
    if probe.ndim == 4 and len(probe):
        # Products put the mean probe there and its variations along the scan behind it.
        several = is_hdf5(path) or is_version_5(path) or n is not None
        probe = probe[0] if several or len(probe) == 1 else probe
    return probe_modes(probe, f"the probe '{source}'").astype(np.complex128)


def names_file(source: str) -> bool:
    """Whether a text names an existing file, as ``FILE`` or ``FILE:KEY``, or looks like one."""
    name, colon, _ = source.rpartition(":")
    if any(kind_of(Path(part)) != "nothing" for part in (source, name) if part):
        return True
    # A word such as auto, or gaussian:fwhm=30, is no path.
    first = name if colon else source
    return "=" not in first and ("/" in first or "." in Path(first).name)


def _split(source: str) -> tuple[Path, str | None]:
    """FILE and KEY. A file name may itself contain a colon."""
    if ":" not in source or kind_of(Path(source)) != "nothing":
        return Path(source), None
    name, key = source.rsplit(":", 1)
    if not name or not key:
        raise InputError(
            f"a probe must be named as FILE or FILE:KEY, received '{source}'; give both parts."
        )
    return Path(name), key


def _default_key(path: Path, keys: list[str]) -> str:
    for key in DEFAULT_KEYS:
        if key in keys:
            return key
    raise InputError(
        f"a probe was expected under {' or '.join(DEFAULT_KEYS)} in '{path}', received "
        f"{listed(keys)}; name it as FILE:KEY."
    )


def _read_npy(path: Path, key: str | None) -> NDArray[Any]:
    if key is not None:
        raise InputError(
            f"an NPY file holds one array without a name, received the key '{key}' for '{path}'; "
            "give FILE only."
        )
    return read_npy(path)


def _read_hdf5(path: Path, key: str | None) -> NDArray[Any]:
    with reading(path) as file:
        name = key or _default_key(path, file.names())
        if file.shape(name) is None:
            raise InputError(
                f"the dataset '{name}' was expected in '{path}', received "
                f"{listed(file.names())}; name another one as FILE:KEY."
            )
        probe = read_field(file, name)
    return probe[0] if probe.ndim == 4 and len(probe) else probe
