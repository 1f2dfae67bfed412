"""The file of a reconstruction: a ptychodus product (HDF5) with one group of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptychopinn.data.experiment import named_propagation
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.io import ptychodus_product
from ptychopinn.io.atomic import refuse_existing
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.hdf5 import Reader, propagation_of, reading
from ptychopinn.io.hdf5_writer import NewFile, writing
from ptychopinn.io.provenance import provenance_text, read_provenance, write_provenance
from ptychopinn.io.reading import kind_of
from ptychopinn.io.record import Product, pixel_known
from ptychopinn.io.record_scan import require_far_field, square_pixel, to_pixels
from ptychopinn.physics.effects import EFFECTS
from ptychopinn.physics.geometry import footprint

RESULT_FILE = "reconstruction.h5"
GROUP = "ptychopinn"
FORMAT = "ptychopinn-reconstruction"
FORMAT_VERSION = 1


def save_reconstruction(result: Reconstruction, path: str | Path, force: bool = False) -> Path:
    """Write a result as a ptychodus product (HDF5) and return the file's path.

    ``path`` is the file to write, or an existing folder, which gets ``reconstruction.h5``.
    Metres are ``position_px * pixel_size_m``; when the pixel size is unknown it is written as
    1.0, so that metres *are* pixels, and the attribute ``pixel_size_known`` of the group
    ``ptychopinn`` is False. Unknown energy and distance are written as 0.0.

    Raises
    ------
    InputError
        When the file exists and ``force`` is False, or the folder cannot be written to.
    """
    target = Path(path)
    if target.is_dir():
        target = target / RESULT_FILE
    named_propagation(result)
    refuse_existing(target.parent, [target.name], force)
    provenance = provenance_text(result.provenance)
    with writing(target, force) as file:
        _write(result, provenance, file)
    return target


def _write(result: Reconstruction, provenance: bytes, file: NewFile) -> None:
    pixel = 1.0 if result.pixel_size_m is None else float(result.pixel_size_m)
    # Where the middle of the canvas is in metres: ptychodus' column of the middle of a patch,
    # (x_m - center_x_m)/pixel + (W-1)/2, is then x_px - origin_px - 1/2 (see io/record_scan.py).
    center_y, center_x = (result.origin_px + np.array(result.object.shape) / 2) * pixel
    photons = float((np.abs(result.probe).astype(np.float64) ** 2).sum())
    comments = "Reconstructed with PtychoPINN."
    if result.pixel_size_m is None:
        comments += " The pixel size is unknown: all lengths in metres are object pixels."
    file.attributes(
        "/",
        {
            "name": result.name,
            "comments": comments,
            "detector_object_distance_m": float(result.distance_m or 0.0),
            "photon_energy_eV": float(result.energy_eV or 0.0),
            # A whole number as ptychodus has it, as long as HDF5 has a type for that.
            "probe_photon_count": round(photons) if photons < 2**63 else photons,
            "exposure_time_s": 0.0,
            "mass_attenuation_m2_per_kg": 0.0,
            "tomography_angle_deg": 0.0,
            "focus_object_distance_m": float(result.focus_distance_m or 0.0),
            "tilt_angle_deg": 0.0,
            "far_field": result.propagation == "far-field",
        },
    )
    file.put("object", result.object[None])
    file.attributes("object", {"center_x_m": float(center_x), "center_y_m": float(center_y)})
    file.put("probe", result.probe[None])
    for key in ("object", "probe"):
        file.attributes(key, {"pixel_width_m": pixel, "pixel_height_m": pixel})
    file.put("object_layer_spacing_m", np.zeros(0))
    file.put("probe_position_indexes", np.arange(len(result.positions_px), dtype=np.int64))
    file.put("probe_position_y_m", result.positions_px[:, 0] * pixel)
    file.put("probe_position_x_m", result.positions_px[:, 1] * pixel)
    file.put("loss_epochs", np.arange(1, len(result.losses) + 1, dtype=np.int64))
    file.put("loss_values", result.losses)
    file.attributes(
        GROUP,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "pixel_size_known": result.pixel_size_m is not None,
            "propagation": named_propagation(result),
        },
    )
    write_provenance(file, GROUP, provenance)
    file.put(f"{GROUP}/weight", result.weight)
    if result.slices is not None:
        file.put(f"{GROUP}/slices", result.slices)
    if result.uncertainty is not None:
        file.put(f"{GROUP}/uncertainty", result.uncertainty)
    if result.half_split is not None:
        file.put(f"{GROUP}/half_split", result.half_split)
    if result.position_covariance is not None:
        file.put(f"{GROUP}/position_covariance", result.position_covariance)
    for name, values in result.effects.items():
        file.put(f"{GROUP}/effects/{name}", values)
    file.put(f"{GROUP}/origin_px", result.origin_px)
    file.put(f"{GROUP}/positions_px", result.positions_px)


def load_reconstruction(path: str | Path) -> Reconstruction:
    """Read a result written by :func:`save_reconstruction`, or a product of ptychodus (HDF5, NPZ).

    ``path`` is the file, or a folder holding ``reconstruction.h5``. A product without our group
    gets ``origin_px = 0`` and positions that index the canvas, and a weight of 1 where the
    illuminated part of the probe fell and 0 elsewhere.

    Raises
    ------
    InputError
        When the file is missing, damaged, of another kind or of a newer version.
    """
    source = Path(path)
    if kind_of(source) == "folder":
        source = source / RESULT_FILE
    if kind_of(source) != "file":
        found = "holds none" if kind_of(Path(path)) == "folder" else "does not exist"
        raise InputError(
            f"the result must be a '{RESULT_FILE}' or the folder holding it, received '{path}', "
            f"which {found}; check the name."
        )
    try:
        if is_hdf5(source):
            with reading(source) as file:
                if GROUP in file:
                    return _read(file)
        if not ptychodus_product.matches(source):
            raise InputError(
                f"a {RESULT_FILE} or a ptychodus product was expected, received another file; "
                "name the result of a reconstruction."
            )
        return _of_product(ptychodus_product.read_record(source).product)
    except InputError as error:
        if str(source) in str(error):
            raise
        raise InputError(f"'{source}' cannot be used: {error}") from error


def _read(file: Reader) -> Reconstruction:
    version = file.attribute_number(GROUP, "format_version")
    if version > FORMAT_VERSION:
        raise InputError(
            f"format_version must be at most {FORMAT_VERSION}, received "
            f"{version:g}; install a newer ptychopinn."
        )
    obj, probe = file.array("object", "c", (3,)), file.array("probe", "c", (4,))
    for what, array in (("object", obj), ("probe", probe)):
        if len(array) != 1:
            raise InputError(
                f"{what} must have a single layer, received {len(array)}; export one layer."
            )
    known = file.attribute_number(GROUP, "pixel_size_known")
    return Reconstruction(
        object=obj[0],
        origin_px=file.array(f"{GROUP}/origin_px"),
        weight=file.array(f"{GROUP}/weight"),
        probe=probe[0],
        positions_px=file.array(f"{GROUP}/positions_px"),
        pixel_size_m=file.attribute_number("object", "pixel_width_m") if known else None,
        energy_eV=file.attribute_number("/", "photon_energy_eV") or None,
        distance_m=file.attribute_number("/", "detector_object_distance_m") or None,
        propagation=propagation_of(file, GROUP),
        focus_distance_m=file.attribute_number("/", "focus_object_distance_m", 0.0) or None,
        losses=file.array("loss_values"),
        effects={
            name: file.array(f"{GROUP}/effects/{name}")
            for name in EFFECTS
            if f"{GROUP}/effects/{name}" in file
        },
        slices=file.optional(f"{GROUP}/slices", "c"),
        uncertainty=file.optional(f"{GROUP}/uncertainty"),
        half_split=file.optional(f"{GROUP}/half_split"),
        position_covariance=file.optional(f"{GROUP}/position_covariance"),
        name=file.attribute_text("/", "name"),
        provenance=read_provenance(file, GROUP),
    )


def _of_product(product: Product) -> Reconstruction:
    require_far_field(product, "a product")
    assert product.object is not None and product.probe is not None
    if len(product.object) != 1:
        raise InputError(
            f"object must have a single layer, received {len(product.object)}; export one layer."
        )
    obj = product.object[0]
    positions = to_pixels(product.positions_m, product, obj.shape)
    metadata = product.metadata
    return Reconstruction(
        object=obj,
        origin_px=np.zeros(2, dtype=np.int64),
        # The first entry of the orthogonal probe relaxation holds the incoherent modes themselves.
        probe=product.probe[0],
        weight=footprint(positions, product.probe[0], obj.shape),
        positions_px=positions,
        pixel_size_m=square_pixel(product) if pixel_known(product) else None,
        energy_eV=float(metadata["photon_energy_eV"]) or None,
        distance_m=abs(float(metadata["detector_object_distance_m"])) or None,
        losses=product.loss_values,
        name=str(metadata["name"]) or "reconstruction",
        provenance={"format": "ptychodus product"},
    )
