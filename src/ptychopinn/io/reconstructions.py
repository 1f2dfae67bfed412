"""The file of a reconstruction: a ptychodus product (HDF5) with one group of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.io import ptychodus_product
from ptychopinn.io.atomic import atomic_path, refuse_existing
from ptychopinn.io.base import HDF5_SIGNATURE, signature
from ptychopinn.io.record import Product, square_pixel, to_pixels
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
    refuse_existing(target.parent, [target.name], force)
    with atomic_path(target) as temporary, h5py.File(temporary, "w") as file:
        _write(result, file)
    return target


def _write(result: Reconstruction, file: h5py.File) -> None:
    pixel = 1.0 if result.pixel_size_m is None else float(result.pixel_size_m)
    # Where the middle of the canvas is in metres: ptychodus' column of the middle of a patch,
    # (x_m - center_x_m)/pixel + (W-1)/2, is then x_px - origin_px - 1/2 (see io/record.py).
    center_y, center_x = (result.origin_px + np.array(result.object.shape) / 2) * pixel
    comments = "Reconstructed with PtychoPINN."
    if result.pixel_size_m is None:
        comments += " The pixel size is unknown: all lengths in metres are object pixels."
    file.attrs.update(
        {
            "name": result.name,
            "comments": comments,
            "detector_object_distance_m": float(result.distance_m or 0.0),
            "photon_energy_eV": float(result.energy_eV or 0.0),
            "probe_photon_count": round(float((np.abs(result.probe) ** 2).sum(dtype=np.float64))),
            "exposure_time_s": 0.0,
            "mass_attenuation_m2_per_kg": 0.0,
            "tomography_angle_deg": 0.0,
            "focus_object_distance_m": float(result.focus_distance_m or 0.0),
            "tilt_angle_deg": 0.0,
            "far_field": result.propagation == "far-field",
        }
    )
    layer = file.create_dataset("object", data=result.object[None])
    layer.attrs.update({"center_x_m": float(center_x), "center_y_m": float(center_y)})
    probe = file.create_dataset("probe", data=result.probe[None])
    for dataset in (layer, probe):
        dataset.attrs.update({"pixel_width_m": pixel, "pixel_height_m": pixel})
    file["object_layer_spacing_m"] = np.zeros(0)
    file["probe_position_indexes"] = np.arange(len(result.positions_px), dtype=np.int64)
    file["probe_position_y_m"] = result.positions_px[:, 0] * pixel
    file["probe_position_x_m"] = result.positions_px[:, 1] * pixel
    file["loss_epochs"] = np.arange(1, len(result.losses) + 1, dtype=np.int64)
    file["loss_values"] = result.losses

    own = file.create_group(GROUP)
    own.attrs.update(
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "pixel_size_known": result.pixel_size_m is not None,
            "propagation": result.propagation,
            "provenance": json.dumps(dict(result.provenance), allow_nan=False),
        }
    )
    own.create_dataset("weight", data=result.weight, compression="lzf")
    if result.uncertainty is not None:
        own.create_dataset("uncertainty", data=result.uncertainty, compression="lzf")
    own["origin_px"] = result.origin_px
    own["positions_px"] = result.positions_px


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
    if source.is_dir():
        source = source / RESULT_FILE
    if not source.is_file():
        raise InputError(
            f"the result must be a '{RESULT_FILE}' or the folder holding it, received '{path}', "
            "which does not exist; check the name."
        )
    try:
        if signature(source) == HDF5_SIGNATURE:
            with h5py.File(source, "r") as file:
                if GROUP in file:
                    return _read(file)
        if not ptychodus_product.matches(source):
            raise InputError(
                f"a {RESULT_FILE} or a ptychodus product was expected, received another file; "
                "name the result of a reconstruction."
            )
        return _of_product(ptychodus_product.read_record(source).product)
    except InputError as error:
        raise InputError(f"'{source}' cannot be used: {error}") from error
    except (OSError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = " ".join(str(error).split()).strip("'\".")
        raise InputError(
            f"the result must be a complete {RESULT_FILE} or ptychodus product, received "
            f"'{source}', which cannot be read ({reason}); write it again."
        ) from error


def _read(file: h5py.File) -> Reconstruction:
    own = file[GROUP]
    if int(own.attrs["format_version"]) > FORMAT_VERSION:
        raise InputError(
            f"format_version must be at most {FORMAT_VERSION}, received "
            f"{int(own.attrs['format_version'])}; install a newer ptychopinn."
        )
    layer = file["object"]
    if layer.shape[0] != 1:
        raise InputError(
            f"object must have a single layer, received {layer.shape[0]}; export one layer."
        )
    return Reconstruction(
        object=layer[0],
        origin_px=own["origin_px"][()],
        weight=own["weight"][()],
        probe=file["probe"][0],
        positions_px=own["positions_px"][()],
        pixel_size_m=float(layer.attrs["pixel_width_m"]) if own.attrs["pixel_size_known"] else None,
        energy_eV=float(file.attrs["photon_energy_eV"]) or None,
        distance_m=float(file.attrs["detector_object_distance_m"]) or None,
        propagation=_text(own.attrs.get("propagation", "far-field")),  # type: ignore[arg-type]
        focus_distance_m=float(file.attrs["focus_object_distance_m"]) or None,
        losses=file["loss_values"][()],
        uncertainty=own["uncertainty"][()] if "uncertainty" in own else None,
        name=_text(file.attrs["name"]),
        provenance=json.loads(own.attrs["provenance"]),
    )


def _of_product(product: Product) -> Reconstruction:
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
        pixel_size_m=square_pixel(product),
        energy_eV=float(metadata["photon_energy_eV"]) or None,
        distance_m=abs(float(metadata["detector_object_distance_m"])) or None,
        losses=product.loss_values,
        name=str(metadata["name"]) or "reconstruction",
        provenance={"format": "ptychodus product"},
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
