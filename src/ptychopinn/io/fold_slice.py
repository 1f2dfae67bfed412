"""The pair of fold_slice and PtychoFM: ``<stem>_dp.hdf5`` and ``<stem>_para.hdf5``.

``dp`` (n, H, W) holds the counts. The parameter file of fold_slice has ``ppX`` and ``ppY`` (m), and
of a measured scan ``lambda`` (m), ``dx`` (m, object pixel) and ``angle`` (degrees); that of
PtychoFM has ``object`` (1, H, W) with its pixel size, ``probe`` (1, P, N, N),
``probe_position_x_m`` and ``probe_position_y_m``. What is written here has both, so that either
program reads it, and in addition the centre of the object and ``bad_pixels`` beside ``dp``, which
neither records.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.errors import InputError
from ptychopinn.io import pair, ptychodus_product, ptychodus_scan
from ptychopinn.io.atomic import atomic_paths
from ptychopinn.io.base import ReadOptions, ScanFields, is_hdf5
from ptychopinn.io.hdf5 import Reader, holds, reading
from ptychopinn.io.hdf5_writer import NewFile, filling
from ptychopinn.io.lazy import patterns_of
from ptychopinn.io.quantities import lengths, object_pixel, quantity
from ptychopinn.io.reading import kind_of
from ptychopinn.io.record import METADATA, SCAN_ITEMS, Patterns, Product, Record
from ptychopinn.io.record_scan import scan_fields
from ptychopinn.physics.propagators import wavelength_of

NAME = "fold_slice"
DESCRIPTION = "fold_slice"
KEEPS = SCAN_ITEMS | {"center", "photon_energy_eV", "tomography_angle_deg"}


def matches(path: Path) -> bool:
    """Whether this is one file of the pair."""
    if not is_hdf5(path):
        return False
    return holds(path, "dp") or _is_parameters(path)


def _is_parameters(path: Path) -> bool:
    named = path.stem.endswith("_para")
    return holds(path, "ppX", "ppY") or (named and holds(path, "probe_position_x_m"))


def files(path: Path) -> tuple[Path, Path]:
    """The patterns and the parameters of the pair to which ``path`` belongs.

    Raises
    ------
    InputError
        When the names do not follow the convention or the other file is missing.
    """
    for end, other in (("_dp", "_para"), ("_para", "_dp")):
        if path.stem.endswith(end):
            beside = path.with_name(path.stem.removesuffix(end) + other + path.suffix)
            if path.suffix and kind_of(beside) != "file":
                raise InputError(
                    f"the pair '{path.name}' and '{beside.name}' was expected in one folder, "
                    f"received no '{beside}'; put it there."
                )
            return (path, beside) if end == "_dp" else (beside, path)
    raise InputError(
        f"a pair of files *_dp.hdf5 and *_para.hdf5 was expected, received '{path.name}', whose "
        "name does not tell the other; rename both."
    )


def outputs(path: Path) -> tuple[Path, ...]:
    """The files that :func:`write_record` writes."""
    stem = path.stem.removesuffix("_dp").removesuffix("_para")
    suffix = path.suffix or ".hdf5"
    return path.with_name(f"{stem}_dp{suffix}"), path.with_name(f"{stem}_para{suffix}")


def read(path: Path, options: ReadOptions) -> ScanFields:
    """Read the scan; the pair of fold_slice has no probe, one must be given."""
    return scan_fields(read_record(path, lazily=options.reads_lazily), options, path)


def read_record(path: Path, *, lazily: bool = False) -> Record:
    """Read both files; large patterns may stay there."""
    dp, para = files(path)
    pair.check(dp, para)
    with reading(para) as file:
        product = _product(file, dp.stem.removesuffix("_dp"))
    with reading(dp) as file:
        counts = patterns_of(file, "dp", len(product.indexes), lazily=lazily)
        patterns = Patterns(
            counts=counts,
            indexes=np.arange(len(counts), dtype=np.int64),
            bad_pixels=ptychodus_scan.bad_pixels(file, counts.shape[1:]),
        )
    return Record(ptychodus_scan.check_patterns(dp, patterns), product, in_order=True)


def _product(file: Reader, name: str) -> Any:
    metadata = {**METADATA, "name": name}
    wavelength = quantity(file, "lambda", "wavelength")
    if wavelength > 0:
        metadata["photon_energy_eV"] = wavelength_of(1.0) / wavelength
    metadata["tomography_angle_deg"] = file.number("angle", 0.0)
    arrays = {}
    for axis in "xy":
        key = f"probe_position_{axis}_m"
        if key not in file:
            key = f"pp{axis.upper()}"
        arrays[f"probe_position_{axis}_m"] = lengths(file, key).reshape(-1)
    for key in ("object", "probe"):
        stored = file.optional(key, "cf")
        if stored is not None:
            arrays[key] = stored
    pixel = center = None
    if "object" in arrays and file.attribute("object", "pixel_height_m") is not None:
        pixel = (
            file.attribute_number("object", "pixel_height_m"),
            file.attribute_number("object", "pixel_width_m", 0.0)
            or file.attribute_number("object", "pixel_height_m"),
        )
    elif "dx" in file:
        pixel = (object_pixel(file, "dx"), object_pixel(file, "dx"))
    if "object" in arrays and file.attribute("object", "center_x_m") is not None:
        center = (
            file.attribute_number("object", "center_y_m"),
            file.attribute_number("object", "center_x_m"),
        )
    return ptychodus_product.build(
        path=file.path,
        metadata=metadata,
        arrays=arrays,
        optional=dict.fromkeys(ptychodus_product.OPTIONAL),
        center_m=center,
        object_pixel_m=pixel,
        probe_pixel_m=pixel,
    )


def write_record(record: Record, path: Path, *, force: bool = True) -> None:
    """Write both files; rows must pair patterns and positions already.

    Bad pixels are 0 in ``dp``, as PtychoFM expects them.
    """
    patterns, product = record.patterns, record.product
    assert patterns is not None
    shared = pair.identifier(record)
    counts = np.asarray(patterns.counts)
    if patterns.bad_pixels.any():
        counts = np.where(patterns.bad_pixels, 0, counts).astype(counts.dtype)
    with atomic_paths(*outputs(path), force=force) as (dp, para):
        with filling(dp) as file:
            file.attributes("/", shared)
            file.put("dp", counts)
            if patterns.bad_pixels.any():
                file.put("bad_pixels", patterns.bad_pixels)
        with filling(para) as file:
            file.attributes("/", shared)
            _write_parameters(file, product)


def _write_parameters(file: NewFile, product: Product) -> None:
    y, x = product.positions_m.T
    for axis, values in (("x", x), ("y", y)):
        file.put(f"pp{axis.upper()}", values)
        file.put(f"probe_position_{axis}_m", values)
    energy = float(product.metadata["photon_energy_eV"])
    if energy > 0:
        file.put("lambda", wavelength_of(energy))
    if product.metadata["tomography_angle_deg"]:
        file.put("angle", product.metadata["tomography_angle_deg"])
    if product.object_pixel_m is not None:
        file.put("dx", product.object_pixel_m[1])
    if product.object is not None:
        file.put("object", product.object.prod(axis=0)[None])
        if product.object_pixel_m is not None:
            height, width = product.object_pixel_m
            file.attributes("object", {"pixel_height_m": height, "pixel_width_m": width})
        if product.center_m is not None:
            y0, x0 = product.center_m
            file.attributes("object", {"center_y_m": y0, "center_x_m": x0})
    if product.probe is not None:
        file.put("probe", product.probe[:1])
