"""The result of a reconstruction, and its file: a ptychodus product with one group of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import Propagation, check_propagation, propagator_of
from ptychopinn.errors import InputError
from ptychopinn.io import ptychodus_product
from ptychopinn.io.atomic import atomic_path, refuse_existing
from ptychopinn.io.base import HDF5_SIGNATURE, signature
from ptychopinn.io.record import Product, square_pixel, to_pixels
from ptychopinn.physics.propagators import Propagator

RESULT_FILE = "reconstruction.h5"
GROUP = "ptychopinn"
FORMAT = "ptychopinn-reconstruction"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One reconstructed object with what is needed to predict the patterns again. Immutable.

    Attributes
    ----------
    object : (H, W) complex64
        The canvas. Its scale is fixed by the unit of the probe.
    origin_px : (2,) int64
        Scan position (y, x) of canvas pixel [0, 0]: position r is at canvas index r - origin_px.
    weight : (H, W) float32
        How much each pixel was seen; 0 where it never was.
    probe : (P, N, N) complex64
        Incoherent modes in sqrt(counts).
    positions_px : (M, 2) float64
        (y, x) of every pattern used, in object pixels, where patch pixel [N/2, N/2] sits.
    pixel_size_m, energy_eV, distance_m : float, optional
        Object pixel in metres, photon energy in electron volts, sample-detector distance in metres.
    propagation, focus_distance_m : as in :class:`ptychopinn.data.scan.Scan`.
    losses : (E,) float64
        The training or refinement loss after each epoch; may be empty.
    uncertainty : (H, W) float32, optional
        Radius r such that abs(object - truth) <= r in nine of ten pixels; infinite where nothing is
        stated (see :mod:`ptychopinn.evaluation.uncertainty`).
    name : str
    provenance : mapping
        Plain JSON data: how the result was made.

    Raises
    ------
    InputError
        When any field breaks the contract above.
    """

    object: NDArray[np.complex64]
    origin_px: NDArray[np.int64]
    weight: NDArray[np.float32]
    probe: NDArray[np.complex64]
    positions_px: NDArray[np.float64]
    pixel_size_m: float | None = None
    energy_eV: float | None = None
    distance_m: float | None = None
    propagation: Propagation = "far-field"
    focus_distance_m: float | None = None
    losses: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    uncertainty: NDArray[np.float32] | None = None
    name: str = "reconstruction"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        obj = np.array(self.object, dtype=np.complex64)
        if obj.ndim != 2 or obj.size == 0:
            raise InputError(
                f"object must have shape (H, W), received {obj.shape}; give one 2-D layer."
            )
        if not np.isfinite(obj).all():
            raise InputError(
                "object must be finite, received NaN or infinity; store 1 where it was never seen."
            )
        given_origin = np.asarray(self.origin_px)
        if given_origin.shape != (2,) or (given_origin != np.round(given_origin)).any():
            raise InputError(
                "origin_px must be two whole numbers (y, x), received "
                f"{given_origin.tolist()}; a canvas starts at a whole pixel."
            )
        origin = given_origin.astype(np.int64)
        weight = np.array(self.weight, dtype=np.float32)
        if weight.shape != obj.shape:
            raise InputError(
                f"weight must have the object's shape {obj.shape}, received {weight.shape}; "
                "give one weight per pixel."
            )
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise InputError(
                "weight must be finite and not negative, received one that is not; "
                "use 0 for pixels that were never seen."
            )
        probe = np.array(self.probe, dtype=np.complex64)
        if probe.ndim == 2:
            probe = probe[None]
        if probe.ndim != 3 or probe.size == 0 or probe.shape[1] != probe.shape[2]:
            raise InputError(
                f"probe must have shape (P, N, N), received {np.shape(self.probe)}; "
                "give square modes."
            )
        if not np.isfinite(probe).all():
            raise InputError("probe must be finite, received NaN or infinity; give another probe.")
        positions = np.array(self.positions_px, dtype=np.float64)
        if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) == 0:
            raise InputError(
                f"positions_px must have shape (M, 2) as (y, x), received {positions.shape}; "
                "give one position per pattern."
            )
        if not np.isfinite(positions).all():
            raise InputError(
                "positions_px must be finite, received NaN or infinity; remove those patterns."
            )
        for key in ("pixel_size_m", "energy_eV", "distance_m", "focus_distance_m"):
            value = getattr(self, key)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(
                    f"{key} must be positive, received {value}; leave it out when unknown."
                )
        check_propagation(self)
        losses = np.array(self.losses, dtype=np.float64)
        if losses.ndim != 1:
            raise InputError(
                f"losses must have shape (E,), received {losses.shape}; give one per epoch."
            )
        try:
            json.dumps(dict(self.provenance), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"provenance must be plain JSON data, received something that is not: {error}; "
                "convert arrays and paths to lists and strings."
            ) from error
        checked: dict[str, NDArray[Any]] = {
            "object": obj,
            "origin_px": origin,
            "weight": weight,
            "probe": probe,
            "positions_px": positions,
            "losses": losses,
        }
        if self.uncertainty is not None:
            radius = np.array(self.uncertainty, dtype=np.float32)
            if radius.shape != obj.shape or not (radius >= 0).all():
                raise InputError(
                    f"uncertainty must have the object's shape {obj.shape} and not be negative, "
                    f"received {radius.shape}; give one radius per pixel."
                )
            checked["uncertainty"] = radius
        for key, array in checked.items():
            array.flags.writeable = False
            object.__setattr__(self, key, array)

    @property
    def propagator(self) -> Propagator:
        """From the exit wave to the detector."""
        return propagator_of(self, self.N)

    @property
    def N(self) -> int:
        """Pattern and patch size in pixels."""
        return int(self.probe.shape[-1])

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the result as a ptychodus product (HDF5) and return the file's path.

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
            self._write(file)
        return target

    def _write(self, file: h5py.File) -> None:
        pixel = 1.0 if self.pixel_size_m is None else float(self.pixel_size_m)
        # Where the middle of the canvas is in metres: ptychodus' column of the middle of a patch,
        # (x_m - center_x_m)/pixel + (W-1)/2, is then x_px - origin_px - 1/2 (see io/record.py).
        center_y, center_x = (self.origin_px + np.array(self.object.shape) / 2) * pixel
        comments = "Reconstructed with PtychoPINN."
        if self.pixel_size_m is None:
            comments += " The pixel size is unknown: all lengths in metres are object pixels."
        file.attrs.update(
            {
                "name": self.name,
                "comments": comments,
                "detector_object_distance_m": float(self.distance_m or 0.0),
                "photon_energy_eV": float(self.energy_eV or 0.0),
                "probe_photon_count": round(float((np.abs(self.probe) ** 2).sum(dtype=np.float64))),
                "exposure_time_s": 0.0,
                "mass_attenuation_m2_per_kg": 0.0,
                "tomography_angle_deg": 0.0,
                "focus_object_distance_m": 0.0,
                "tilt_angle_deg": 0.0,
                "far_field": True,
            }
        )
        layer = file.create_dataset("object", data=self.object[None])
        layer.attrs.update({"center_x_m": float(center_x), "center_y_m": float(center_y)})
        probe = file.create_dataset("probe", data=self.probe[None])
        for dataset in (layer, probe):
            dataset.attrs.update({"pixel_width_m": pixel, "pixel_height_m": pixel})
        file["object_layer_spacing_m"] = np.zeros(0)
        file["probe_position_indexes"] = np.arange(len(self.positions_px), dtype=np.int64)
        file["probe_position_y_m"] = self.positions_px[:, 0] * pixel
        file["probe_position_x_m"] = self.positions_px[:, 1] * pixel
        file["loss_epochs"] = np.arange(1, len(self.losses) + 1, dtype=np.int64)
        file["loss_values"] = self.losses

        own = file.create_group(GROUP)
        own.attrs.update(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "pixel_size_known": self.pixel_size_m is not None,
                "provenance": json.dumps(dict(self.provenance), allow_nan=False),
            }
        )
        own.create_dataset("weight", data=self.weight, compression="lzf")
        if self.uncertainty is not None:
            own.create_dataset("uncertainty", data=self.uncertainty, compression="lzf")
        own["origin_px"] = self.origin_px
        own["positions_px"] = self.positions_px


def load_reconstruction(path: str | Path) -> Reconstruction:
    """Read a result written by :meth:`Reconstruction.save`, or a product of ptychodus (HDF5, NPZ).

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


def footprint(
    positions_px: NDArray[np.float64], probe: NDArray[Any], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """(H, W) map, 1 where the probe (above 1 % of its peak intensity) fell at any position, else 0.

    ``positions_px`` (M, 2) index the canvas; the probe (P, N, N) is placed on whole pixels.
    """
    from scipy.signal import fftconvolve

    intensity = (np.abs(probe.reshape(-1, *probe.shape[-2:])) ** 2).sum(axis=0)
    lit = (intensity > 0.01 * intensity.max()).astype(np.float64)
    hits = np.zeros(shape)
    nearest = np.floor(positions_px + 0.5).astype(np.int64)
    inside = ((nearest >= 0) & (nearest < np.array(shape))).all(axis=1)
    hits[tuple(nearest[inside].T)] = 1
    half = probe.shape[-1] // 2
    sums = fftconvolve(hits, lit)[half : half + shape[0], half : half + shape[1]]
    return (sums > 0.5).astype(np.float32)
