"""The package's own scan file: HDF5, units stated, patterns read on demand.

Layout (format version 1)::

    attrs         format = "ptychopinn-scan", format_version, name, provenance (JSON),
                  [pixel_size_m], [energy_eV], [distance_m], [focus_distance_m],
                  [saturation], [propagation] = "near-field"
    diffraction   (M, N, N) uint16, uint32 or float32, one chunk per pattern; units "photon counts"
    positions_px  (M, 2) float64; units "object pixels", order "y, x"
    probe         (P, N, N) complex64; units "sqrt(counts)"
    [object]      (H, W) complex64
    [mask]        (N, N) bool, True at good pixels
    [provenance]  (n,) uint8, its text where that is too long for an attribute
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import named_propagation
from ptychopinn.data.scan import COUNT_DTYPES, PatternArray, Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.io.atomic import atomic_path, refuse_existing
from ptychopinn.io.base import (
    ReadOptions,
    ScanFields,
    batches,
)
from ptychopinn.io.chunks import chunks_of
from ptychopinn.io.counts import smallest_dtype
from ptychopinn.io.detector import look, sampled
from ptychopinn.io.hdf5 import Reader, hdf5_format, propagation_of, reading
from ptychopinn.io.hdf5_writer import NewFile, filling
from ptychopinn.io.layout import as_points, check_frame, probe_modes
from ptychopinn.io.lazy import LazyPatterns, Stored
from ptychopinn.io.missing_chunks import refuse_missing_parts
from ptychopinn.io.no_counts import lost
from ptychopinn.io.pairing import chosen, cut_short
from ptychopinn.io.provenance import provenance_text, read_provenance, write_provenance

NAME = "native"
DESCRIPTION = "PtychoPINN"

FORMAT = "ptychopinn-scan"
FORMAT_VERSION = 1
SUFFIXES = (".h5", ".hdf5")
NUMBERS = ("pixel_size_m", "energy_eV", "distance_m", "focus_distance_m", "saturation")
UNITS = {
    "diffraction": "photon counts",
    "positions_px": "object pixels",
    "probe": "sqrt(counts)",
}


def matches(path: Path) -> bool:
    """Whether the file is HDF5 with our ``format`` attribute."""
    return hdf5_format(path) == FORMAT


def read(path: Path, options: ReadOptions) -> ScanFields:
    """Read everything but the patterns, which stay on disk as :class:`LazyPatterns`."""
    if options.units == "amplitude":
        raise InputError(
            f"'{path}' states its units, photon counts, received units='amplitude'; leave that out."
        )
    if options.photons is not None:
        raise InputError(
            f"'{path}' states its counts, received photons={options.photons:.6g}; leave that out."
        )
    with reading(path) as file:
        version = file.attribute_number("/", "format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"format version {FORMAT_VERSION} was expected, received {version:g} in '{path}'; "
                "install the version of ptychopinn that wrote it."
            )
        _check_units(file)
        stored = file.dataset("diffraction", "iuf")
        if stored.ndim == 3 and stored.dtype not in COUNT_DTYPES:
            raise InputError(
                "diffraction must be uint16, uint32 or float32, received "
                f"{stored.dtype} in '{path}'; write the scan again with save_scan."
            )
        where, shape = f"diffraction in '{path}'", stored.shape
        if len(shape) != 3:
            raise InputError(
                f"{where} must have shape (M, N, N), received {shown(shape)}; write the scan again "
                "with save_scan."
            )
        check_frame(shape, where, path)
        positions = file.array("positions_px", "fiu").astype(np.float64)
        places = as_points(positions, shape[0], (2,), f"positions_px in '{path}'", "(M, 2)")
        rows, kept = chosen(
            shape[0], len(places), options.frames, f"'{path}'",
            read=lambda numbers: np.asarray(stored[numbers]), values=places,
        )  # fmt: skip
        mask = file.optional("mask", "biu")
        probe = options.probe_or(lambda: _probe(file, shape[-1]))
        numbers: dict[str, Any] = {key: _number(file, key) for key in NUMBERS}
        fields = ScanFields(
            diffraction=np.zeros(0),
            positions_px=places[kept],
            probe=probe,
            probe_in_counts=options.probe is None,
            name=file.attribute_text("/", "name", path.stem),
            object=file.optional("object", "cf"),
            mask=None if mask is None else mask.astype(bool),
            provenance=read_provenance(file, "/"),
            propagation=propagation_of(file, "/"),
            findings=cut_short(options.frames, max(shape[0], len(places))),
            **numbers,
        )
        lies = Stored(path, "diffraction", shape, stored.dtype, chunks=chunks_of(stored))
        patterns = LazyPatterns(lies, None if len(rows) == shape[0] else rows)
        refuse_missing_parts(stored, LazyPatterns(lies), numbers=rows)
    return _repaired(replace(fields, diffraction=patterns), patterns, where, options)


def _repaired(
    fields: ScanFields, patterns: LazyPatterns, where: str, options: ReadOptions
) -> ScanFields:
    """The scan without numbers that are no counts, as some of its patterns show them."""
    mask = fields.mask
    if not len(patterns) or (mask is not None and (mask.shape != patterns.shape[1:])):
        return fields
    few = patterns.as_stored(sampled(patterns))
    few = few[~lost(few, None if mask is None else ~mask)]
    repair, findings = look(
        few, few, where, mask, clip_negative=options.clip_negative, meaning="good"
    )
    if options.clip_negative:
        repair = replace(repair, clip=few.dtype.kind == "f")
    if findings:
        mask = None if repair.bad is None else ~repair.bad
    if few.dtype.kind == "f" or findings:
        patterns = patterns.as_counts(repair, patterns.dtype)
    return replace(fields, diffraction=patterns, mask=mask, findings=(*fields.findings, *findings))


def _probe(file: Reader, n: int) -> NDArray[Any] | None:
    stored = file.optional("probe", "cf")
    return None if stored is None else probe_modes(stored, f"probe in '{file.path}'", n)


def _check_units(file: Reader) -> None:
    stated = {key: ("units", unit) for key, unit in UNITS.items()}
    for key, (name, expected) in (*stated.items(), ("positions_px", ("order", "y, x"))):
        given = file.attribute_text(key, name, expected)
        if given != expected:
            raise InputError(
                f"'{key}' must have the {name} '{expected}', received {shown(given)} in "
                f"'{file.path}'; convert it and write the scan again."
            )


def _number(file: Reader, key: str) -> float | None:
    return None if file.attribute("/", key) is None else file.attribute_number("/", key)


def check_suffix(path: Path) -> None:
    """Raise InputError unless the name is that of a scan file."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"a scan file must end in {' or '.join(SUFFIXES)}, received '{path.name}'; rename it."
        )


def save(scan: Scan, path: Path, *, force: bool = False) -> None:
    """Write ``scan`` in this format; see :func:`ptychopinn.io.save_scan`."""
    check_suffix(path)
    named_propagation(scan)
    refuse_existing(path.parent, [path.name], force)
    with atomic_path(path, force) as temporary:
        fill(scan, temporary)


def fill(scan: Scan, path: Path) -> None:
    """Write ``scan`` into a temporary file of :func:`ptychopinn.io.atomic.atomic_paths`."""
    provenance = provenance_text(scan.provenance)
    with filling(path) as file:
        _write_head(file, scan, provenance)
        _write_patterns(file, scan)
        _write_rest(file, scan)


def fill_in_parts(
    path: Path,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    parts: Iterable[tuple[slice, NDArray[Any]]],
    rest: Callable[[], Scan],
) -> None:
    """Like :func:`fill`, for patterns that come part by part and are never held together.

    ``parts`` are slices of the first axis with counts of ``dtype``; ``rest`` is asked when all have
    come, for a scan whose patterns are not looked at.
    """
    with filling(path) as file:
        stored = file.reserve("diffraction", shape, dtype)
        for part, block in parts:
            stored[part] = block
            file.check()
        scan = rest()
        _write_head(file, scan, provenance_text(scan.provenance))
        _write_rest(file, scan)


def _write_head(file: NewFile, scan: Scan, provenance: bytes) -> None:
    numbers = {key: getattr(scan, key) for key in NUMBERS}
    way = named_propagation(scan)
    file.attributes(
        "/",
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": scan.name,
            **{key: float(value) for key, value in numbers.items() if value is not None},
            # Of the near field only, so that files of the far field are as they always were.
            **({} if way == "far-field" else {"propagation": way}),
        },
    )
    write_provenance(file, "/", provenance)


def _write_rest(file: NewFile, scan: Scan) -> None:
    file.put("positions_px", scan.positions_px)
    file.attributes("positions_px", {"order": "y, x"})
    file.put("probe", scan.probe)
    if scan.object is not None:
        file.put("object", scan.object)
    if scan.mask is not None:
        file.put("mask", scan.mask)
        file.attributes("mask", {"meaning": "True at good pixels"})
    for key, unit in UNITS.items():
        file.attributes(key, {"units": unit})


def _write_patterns(file: NewFile, scan: Scan) -> None:
    source = scan.diffraction
    dtype = _lossless_dtype(source)
    stored = file.reserve("diffraction", source.shape, dtype)
    for part in batches(source):
        stored[part] = source[part].astype(dtype, copy=False)
        file.check()


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
