"""The package's own scan file: HDF5, units stated, patterns read on demand.

Layout (format version 1)::

    attrs         format = "ptychopinn-scan", format_version, name, provenance (JSON),
                  [pixel_size_m], [energy_eV], [distance_m]
    diffraction   (M, N, N) uint16, uint32 or float32, one chunk per pattern; units "photon counts"
    positions_px  (M, 2) float64; units "object pixels", order "y, x"
    probe         (P, N, N) complex64; units "sqrt(counts)"
    [object]      (H, W) complex64
    [mask]        (N, N) bool, True at good pixels
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import COUNT_DTYPES, PatternArray, Scan, check_counts
from ptychopinn.errors import InputError
from ptychopinn.io.atomic import atomic_path, refuse_existing
from ptychopinn.io.base import (
    HDF5_DAMAGE,
    ReadOptions,
    ScanFields,
    batches,
    damaged,
    hdf5_format,
    probe_modes,
)
from ptychopinn.io.counts import smallest_dtype

NAME = "native"
DESCRIPTION = "PtychoPINN scan (HDF5 with format = 'ptychopinn-scan')"

FORMAT = "ptychopinn-scan"
FORMAT_VERSION = 1
SUFFIXES = (".h5", ".hdf5")
NUMBERS = ("pixel_size_m", "energy_eV", "distance_m")
UNITS = {
    "diffraction": "photon counts",
    "positions_px": "object pixels",
    "probe": "sqrt(counts)",
}


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except HDF5_DAMAGE as error:
        raise damaged(path, error) from error


class LazyPatterns:
    """Patterns (M, N, N) on disk; indexing the first axis reads just those from the file.

    A slice, an integer, a boolean array or an integer array in any order and with repeats is
    accepted, further indices apply to what was read. The file is open only during a read, so the
    object can be pickled, and used in worker processes and threads.

    Raises
    ------
    InputError
        On reading, when the file has changed or holds values that are not counts.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        # A worker process may have another working directory.
        self._path = path.resolve()
        self._shape = shape
        self._dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def ndim(self) -> int:
        return len(self._shape)

    def __len__(self) -> int:
        return self._shape[0]

    def __repr__(self) -> str:
        return f"LazyPatterns('{self._path}', shape={self._shape}, dtype={self._dtype})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("patterns on disk cannot become an array without a copy")
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if first is Ellipsis or first is None:
            raise IndexError("index the first axis with a slice or integers")
        # NumPy itself says what the index means, and refuses what it would refuse for an array.
        chosen = np.arange(len(self))[first]
        patterns = self._read(np.atleast_1d(chosen).ravel())
        patterns = patterns.reshape(*chosen.shape, *self._shape[1:])
        return patterns[(slice(None),) * chosen.ndim + rest] if rest else patterns

    def _read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        unique, inverse = np.unique(indices, return_inverse=True)
        patterns = np.empty((len(unique), *self._shape[1:]), dtype=self._dtype)
        with _opened(self._path) as file:
            stored = file.get("diffraction")
            if (
                not isinstance(stored, h5py.Dataset)
                or stored.shape != self._shape
                or stored.dtype != self._dtype
            ):
                raise InputError(
                    f"'{self._path}' must stay as it was when it was opened, received another "
                    "content; load the scan again."
                )
            # HDF5 reads a run of neighbours in one go; selecting single points is far slower.
            starts = np.flatnonzero(np.diff(unique, prepend=-2) != 1)
            stops = np.append(starts, len(unique))[1:]
            for start, stop in zip(starts, stops, strict=True):
                run = slice(int(unique[start]), int(unique[stop - 1]) + 1)
                stored.read_direct(patterns, np.s_[run], np.s_[start:stop])
        check_counts(patterns, f"diffraction in '{self._path}'")
        if len(inverse) == len(unique) and (inverse[1:] > inverse[:-1]).all():
            return patterns
        return patterns[inverse]


def matches(path: Path) -> bool:
    """Whether the file is HDF5 with our ``format`` attribute."""
    return hdf5_format(path) == FORMAT


def read(path: Path, options: ReadOptions) -> ScanFields:
    """Read everything but the patterns, which stay on disk as :class:`LazyPatterns`."""
    if options.units == "amplitude":
        raise InputError(
            f"'{path}' states its units, photon counts, received units='amplitude' "
            "(--units amplitude); leave that out."
        )
    if options.photons is not None:
        raise InputError(
            f"'{path}' states its counts, received photons={options.photons:.6g} (--photons); "
            "leave that out."
        )
    with _opened(path) as file:
        version = _number(path, file, "format_version", required=True)
        if version != FORMAT_VERSION:
            raise InputError(
                f"format version {FORMAT_VERSION} was expected, received {version:g} in '{path}'; "
                "install the version of ptychopinn that wrote it."
            )
        stored = _dataset(path, file, "diffraction", "uf")
        if stored.ndim == 3 and stored.dtype not in COUNT_DTYPES:
            raise InputError(
                "diffraction must be uint16, uint32 or float32, received "
                f"{stored.dtype} in '{path}'; write the scan again with save_scan."
            )
        patterns = LazyPatterns(path, stored.shape, stored.dtype)
        positions = _dataset(path, file, "positions_px", "fiu")
        if positions.attrs.get("order", "y, x") != "y, x":
            raise InputError(
                f"positions_px must have the order 'y, x', received "
                f"'{positions.attrs['order']}' in '{path}'; swap the columns."
            )
        probe = options.probe
        if probe is None:
            probe = probe_modes(_dataset(path, file, "probe", "cf")[()], f"probe in '{path}'")
        obj = _dataset(path, file, "object", "cf")[()] if "object" in file else None
        mask = _dataset(path, file, "mask", "biu")[()] if "mask" in file else None
        return ScanFields(
            diffraction=patterns,
            positions_px=np.asarray(positions[()], dtype=np.float64),
            probe=probe,
            probe_in_counts=options.probe is None,
            name=_text(file.attrs.get("name", path.stem)),
            object=obj,
            mask=mask,
            provenance=_provenance(path, file),
            **{key: _number(path, file, key) for key in NUMBERS},
        )


def _dataset(path: Path, file: h5py.File, key: str, kinds: str) -> h5py.Dataset:
    stored = file.get(key)
    if not isinstance(stored, h5py.Dataset):
        raise InputError(
            f"the dataset '{key}' was expected in '{path}', received "
            f"{', '.join(file) or 'none'}; write the scan again with save_scan."
        )
    if stored.dtype.kind not in kinds:
        raise InputError(
            f"the dataset '{key}' in '{path}' must hold numbers of its kind, received "
            f"{stored.dtype}; write the scan again with save_scan."
        )
    unit = stored.attrs.get("units", UNITS.get(key))
    if key in UNITS and unit != UNITS[key]:
        raise InputError(
            f"'{key}' must have the units '{UNITS[key]}', received '{unit}' in '{path}'; "
            "convert it and write the scan again."
        )
    return stored


def _number(path: Path, file: h5py.File, key: str, required: bool = False) -> float | None:
    value = file.attrs.get(key)
    if value is None and not required:
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the attribute '{key}' must be a number, received {value!r} in '{path}'; "
            "write the scan again with save_scan."
        ) from error


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _provenance(path: Path, file: h5py.File) -> dict[str, Any]:
    try:
        content = json.loads(_text(file.attrs.get("provenance", "{}")))
    except json.JSONDecodeError as error:
        raise InputError(
            f"the attribute 'provenance' must be JSON, received something else in '{path}' "
            f"({error}); write the scan again with save_scan."
        ) from error
    return content if isinstance(content, dict) else {"note": content}


def save(scan: Scan, path: Path, *, force: bool = False) -> None:
    """Write ``scan`` in this format; see :func:`ptychopinn.io.save_scan`."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"a scan file must end in {' or '.join(SUFFIXES)}, received '{path.name}'; rename it."
        )
    refuse_existing(path.parent, [path.name], force)
    try:
        provenance = json.dumps(dict(scan.provenance), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the provenance must be plain JSON data, received something else ({error}); "
            "convert arrays and paths to lists and strings."
        ) from error
    try:
        # From HDF5 1.10 on, the index of the chunks has a fixed cost per pattern.
        with (
            atomic_path(path) as temporary,
            h5py.File(temporary, "w", libver=("v110", "v110")) as file,
        ):
            _write(file, scan, provenance)
    except OSError as error:
        raise InputError(
            f"the scan file must be writable as '{path}', received: {error.strerror or error}; "
            "choose another place or make room."
        ) from error


def _write(file: h5py.File, scan: Scan, provenance: str) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["name"] = scan.name
    file.attrs["provenance"] = provenance
    for key in NUMBERS:
        value = getattr(scan, key)
        if value is not None:
            file.attrs[key] = float(value)
    _write_patterns(file, scan)
    file["positions_px"] = scan.positions_px
    file["positions_px"].attrs["order"] = "y, x"
    file["probe"] = scan.probe
    if scan.object is not None:
        file["object"] = scan.object
    if scan.mask is not None:
        file["mask"] = scan.mask
        file["mask"].attrs["meaning"] = "True at good pixels"
    for key, unit in UNITS.items():
        file[key].attrs["units"] = unit


def _write_patterns(file: h5py.File, scan: Scan) -> None:
    source = scan.diffraction
    dtype = _lossless_dtype(source)
    # Counts are small whole numbers with many zeros and compress well; noise-free floats do not.
    packing: dict[str, Any] = (
        {"compression": "gzip", "compression_opts": 1, "shuffle": True} if dtype.kind == "u" else {}
    )
    stored = file.create_dataset(
        "diffraction", shape=source.shape, dtype=dtype, chunks=(1, *source.shape[1:]), **packing
    )
    for part in batches(source):
        stored[part] = source[part].astype(dtype, copy=False)


def _lossless_dtype(source: PatternArray) -> np.dtype[Any]:
    """The stored type: floats that are all whole numbers become unsigned integers."""
    if source.dtype.kind == "u":
        return source.dtype
    largest = 0.0
    for part in batches(source):
        block = source[part]
        largest = max(largest, float(block.max()))
        if largest > np.iinfo(np.uint32).max or (block != np.rint(block)).any():
            return source.dtype
    return smallest_dtype(largest, "diffraction")
