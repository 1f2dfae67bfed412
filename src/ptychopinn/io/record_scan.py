"""From a record to a scan and back: pairs, pixels and counts.

Positions. ptychodus counts pixels from the centre of an array of length W at (W-1)/2, of the object
and of the patch alike: column ``x = (x_m - center_x_m) / pixel_m + (W-1)/2`` is where the *centre*
of the patch sits, so the patch starts at ``x - (N-1)/2``. Here a position r is where patch pixel
[N/2, N/2] sits and the patch starts at ``r - N/2``, hence ``r = x + 1/2``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import check_canvas, check_inside
from ptychopinn.errors import InputError
from ptychopinn.io.base import ReadOptions, ScanFields
from ptychopinn.io.counts import counts_from_array
from ptychopinn.io.layout import check_frame, probe_modes
from ptychopinn.io.lazy import LazyPatterns, taken
from ptychopinn.io.record import (
    METADATA,
    SCAN_ITEMS,
    UNKNOWN_PIXEL,
    UNKNOWN_PIXEL_M,
    Patterns,
    Product,
    Record,
    detector_pixel_of,
    pixel_known,
)
from ptychopinn.io.record_checks import AMPLITUDES, pairing_findings, usable
from ptychopinn.physics.geometry import canvas_for


def paired(record: Record) -> tuple[NDArray[np.int64], NDArray[np.float64], dict[str, int]]:
    """Pair patterns and positions by their indexes, as ptychodus does.

    Positions with the same index are averaged, missing ones are interpolated between their
    neighbours, and patterns before the first or after the last position are left out.

    Returns
    -------
    Rows of the patterns to use (m,), their positions (m, 2) in metres, and how many positions were
    averaged and interpolated and how many patterns were left out.
    """
    patterns, product = record.patterns, record.product
    assert patterns is not None
    if not len(product.indexes):
        raise InputError("a scan needs probe positions, received none; add them.")
    index, inverse = np.unique(product.indexes, return_inverse=True)
    share = np.bincount(inverse)
    mean = np.stack(
        [np.bincount(inverse, weights=product.positions_m[:, axis]) / share for axis in (0, 1)],
        axis=1,
    )
    rows = np.flatnonzero((patterns.indexes >= index[0]) & (patterns.indexes <= index[-1]))
    if not len(rows):
        raise InputError(
            "patterns and positions must share their indexes, received patterns "
            f"{_span(patterns.indexes)} and positions {_span(index)}; use files of the same scan."
        )
    used = patterns.indexes[rows]
    positions = np.stack([np.interp(used, index, mean[:, axis]) for axis in (0, 1)], axis=1)
    changes = {
        "positions_averaged": len(product.indexes) - len(index),
        "positions_interpolated": int((~np.isin(used, index)).sum()),
        "patterns_without_position": len(patterns.indexes) - len(rows),
    }
    return rows, positions, {key: value for key, value in changes.items() if value}


def _span(indexes: NDArray[np.int64]) -> str:
    return f"{indexes.min()} to {indexes.max()}" if len(indexes) else "none"


def square_pixel(product: Product) -> float:
    """The object's pixel size in metres, which must be known and square."""
    pixel = product.object_pixel_m
    if pixel is None or not (np.isfinite(pixel).all() and min(pixel) > 0):
        raise InputError(
            f"the pixel size of the object must be known and positive, received {pixel}; add it, "
            "or energy, distance and the size of a detector pixel."
        )
    if not np.isclose(*pixel, rtol=1e-3, atol=0):
        raise InputError(
            f"object pixels must be square, received {pixel[0]:.6g} m by {pixel[1]:.6g} m; "
            "resample the patterns."
        )
    return float(pixel[1])


def to_pixels(
    positions_m: NDArray[np.float64], product: Product, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Positions r (n, 2) on an object of ``shape``; see the head of this module.

    Where the centre is not stored, the middle of the positions' bounding box is taken, which is
    where ptychodus puts an object.
    """
    pixel = square_pixel(product)
    center = product.center_m
    if center is None:
        low, high = product.positions_m.min(axis=0), product.positions_m.max(axis=0)
        center = tuple((low + high) / 2)
    # The scan refuses places that are no numbers.
    with np.errstate(over="ignore"):
        return (positions_m - np.asarray(center)) / pixel + np.asarray(shape) / 2


def require_far_field(product: Product, where: str) -> None:
    """Raise InputError for a product of the near field: only files of this program say enough."""
    if not product.metadata["far_field"]:
        raise InputError(
            f"patterns of the far field were expected, received {where} which says far_field = "
            "False: what it leaves open about the near field is said in the native format and in "
            "reconstruction.h5 only; use that file, or make the scan with Scan.from_arrays("
            "propagation='near-field') and save_scan."
        )


def thin_object(product: Product) -> NDArray[Any] | None:
    """The object (H, W), the product of its layers; None when it is missing or says nothing.

    An object that is the same everywhere is a placeholder: formats that demand an object get one
    from scans without.
    """
    if product.object is None or not product.object.size:
        return None
    obj = np.prod(product.object, axis=0)
    return None if (obj == obj.flat[0]).all() else obj


def scan_fields(record: Record, options: ReadOptions, path: Path) -> ScanFields:
    """The scan in a record: paired, in pixels and in counts; the probe keeps its own scale.

    Raises
    ------
    InputError
        When patterns, probe or pixel size are missing, or the record contradicts itself.
    """
    if record.patterns is None:
        raise InputError(
            f"a scan needs diffraction patterns, received '{path}' which holds none; put "
            "diffraction.h5 beside product.h5, or name the file with the patterns."
        )
    if options.photons is not None:
        raise InputError(
            f"'{path}' is in a format that stores photon counts, received "
            f"photons={options.photons:.6g}; leave that out."
        )
    check_frame(record.patterns.counts.shape, f"the patterns in '{path}'", path)
    record = usable(record, options, path)
    patterns, product = record.patterns, record.product
    assert patterns is not None
    if not record.says_field:
        require_far_field(product, f"'{path}'")
    rows, positions_m, changes = paired(record)
    counts = taken(patterns.counts, rows)
    if not isinstance(counts, LazyPatterns):
        counts = counts_from_array(counts, f"the patterns in '{path}'", remedy=AMPLITUDES)
    n = counts.shape[-1]
    probe = options.probe_or(
        lambda: (
            None
            if product.probe is None
            else probe_modes(product.probe[0], f"the probe in '{path}'", n)
        )
    )
    provenance: dict[str, Any] = {**changes}
    obj = thin_object(product)
    shape = np.shape(product.object)[-2:] if product.object is not None else (0, 0)
    positions = to_pixels(positions_m, product, (shape[0], shape[1]))
    if obj is not None:
        try:
            check_inside(positions, n, obj.shape)
        except InputError:
            provenance["object"] = "ignored, it does not hold every patch"
            obj = None
    metadata = product.metadata
    mask = None
    if patterns.bad_pixels.any():
        mask = ~patterns.bad_pixels.astype(bool)
    for key, unknown in METADATA.items():
        if metadata[key] != unknown and key not in scan_keeps(record):
            provenance[key] = metadata[key]
    near = not metadata["far_field"]
    return ScanFields(
        diffraction=counts,
        positions_px=positions,
        probe=probe,
        probe_in_counts=False,
        name=str(metadata["name"]) or path.stem,
        object=obj,
        mask=mask,
        pixel_size_m=square_pixel(product) if pixel_known(product) else None,
        energy_eV=float(metadata["photon_energy_eV"]) or None,
        distance_m=abs(float(metadata["detector_object_distance_m"])) or None,
        propagation="near-field" if near else "far-field",
        focus_distance_m=abs(float(metadata[FOCUS])) or None if near else None,
        provenance=provenance,
        findings=record.findings + pairing_findings(changes, len(patterns.counts)),
    )


FOCUS = "focus_object_distance_m"
_SCAN_METADATA = ("name", "photon_energy_eV", "detector_object_distance_m", "far_field")


def scan_keeps(record: Record) -> frozenset[str]:
    """What a scan keeps of a record: the distance from the focus in the near field only."""
    kept = SCAN_ITEMS.union(_SCAN_METADATA)
    return kept if record.product.metadata["far_field"] else kept | {FOCUS}


def record_of_fields(fields: ScanFields) -> Record:
    """A scan as a record, its probe and object in the scale of their file.

    Metres are ``position_px * pixel_size_m``, with 1 m for a pixel of unknown size. A scan without
    object gets one that is 1 everywhere and just holds every patch, since products demand one.
    """
    n = int(fields.diffraction.shape[-1])
    counts = np.asarray(fields.diffraction[:])
    mask = np.ones((n, n), bool) if fields.mask is None else np.asarray(fields.mask, bool)
    probe = None if fields.probe is None else np.asarray(fields.probe)
    pixel = UNKNOWN_PIXEL_M if fields.pixel_size_m is None else float(fields.pixel_size_m)
    check_canvas(np.asarray(fields.positions_px), n)
    if fields.object is None:
        shape, origin = canvas_for(fields.positions_px, n)
        obj = np.ones(shape, np.complex64)
    else:
        obj, origin = np.asarray(fields.object), np.zeros(2, np.int64)
    photons = float(counts.sum(dtype=np.float64)) / len(counts)
    if fields.probe_in_counts and probe is not None:
        photons = float((np.abs(probe.astype(np.complex128)) ** 2).sum())
    comments = ""
    if fields.pixel_size_m is None:
        comments = UNKNOWN_PIXEL
    metadata = {
        **METADATA,
        "name": fields.name,
        "comments": comments,
        "detector_object_distance_m": float(fields.distance_m or 0.0),
        "photon_energy_eV": float(fields.energy_eV or 0.0),
        "probe_photon_count": photons,
        "focus_object_distance_m": float(fields.focus_distance_m or 0.0),
        "far_field": fields.propagation == "far-field",
    }
    indexes = np.arange(len(counts), dtype=np.int64)
    center = (origin + np.asarray(obj.shape) / 2) * pixel
    product = Product(
        indexes=indexes,
        positions_m=fields.positions_px * pixel,
        probe=None if probe is None else probe[None],
        object=obj[None],
        center_m=(float(center[0]), float(center[1])),
        object_pixel_m=(pixel, pixel),
        probe_pixel_m=(pixel, pixel),
        metadata=metadata,
    )
    patterns = Patterns(counts, indexes, ~mask, detector_pixel_of((pixel, pixel), n, metadata))
    return Record(patterns, product, in_order=True, findings=fields.findings)


def with_object(record: Record) -> Product:
    """The product with an object that is 1 everywhere and holds every patch, where it has none."""
    product = record.product
    probe = product.probe
    if product.object is not None or product.object_pixel_m is None or probe is None:
        return product
    if not len(product.positions_m):
        return product
    pixel = square_pixel(product)
    low, high = product.positions_m.min(axis=0), product.positions_m.max(axis=0)
    check_canvas(product.positions_m / pixel, probe.shape[-1])
    height, width = (int(np.ceil(v)) + probe.shape[-1] + 2 for v in (high - low) / pixel)
    middle = (low + high) / 2
    return replace(
        product,
        object=np.ones((1, height, width), np.complex64),
        center_m=product.center_m or (float(middle[0]), float(middle[1])),
    )


def consecutive(record: Record) -> tuple[Record, list[str]]:
    """The record for formats without indexes, where row k of the patterns belongs to position k.

    Returns it with what was lost on the way: patterns and positions without partner.
    """
    product, patterns = record.product, record.patterns
    order = np.argsort(product.indexes, kind="stable")
    if patterns is None:
        positions, found, whole = product.positions_m[order], order, True
        losses: list[str] = []
    else:
        rows, positions, changes = paired(record)
        used = patterns.indexes[rows]
        place = np.searchsorted(product.indexes, used, sorter=order)
        found = order[np.minimum(place, len(order) - 1)]
        whole = bool((product.indexes[found] == used).all())
        losses = [f"{count} {name.replace('_', ' ')}" for name, count in changes.items()]
        unused = int((~np.isin(product.indexes, used)).sum())
        if unused:
            losses.append(f"{unused} positions without pattern")
        patterns = replace(
            patterns,
            counts=patterns.counts[rows],
            indexes=np.arange(len(rows), dtype=np.int64),
            photon_counts=None if patterns.photon_counts is None else patterns.photon_counts[rows],
        )

    def chosen(values: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        # What belongs to a position goes along where every pattern has a position of its own.
        return None if values is None or not whole else values[found]

    product = replace(
        product,
        indexes=np.arange(len(positions), dtype=np.int64),
        positions_m=positions,
        opr_weights=chosen(product.opr_weights),
        photon_counts=chosen(product.photon_counts),
    )
    return replace(record, patterns=patterns, product=product, in_order=True), losses
