"""CXI files, version 1.6: patterns, positions, probe and object in the layout of the CXI database.

==========================================================  ===================================
``/entry_1/data_1/data`` or ``.../detector_1/data``         (n, H, W) counts
``/entry_1/instrument_1/detector_1``                        ``distance``, ``x_pixel_size``,
                                                            ``y_pixel_size`` (m), ``mask`` (0 good)
``/entry_1/instrument_1/source_1/energy``                   joule
``/entry_1/instrument_1/beam_1/energy``                     eV, where there is one
``/entry_1/sample_1/geometry_1/translation``                (n, 3) as (x, y, z) in metres
``/entry_1/image_1/data``                                   probe (R, P, H, W)
``/entry_1/image_2/data``                                   object (L, H, W)
``/entry_1/ptychodus``                                      what ptychodus adds
``/entry_1/ptychopinn``                                     ``propagation`` of a near field, and
                                                            ``focus_distance_m`` (focus to sample)
``/entry_1/instrument_1/source_1/distance``                 to the sample; the focus of a near
                                                            field that is not told elsewhere
==========================================================  ===================================

These are the units where no attribute ``units`` states another one. (3, n) is read too, and so are
axes of a grid, (rows, columns, H, W) with (rows, columns, 3). CXI itself does not say whether
patterns are of the far or of the near field; what a reader is told takes the place of what the file
says, and the pixel of the object follows from that of the detector then.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from ptychopinn.data.findings import Finding
from ptychopinn.errors import InputError
from ptychopinn.io import ptychodus_product, ptychodus_scan
from ptychopinn.io.base import ReadOptions, ScanFields, is_hdf5
from ptychopinn.io.guess import typed
from ptychopinn.io.hdf5 import Reader, reading
from ptychopinn.io.hdf5_writer import NewFile, writing
from ptychopinn.io.lazy import patterns_of
from ptychopinn.io.quantities import (
    Kind,
    coordinates,
    detector_kind,
    lengths,
    object_pixel,
    photon_energy,
    quantity,
)
from ptychopinn.io.record import (
    METADATA,
    Patterns,
    Product,
    Record,
    contents,
    object_pixel_of,
)
from ptychopinn.io.record_scan import scan_fields

NAME = "cxi"
DESCRIPTION = "CXI"
KEEPS = frozenset(
    {
        "patterns",
        "bad_pixels",
        "detector_pixel",
        "probe",
        "probe_modes",
        "probe_pixel",
        "opr",
        "object",
        "layers",
        "center",
        "object_pixel",
        "losses",
        "name",
        "comments",
        "detector_object_distance_m",
        "photon_energy_eV",
        "probe_photon_count",
        "exposure_time_s",
        "mass_attenuation_m2_per_kg",
        "tomography_angle_deg",
        "focus_object_distance_m",
        "far_field",
    }
)

VERSION = 160
ENTRY = "/entry_1"
INSTRUMENT = f"{ENTRY}/instrument_1"
SOURCE, DETECTOR = f"{ENTRY}/instrument_1/source_1", f"{ENTRY}/instrument_1/detector_1"
DATA, DETECTOR_DATA = f"{ENTRY}/data_1/data", f"{DETECTOR}/data"
TRANSLATION = f"{ENTRY}/sample_1/geometry_1/translation"
OLD_TRANSLATION, OLD_PROBE = f"{ENTRY}/data_1/translation", f"{SOURCE}/illumination"
PROBE, OBJECT, OWN = f"{ENTRY}/image_1", f"{ENTRY}/image_2", f"{ENTRY}/ptychodus"
# What CXI has no name for: how waves reach the detector, and how far the focus is from the sample.
PROPAGATION, FOCUS = f"{ENTRY}/ptychopinn/propagation", f"{ENTRY}/ptychopinn/focus_distance_m"
CONE = "cone-from-source"
# Pixels that are one and the same agree within this.
SAME_PIXEL = 0.01
# Numbers in the group of ptychodus, by the names of a product.
OWN_NUMBERS = (
    "probe_photon_count",
    "exposure_time_s",
    "mass_attenuation_m2_per_kg",
    "tomography_angle_deg",
)


def matches(path: Path) -> bool:
    """Whether this is an HDF5 file with the CXI version or the CXI entry."""
    if not is_hdf5(path):
        return False
    with reading(path) as file:
        return "cxi_version" in file or f"{ENTRY}/instrument_1" in file


def read(path: Path, options: ReadOptions) -> ScanFields:
    """Read the scan."""
    record = read_record(path, lazily=options.reads_lazily, said=options.way)
    if options.way and options.probe is None and options.with_probe:
        _check_probe(record.product, path)
    return scan_fields(record, options, path)


def read_record(
    path: Path, *, lazily: bool = False, said: Mapping[str, Any] | None = None
) -> Record:
    """Read a file with patterns, with a product, or with both; large patterns may stay there.

    ``said`` of the way to the detector, by the names of :data:`ptychopinn.io.base.WAY`, takes the
    place of what the file says.
    """
    said = said or {}
    with reading(path) as file:
        metadata = dict(METADATA)
        metadata["name"] = file.text(f"{ENTRY}/title") or file.text(f"{ENTRY}/sample_1/name")
        metadata["comments"] = file.text(f"{ENTRY}/experiment_description")
        metadata["detector_object_distance_m"] = quantity(file, f"{DETECTOR}/distance", "distance")
        metadata["photon_energy_eV"] = photon_energy(file, INSTRUMENT)
        found = _way(file, metadata, said)
        for key in OWN_NUMBERS:
            metadata[key] = file.number(f"{OWN}/{key}", 0.0)
        positions = _positions(file)
        patterns = _patterns(file, len(positions), lazily, detector_kind(metadata))
        product = _product(file, metadata, patterns, positions, bool(said))
        counted = bool((product.indexes == np.arange(len(positions))).all())
        return Record(
            patterns,
            product,
            in_order=counted,
            mask_meaning="cxi",
            findings=_mask(file)[1] + found,
            says_field=True,
        )


def _way(file: Reader, metadata: dict[str, Any], said: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Put the way to the detector into the metadata, and say what was taken for it."""
    near = said.get("propagation", file.text(PROPAGATION) or "far-field") == "near-field"
    if "focus_distance_m" in said and not near:
        raise InputError(
            f"a distance from the focus belongs to the near field, received it for '{file.path}', "
            "which is read as one of the far field; add propagation='near-field', or leave "
            "focus_distance_m out."
        )
    metadata["far_field"] = not near
    metadata["focus_object_distance_m"] = said.get(
        "focus_distance_m", quantity(file, FOCUS, "length")
    )
    if "distance_m" in said:
        metadata["detector_object_distance_m"] = said["distance_m"]
    name = f"{SOURCE}/distance"
    source = 0.0 if metadata["focus_object_distance_m"] else abs(quantity(file, name, "length"))
    if not near or not source:
        return ()
    # A beam that is not focused comes from there. Where it is, its focus has to be said.
    metadata["focus_object_distance_m"] = source
    words = (
        f"the beam is taken for a cone from its source, {source:.6g} m in front of the sample, as "
        f"'{name}' says; where optics focus it, say with the option focus_distance_m how far "
        "the focus is in front of the sample"
    )
    return (Finding(CONE, "doubt", words, {"focus_distance_m": source}),)


def _check_probe(product: Product, path: Path) -> None:
    """Raise InputError for a probe on other pixels than those that the distances give."""
    own, pixel = product.probe_pixel_m, product.object_pixel_m
    if product.probe is None or own is None or pixel is None:
        return
    if abs(own[1] / pixel[1] - 1) > SAME_PIXEL:
        raise InputError(
            f"the probe in '{path}' must be on pixels of the object, which are {pixel[1]:.6g} m by "
            f"the distances given, received one on pixels of {own[1]:.6g} m; correct the "
            "distances, or give another probe."
        )


def _patterns(file: Reader, places: int, lazily: bool, pixel: Kind) -> Patterns | None:
    name = DATA if file.shape(DATA) is not None else DETECTOR_DATA
    if file.shape(name) is None:
        broken = file.broken_link(DATA) or file.broken_link(DETECTOR_DATA)
        if broken is not None:
            raise InputError(
                f"patterns were expected as '{DATA}' in '{file.path}', received a link to "
                f"'{broken}', which does not exist; write the file again with what it links to."
            )
        return None
    counts = patterns_of(file, name, places, lazily=lazily)
    mask, _ = _mask(file)
    if mask is not None and mask.shape != counts.shape[1:]:
        wanted, received = (" x ".join(map(str, a.shape[-2:])) for a in (counts, mask))
        line = typed(file.path, {"mask": "MASK.npy"})
        raise InputError(
            f"'{DETECTOR}/mask' in '{file.path}' must be as large as the patterns, {wanted} "
            f"pixels, received {received}; cut it as the patterns were cut, and type: {line}."
        )
    height, width = (quantity(file, f"{DETECTOR}/{a}_pixel_size", pixel) for a in "yx")
    return ptychodus_scan.check_patterns(
        file.path,
        Patterns(
            counts=counts,
            indexes=np.arange(len(counts), dtype=np.int64),
            bad_pixels=np.zeros(counts.shape[1:], bool) if mask is None else mask != 0,
            detector_pixel_m=(height, width) if height > 0 and width > 0 else None,
        ),
    )


def _positions(file: Reader) -> NDArray[np.float64]:
    """Positions (n, 2 or 3) as (x, y, z) in metres."""
    name = TRANSLATION if TRANSLATION in file else OLD_TRANSLATION
    shape = file.shape(DATA) or file.shape(DETECTOR_DATA) or ()
    return coordinates(file, name, prod(shape[:-2]), (3, 2), "(n, 3) as (x, y, z)")


def _mask(file: Reader) -> tuple[NDArray[Any] | None, tuple[Finding, ...]]:
    """The mask (H, W); where there is one for each pattern, of the pixels that are bad in any."""
    mask = file.optional(f"{DETECTOR}/mask", "biuf")
    if mask is None or mask.ndim < 3:
        return mask, ()
    each = mask.reshape(-1, *mask.shape[-2:]) != 0
    bad = each.any(axis=0)
    number = int((bad & ~each.all(axis=0)).sum())
    if not number:
        return bad, ()
    words = f"masked {number} pixels in all patterns, which the file masks in some of them"
    return bad, (Finding("mask-per-pattern", "mended", words, {"pixels": number}),)


def _product(
    file: Reader,
    metadata: dict[str, Any],
    patterns: Patterns | None,
    translation: NDArray[np.float64],
    anew: bool,
) -> Product:
    """Positions, probe and object; ``anew`` with the pixel that follows from the detector's."""
    probe_name = f"{PROBE}/data" if f"{PROBE}/data" in file else OLD_PROBE
    probe = file.optional(probe_name, "cf")
    obj = file.optional(f"{OBJECT}/data", "cf")
    stored = object_pixel = _pixel(file, "object", OBJECT, obj)
    if (stored is None or anew) and patterns is not None and patterns.detector_pixel_m is not None:
        n = patterns.counts.shape[-1]
        object_pixel = object_pixel_of(patterns.detector_pixel_m, n, metadata)
    if stored and object_pixel and abs(stored[1] / object_pixel[1] - 1) > SAME_PIXEL:
        # It is on pixels of another size.
        obj = None
    center = None
    if f"{OWN}/object_center_x_m" in file and f"{OWN}/object_center_y_m" in file:
        center = (
            file.number(f"{OWN}/object_center_y_m"),
            file.number(f"{OWN}/object_center_x_m"),
        )
    arrays: dict[str, NDArray[Any]] = {
        "probe_position_x_m": translation[:, 0],
        "probe_position_y_m": translation[:, 1],
    }
    arrays |= {} if probe is None else {"probe": probe}
    arrays |= {} if obj is None else {"object": obj}
    optional = {key: file.optional(f"{OWN}/{key}") for key in ptychodus_product.OPTIONAL}
    return ptychodus_product.build(
        path=file.path,
        metadata=metadata,
        arrays=arrays,
        optional=optional,
        center_m=center,
        object_pixel_m=object_pixel,
        probe_pixel_m=_pixel(file, "probe", PROBE, probe) or object_pixel,
    )


def _pixel(
    file: Reader, what: str, image: str, array: NDArray[Any] | None
) -> tuple[float, float] | None:
    """(height, width) in metres, from ptychodus' numbers or from the size of the image."""
    if f"{OWN}/{what}_pixel_height_m" in file:
        return (
            object_pixel(file, f"{OWN}/{what}_pixel_height_m"),
            object_pixel(file, f"{OWN}/{what}_pixel_width_m"),
        )
    name = f"{image}/image_size"
    size = lengths(file, name) if name in file else None
    if size is None or array is None or size.size < 2:
        return None
    height, width = float(size.flat[1]) / array.shape[-2], float(size.flat[0]) / array.shape[-1]
    return (height, width) if height > 0 and width > 0 else None


def write_record(record: Record, path: Path, *, force: bool = True) -> None:
    """Write patterns and product into one file; rows must pair patterns and positions already."""
    patterns, product = record.patterns, record.product
    metadata, held = product.metadata, contents(record)
    with writing(path, force) as file:
        file.put("cxi_version", VERSION)
        # Without start_time: the file says nothing that is not known, and equal scans give equal
        # files.
        if metadata["name"]:
            file.put(f"{ENTRY}/title", metadata["name"])
            file.put(f"{ENTRY}/sample_1/name", metadata["name"])
        if metadata["comments"]:
            file.put(f"{ENTRY}/experiment_description", metadata["comments"])
        file.attributes(SOURCE, {})
        file.attributes(DETECTOR, {})
        if "photon_energy_eV" in held:
            file.put(f"{SOURCE}/energy", float(metadata["photon_energy_eV"]) * constants.e)
        if "detector_object_distance_m" in held:
            file.put(f"{DETECTOR}/distance", metadata["detector_object_distance_m"])
        xyz = np.zeros((len(product.positions_m), 3))
        xyz[:, :2] = product.positions_m[:, ::-1]
        file.put(TRANSLATION, xyz)
        file.link(OLD_TRANSLATION, TRANSLATION)
        if patterns is not None:
            _write_patterns(file, patterns)
        file.put(f"{OWN}/probe_position_indexes", product.indexes)
        for key in OWN_NUMBERS:
            if key in held:
                file.put(f"{OWN}/{key}", metadata[key])
        if "focus_object_distance_m" in held:
            file.put(FOCUS, float(metadata["focus_object_distance_m"]))
        if not metadata["far_field"]:
            file.put(PROPAGATION, "near-field")
        if product.opr_weights is not None:
            file.put(f"{OWN}/opr_weights", product.opr_weights)
        if len(product.loss_values):
            file.put(f"{OWN}/loss_epochs", product.loss_epochs)
            file.put(f"{OWN}/loss_values", product.loss_values)
        if product.probe is not None:
            pixel = product.probe_pixel_m or product.object_pixel_m
            _write_image(file, "probe", product.probe, pixel)
            file.link(OLD_PROBE, f"{PROBE}/data")
        if product.object is not None:
            _write_image(file, "object", product.object, product.object_pixel_m)
            if len(product.layer_spacing_m):
                file.put(f"{OWN}/object_layer_spacing_m", product.layer_spacing_m)
        if product.center_m is not None:
            _put_pair(file, f"{OWN}/object_center_y_m", f"{OWN}/object_center_x_m",
                      product.center_m)  # fmt: skip


def _put_pair(file: NewFile, first: str, second: str, pair: tuple[float, float]) -> None:
    file.put(first, pair[0])
    file.put(second, pair[1])


def _write_patterns(file: NewFile, patterns: Patterns) -> None:
    file.put(DETECTOR_DATA, patterns.counts)
    file.link(DATA, DETECTOR_DATA)
    file.put(f"{DETECTOR}/mask", patterns.bad_pixels.astype(np.uint32))
    if patterns.detector_pixel_m is not None:
        _put_pair(file, f"{DETECTOR}/y_pixel_size", f"{DETECTOR}/x_pixel_size",
                  patterns.detector_pixel_m)  # fmt: skip


def _write_image(
    file: NewFile, what: str, array: NDArray[Any], pixel: tuple[float, float] | None
) -> None:
    image = PROBE if what == "probe" else OBJECT
    file.put(f"{image}/data", array)
    axes, kind = ("coherent:incoherent:y:x", "amplitude")
    if what == "object":
        axes, kind = "layer:y:x", "electron density"
    file.attributes(f"{image}/data", {"axes": axes})
    file.put(f"{image}/data_type", kind)
    file.put(f"{image}/data_space", "real")
    file.link(f"{image}/source_1", SOURCE)
    file.link(f"{image}/detector_1", DETECTOR)
    if pixel is not None:
        height, width = pixel
        file.put(f"{image}/image_size", [width * array.shape[-1], height * array.shape[-2], 0.0])
        _put_pair(file, f"{OWN}/{what}_pixel_height_m", f"{OWN}/{what}_pixel_width_m", pixel)
