"""What the exchange formats hold, whole and in their own terms: patterns, and a product.

ptychodus calls *product* what belongs to a reconstruction: positions, probe, object and the numbers
of the experiment. A :class:`Record` keeps it as it is stored, in metres and with everything a
:class:`~ptychopinn.data.scan.Scan` has no place for, so that a conversion loses only what the target
cannot hold. :func:`scan_fields` turns a record into a scan, :func:`record_of_fields` a scan into a
record.

Positions. ptychodus counts pixels from the centre of an array of length W at (W-1)/2, of the object
and of the patch alike: column ``x = (x_m - center_x_m) / pixel_m + (W-1)/2`` is where the *centre*
of the patch sits, so the patch starts at ``x - (N-1)/2``. Here a position r is where patch pixel
[N/2, N/2] sits and the patch starts at ``r - N/2``, hence ``r = x + 1/2``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from ptychopinn.data.scan import check_canvas, check_counts, check_inside
from ptychopinn.errors import InputError
from ptychopinn.io.base import ReadOptions, ScanFields, probe_modes
from ptychopinn.io.counts import counts_from_integers, to_counts
from ptychopinn.physics.geometry import canvas_for

# The numbers and words of the experiment, by the names of product.h5, and what each is when nothing
# is known about it.
METADATA: Mapping[str, float | str | bool] = MappingProxyType(
    {
        "name": "",
        "comments": "",
        "detector_object_distance_m": 0.0,
        "photon_energy_eV": 0.0,
        "probe_photon_count": 0.0,
        "exposure_time_s": 0.0,
        "mass_attenuation_m2_per_kg": 0.0,
        "tomography_angle_deg": 0.0,
        "focus_object_distance_m": 0.0,
        "tilt_angle_deg": 0.0,
        "polarization": "",
        "far_field": True,
    }
)


# Formats that demand a pixel size get one of this many metres where it is unknown, so that metres
# are pixels; no experiment has such pixels, and reading it means that the size is unknown.
UNKNOWN_PIXEL_M = 1.0
UNKNOWN_PIXEL = "The pixel size is unknown: all lengths in metres are object pixels."


@dataclass(frozen=True, eq=False)
class Patterns:
    """Diffraction patterns as stored.

    Attributes
    ----------
    counts : (n, H, W) photon counts, zero frequency at [H/2, W/2]
    indexes : (n,) int64, the numbers that pair patterns with positions
    bad_pixels : (H, W) bool, True = bad
    detector_pixel_m : (height, width) of a detector pixel, or None
    photon_counts : (n,) counts of the incident beam per pattern, or None
    """

    counts: NDArray[Any]
    indexes: NDArray[np.int64]
    bad_pixels: NDArray[np.bool_]
    detector_pixel_m: tuple[float, float] | None = None
    photon_counts: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Product:
    """Positions, probe, object and metadata as stored; lengths in metres, axes (y, x).

    Attributes
    ----------
    indexes : (n,) int64
    positions_m : (n, 2) float64, (y, x)
    probe : (R, P, N, N) complex, R sets of P incoherent modes of which the first is the mean, or
        None where the format has no probe
    object : (L, H, W) complex, L layers, or None
    center_m : (y, x) of the middle of the object, or None where the format does not tell
    object_pixel_m, probe_pixel_m : (height, width), or None
    layer_spacing_m : (L-1,)
    opr_weights : (n, R) weights of the sets at each position, or None
    photon_counts : (n,) counts of the incident beam at each position, or None
    loss_epochs, loss_values : (E,)
    metadata : by the names of ``METADATA``
    """

    indexes: NDArray[np.int64]
    positions_m: NDArray[np.float64]
    probe: NDArray[Any] | None = None
    object: NDArray[Any] | None = None
    center_m: tuple[float, float] | None = None
    object_pixel_m: tuple[float, float] | None = None
    probe_pixel_m: tuple[float, float] | None = None
    layer_spacing_m: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    opr_weights: NDArray[np.float64] | None = None
    photon_counts: NDArray[np.float64] | None = None
    loss_epochs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    loss_values: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    metadata: Mapping[str, float | str | bool] = field(default_factory=lambda: dict(METADATA))


@dataclass(frozen=True, eq=False)
class Record:
    """The content of one exchange file, or of one pair of files."""

    patterns: Patterns | None
    product: Product


# What a record can hold beyond positions, as a sentence about its loss.
_ITEMS: Mapping[str, str] = MappingProxyType(
    {
        "patterns": "the diffraction patterns",
        "indexes": "the numbers of the patterns (they are counted from 0 again)",
        "bad_pixels": "the mask of bad pixels",
        "detector_pixel": "the size of a detector pixel",
        "pattern_photon_counts": "the incident photons of each pattern",
        "probe": "the probe",
        "probe_modes": "all but the first of the incoherent probe modes",
        "probe_pixel": "the pixel size of the probe (that of the object is taken)",
        "opr": "the variations of the probe along the scan",
        "object": "the object",
        "layers": "the layers of the object (their product is kept)",
        "center": "the absolute origin of the positions",
        "object_pixel": "the pixel size of the object",
        "position_photon_counts": "the incident photons at each position",
        "losses": "the losses",
    }
)
ALL = frozenset(_ITEMS) | frozenset(METADATA)


def contents(record: Record) -> set[str]:
    """The items of ``ALL`` that the record really holds."""
    held: set[str] = set()
    patterns, product = record.patterns, record.product
    if patterns is not None:
        held.add("patterns")
        if patterns.bad_pixels.any():
            held.add("bad_pixels")
        if patterns.detector_pixel_m is not None and not _follows(record):
            held.add("detector_pixel")
        if patterns.photon_counts is not None:
            held.add("pattern_photon_counts")
        if (patterns.indexes != np.arange(len(patterns.indexes))).any():
            held.add("indexes")
    if (product.indexes != np.arange(len(product.indexes))).any():
        held.add("indexes")
    if product.probe is not None:
        held.add("probe")
        if product.probe.shape[1] > 1:
            held.add("probe_modes")
        if product.probe.shape[0] > 1 or product.opr_weights is not None:
            held.add("opr")
        if product.probe_pixel_m is not None and not _close(
            product.probe_pixel_m, product.object_pixel_m
        ):
            held.add("probe_pixel")
    if product.object is not None:
        held.add("object")
        if len(product.object) > 1:
            held.add("layers")
    if product.center_m is not None and any(product.center_m):
        held.add("center")
    if pixel_known(product):
        held.add("object_pixel")
    if product.photon_counts is not None:
        held.add("position_photon_counts")
    if len(product.loss_values):
        held.add("losses")
    words = {k for k, unknown in METADATA.items() if product.metadata[k] != unknown}
    if product.metadata["comments"] == UNKNOWN_PIXEL:
        words.remove("comments")
    return held | words


def pixel_known(product: Product) -> bool:
    """Whether the object's pixel size is known; see ``UNKNOWN_PIXEL_M``."""
    pixel = product.object_pixel_m
    return pixel is not None and tuple(pixel) != (UNKNOWN_PIXEL_M, UNKNOWN_PIXEL_M)


def lost(record: Record, kept: frozenset[str]) -> list[str]:
    """What a format that keeps ``kept`` loses of the record, one phrase each."""
    return [
        _ITEMS.get(item, f"the {item.rsplit('_', 1)[0].replace('_', ' ')} ({item})")
        for item in [*_ITEMS, *METADATA]
        if item in contents(record) - kept
    ]


def _close(first: tuple[float, float] | None, second: tuple[float, float] | None) -> bool:
    return (
        first is not None
        and second is not None
        and bool(np.allclose(first, second, rtol=1e-9, atol=0))
    )


def wavelength_m(energy_eV: float) -> float:
    """Wavelength of photons of this energy."""
    return constants.h * constants.c / (energy_eV * constants.e)


def conjugate_pixel_m(
    pixel_m: tuple[float, float], n: int, metadata: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Pixel of the other end of the far field, ``lambda z / (N pixel)``; None when unknown."""
    energy, distance = metadata["photon_energy_eV"], metadata["detector_object_distance_m"]
    if not (energy > 0 and distance and min(pixel_m) > 0):
        return None
    reach = wavelength_m(float(energy)) * abs(float(distance)) / n
    return reach / pixel_m[0], reach / pixel_m[1]


def _follows(record: Record) -> bool:
    """Whether the detector pixel follows from the object pixel, energy and distance."""
    patterns, product = record.patterns, record.product
    assert patterns is not None
    if product.object_pixel_m is None:
        return False
    n = patterns.counts.shape[-1]
    derived = conjugate_pixel_m(product.object_pixel_m, n, product.metadata)
    return _close(patterns.detector_pixel_m, derived)


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
    return (positions_m - np.asarray(center)) / pixel + np.asarray(shape) / 2


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
    patterns, product = record.patterns, record.product
    if patterns is None:
        raise InputError(
            f"a scan needs diffraction patterns, received '{path}' which holds none; put "
            "diffraction.h5 beside product.h5, or name the file with the patterns."
        )
    if options.units == "amplitude" or options.photons is not None:
        raise InputError(
            f"'{path}' is in a format that stores photon counts, received units='amplitude' or "
            "photons=...; leave that out."
        )
    if not product.metadata["far_field"]:
        raise InputError(
            f"a far-field scan was expected, received '{path}' which says far_field = False; the "
            "model of this program is the Fraunhofer diffraction pattern."
        )
    rows, positions_m, changes = paired(record)
    stored = patterns.counts[rows]
    where = f"the patterns in '{path}'"
    if stored.ndim != 3 or stored.shape[1] != stored.shape[2]:
        raise InputError(
            f"{where} must have shape (M, N, N), received {stored.shape}; crop them to a square."
        )
    counts = _counts(stored, where)
    probe = options.probe
    if probe is None:
        if product.probe is None:
            raise InputError(
                f"a scan needs a probe, received '{path}' without one; give it with "
                "the option probe, as FILE:KEY."
            )
        probe = probe_modes(product.probe[0], f"the probe in '{path}'")
    provenance: dict[str, Any] = {**changes}
    n = counts.shape[-1]
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
        if metadata[key] != unknown and key not in _SCAN_METADATA:
            provenance[key] = metadata[key]
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
        provenance=provenance,
    )


_SCAN_METADATA = ("name", "photon_energy_eV", "detector_object_distance_m", "far_field")
# What a scan keeps of a record.
SCAN_KEEPS = frozenset(
    ("patterns", "bad_pixels", "probe", "probe_modes", "object", "object_pixel", *_SCAN_METADATA)
)


def _counts(stored: NDArray[Any], where: str) -> NDArray[Any]:
    if stored.dtype.kind in "iu":
        return counts_from_integers(stored, where)
    if stored.dtype.kind != "f":
        raise InputError(
            f"{where} must hold real numbers, received {stored.dtype}; store photon counts."
        )
    check_counts(stored, where)
    if (stored == np.rint(stored)).all():
        return to_counts(stored, where, units="counts", photons=None)[0]
    return stored.astype(np.float32)


def record_of_fields(fields: ScanFields) -> Record:
    """A scan as a record, its probe and object in the scale of their file.

    Metres are ``position_px * pixel_size_m``, with 1 m for a pixel of unknown size. A scan without
    object gets one that is 1 everywhere and just holds every patch, since products demand one.
    """
    n = int(fields.diffraction.shape[-1])
    counts = np.asarray(fields.diffraction[:])
    mask = np.ones((n, n), bool) if fields.mask is None else np.asarray(fields.mask, bool)
    probe = np.asarray(fields.probe)
    pixel = UNKNOWN_PIXEL_M if fields.pixel_size_m is None else float(fields.pixel_size_m)
    check_canvas(np.asarray(fields.positions_px), n)
    if fields.object is None:
        shape, origin = canvas_for(fields.positions_px, n)
        obj = np.ones(shape, np.complex64)
    else:
        obj, origin = np.asarray(fields.object), np.zeros(2, np.int64)
    photons = float(counts.sum(dtype=np.float64)) / len(counts)
    if fields.probe_in_counts:
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
    }
    indexes = np.arange(len(counts), dtype=np.int64)
    center = (origin + np.asarray(obj.shape) / 2) * pixel
    product = Product(
        indexes=indexes,
        positions_m=fields.positions_px * pixel,
        probe=probe[None],
        object=obj[None],
        center_m=(float(center[0]), float(center[1])),
        object_pixel_m=(pixel, pixel),
        probe_pixel_m=(pixel, pixel),
        metadata=metadata,
    )
    detector = conjugate_pixel_m((pixel, pixel), n, metadata)
    return Record(Patterns(counts, indexes, ~mask, detector), product)


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
    return Record(patterns, product), losses
