"""A scan of ptychodus: a folder with ``diffraction.h5`` (assembled patterns) and ``product.h5``.

Patterns and positions are paired by their indexes. The folder or the file of the patterns names the
scan.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io import pair, ptychodus_product
from ptychopinn.io.atomic import atomic_paths
from ptychopinn.io.base import ReadOptions, ScanFields
from ptychopinn.io.hdf5 import Reader, holds, reading
from ptychopinn.io.hdf5_writer import NewFile, filling
from ptychopinn.io.lazy import patterns_of
from ptychopinn.io.reading import kind_of
from ptychopinn.io.record import ALL, Patterns, Record
from ptychopinn.io.record_scan import scan_fields

NAME = "ptychodus"
DESCRIPTION = "ptychodus diffraction with product"
KEEPS = ALL

DIFFRACTION, PRODUCT = "diffraction.h5", "product.h5"


def matches(path: Path) -> bool:
    """Whether this is the folder or the file with assembled patterns."""
    if kind_of(path) == "folder":
        return kind_of(path / DIFFRACTION) == "file"
    return holds(path, "patterns", "indexes")


def files(path: Path) -> tuple[Path, Path]:
    """The patterns and the product of the scan that ``path`` names.

    Raises
    ------
    InputError
        When one of them is missing.
    """
    patterns = path / DIFFRACTION if kind_of(path) == "folder" else path
    product = patterns.with_name(PRODUCT)
    for file, what in ((patterns, "patterns"), (product, "positions and the probe")):
        if kind_of(file) != "file":
            raise InputError(
                f"the {what} were expected in '{file}', received no such file; put {DIFFRACTION} "
                f"and {PRODUCT} of one scan into one folder."
            )
    return patterns, product


def read(path: Path, options: ReadOptions) -> ScanFields:
    """Read the scan."""
    return scan_fields(read_record(path, lazily=options.reads_lazily), options, path)


def read_record(path: Path, *, lazily: bool = False) -> Record:
    """Read both files; large patterns may stay there."""
    patterns, product = files(path)
    pair.check(patterns, product)
    with reading(patterns) as file:
        return Record(read_patterns(file, lazily), ptychodus_product.read_record(product).product)


def read_patterns(file: Reader, lazily: bool = False) -> Patterns:
    """The assembled patterns."""
    indexes = ptychodus_product.whole(
        file.array("indexes", "iuf").reshape(-1), f"'indexes' in '{file.path}'"
    )
    counts = patterns_of(file, "patterns", len(indexes), lazily=lazily)
    return check_patterns(
        file.path,
        Patterns(
            counts=counts,
            indexes=indexes,
            bad_pixels=bad_pixels(file, counts.shape[1:]),
            detector_pixel_m=_detector_pixel(file),
            photon_counts=file.optional("probe_photon_counts", ndim=(1,)),
        ),
    )


def bad_pixels(file: Reader, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The dataset ``bad_pixels``; all False when there is none."""
    stored = file.optional("bad_pixels", "biuf")
    if stored is not None and stored.ndim > 2 and stored.size == shape[-2] * shape[-1]:
        stored = stored.reshape(shape[-2:])
    return np.zeros(shape, bool) if stored is None else stored.astype(bool)


def _detector_pixel(file: Reader) -> tuple[float, float] | None:
    keys = ("detector_pixel_height_m", "detector_pixel_width_m")
    height, width = (file.attribute_number("patterns", key, 0.0) for key in keys)
    return (height, width) if height > 0 and width > 0 else None


def check_patterns(path: Path, patterns: Patterns) -> Patterns:
    """Raise InputError unless all parts agree in their shapes."""
    n, *frame = patterns.counts.shape
    expected = (
        ("indexes", patterns.indexes, (n,)),
        ("bad_pixels", patterns.bad_pixels, tuple(frame)),
        ("probe_photon_counts", patterns.photon_counts, (n,)),
    )
    for key, value, shape in expected:
        if value is not None and value.shape != shape:
            raise InputError(
                f"'{key}' in '{path}' must have shape {shape} for patterns of shape "
                f"{patterns.counts.shape}, received {value.shape}; write the file again."
            )
    return patterns


def write_record(record: Record, path: Path, *, force: bool = True) -> None:
    """Write both files into the folder ``path``."""
    assert record.patterns is not None
    shared = pair.identifier(record)
    with atomic_paths(*outputs(path), force=force) as (patterns, product):
        with filling(patterns) as file:
            write_patterns(file, record.patterns)
            file.attributes("/", shared)
        with filling(product) as file:
            ptychodus_product.write_hdf5(file, record.product)
            file.attributes("/", shared)


def outputs(path: Path) -> tuple[Path, ...]:
    """The files that :func:`write_record` writes."""
    return path / DIFFRACTION, path / PRODUCT


def write_patterns(file: NewFile, patterns: Patterns) -> None:
    """Write assembled patterns into a file."""
    file.put("patterns", patterns.counts)
    # ptychodus demands the size; 0 m says that it is not known.
    height, width = patterns.detector_pixel_m or (0.0, 0.0)
    size = {"detector_pixel_height_m": height, "detector_pixel_width_m": width}
    file.attributes("patterns", size)
    file.put("indexes", patterns.indexes)
    file.put("bad_pixels", patterns.bad_pixels)
    if patterns.photon_counts is not None:
        file.put("probe_photon_counts", patterns.photon_counts)
