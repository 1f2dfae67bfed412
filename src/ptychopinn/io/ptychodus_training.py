"""The training data of ptychodus in one HDF5 file ("Ptychodus_Training_Data").

Everything is a dataset: ``patterns`` (n, N, N) counts, ``bad_pixels`` (N, N), ``probe`` (P, N, N),
``object`` (H, W), ``probe_position_x_px`` and ``probe_position_y_px`` (n,) on the object,
``object_pixel_width_m``, ``object_pixel_height_m``, ``detector_object_distance_m`` and
``photon_energy_eV``. Rows pair patterns and positions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptychopinn.io import ptychodus_product, ptychodus_scan
from ptychopinn.io.base import ReadOptions, ScanFields
from ptychopinn.io.hdf5 import holds, reading
from ptychopinn.io.hdf5_writer import writing
from ptychopinn.io.lazy import patterns_of
from ptychopinn.io.quantities import object_pixel, quantity
from ptychopinn.io.record import METADATA, SCAN_ITEMS, Patterns, Record, conjugate_pixel_m
from ptychopinn.io.record_scan import scan_fields

NAME = "ptychodus-training"
DESCRIPTION = "ptychodus training data"
NUMBERS = ("detector_object_distance_m", "photon_energy_eV")
KEEPS = SCAN_ITEMS.union(NUMBERS)


def matches(path: Path) -> bool:
    """Whether the file has patterns and positions in pixels."""
    return holds(path, "patterns", "probe_position_x_px", "probe_position_y_px")


def read(path: Path, options: ReadOptions) -> ScanFields:
    """Read the scan."""
    return scan_fields(read_record(path, lazily=options.reads_lazily), options, path)


def read_record(path: Path, *, lazily: bool = False) -> Record:
    """Read the file; the middle of its object is the origin. Large patterns may stay there."""
    with reading(path) as file:
        places = {
            axis: file.array(f"probe_position_{axis}_px").astype(np.float64).reshape(-1)
            for axis in "yx"
        }
        counts = patterns_of(file, "patterns", len(places["y"]), lazily=lazily)
        bad = ptychodus_scan.bad_pixels(file, counts.shape[1:])
        obj = file.array("object", "c", (2, 3))
        height, width = (f"object_pixel_{side}_m" for side in ("height", "width"))
        file.number(height)  # it must be there
        pixel = object_pixel(file, height), object_pixel(file, width)
        metadata = {
            **METADATA,
            NUMBERS[0]: quantity(file, NUMBERS[0], "distance"),
            NUMBERS[1]: quantity(file, NUMBERS[1], "energy", "eV"),
        }
        middle = (np.asarray(obj.shape[-2:]) - 1) / 2
        metres = {
            f"probe_position_{axis}_m": (places[axis] - middle[k]) * pixel[k]
            for k, axis in enumerate("yx")
        }
        product = ptychodus_product.build(
            path=path,
            metadata=metadata,
            arrays={"object": obj, "probe": file.array("probe", "c"), **metres},
            optional=dict.fromkeys(ptychodus_product.OPTIONAL),
            center_m=(0.0, 0.0),
            object_pixel_m=pixel,
            probe_pixel_m=pixel,
        )
    patterns = Patterns(
        counts=counts,
        indexes=np.arange(len(counts), dtype=np.int64),
        bad_pixels=bad,
        detector_pixel_m=conjugate_pixel_m(pixel, counts.shape[-1], metadata),
    )
    return Record(ptychodus_scan.check_patterns(path, patterns), product, in_order=True)


def write_record(record: Record, path: Path, *, force: bool = True) -> None:
    """Write the file; rows must pair patterns and positions already."""
    patterns, product = record.patterns, record.product
    assert patterns is not None
    content = ptychodus_product.flat(product)
    obj = np.prod(content["object"], axis=0)
    with writing(path, force) as file:
        file.put("patterns", patterns.counts)
        file.put("bad_pixels", patterns.bad_pixels)
        file.put("probe", content["probe"][0])
        file.put("object", obj)
        for k, (axis, side) in enumerate((("y", "height"), ("x", "width"))):
            pixel = content[f"object_pixel_{side}_m"]
            metres = product.positions_m[:, k] - content[f"object_center_{axis}_m"]
            file.put(f"probe_position_{axis}_px", metres / pixel + (obj.shape[k] - 1) / 2)
            file.put(f"object_pixel_{side}_m", pixel)
        for key in NUMBERS:
            file.put(key, product.metadata[key])
