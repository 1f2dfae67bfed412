"""A ptychodus product, ``product.h5`` or ``product.npz``: positions, probe and object, no patterns.

Both hold the same names. What is an attribute of a dataset in HDF5 is a key of its own in NPZ, with
``probe_`` or ``object_`` before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.atomic import atomic_path
from ptychopinn.io.base import HDF5_SIGNATURE, ReadOptions, ScanFields, signature
from ptychopinn.io.hdf5 import Reader, holds, reading, to_text, writing
from ptychopinn.io.npz_members import Archive, is_archive
from ptychopinn.io.record import ALL, METADATA, Product, Record, scan_fields

NAME = "product"
DESCRIPTION = "ptychodus product.h5 or product.npz"
KEEPS = ALL - {"patterns", "bad_pixels", "detector_pixel", "pattern_photon_counts"}

ENERGY = ("photon_energy_eV", "probe_energy_eV")  # the second is the name of older versions
REQUIRED = ("object", "probe", "probe_position_x_m", "probe_position_y_m")


def matches(path: Path) -> bool:
    """Whether the file holds positions in metres, probe and object, and no patterns."""
    if signature(path) == HDF5_SIGNATURE:
        if not holds(path, *REQUIRED):
            return False
        with reading(path) as file:
            stated = any(file.attribute("/", key) is not None for key in ENERGY)
            return stated and "patterns" not in file
    if not is_archive(path):
        return False
    with Archive(path) as archive:
        return all(key in archive for key in REQUIRED)


def read(path: Path, options: ReadOptions) -> ScanFields:
    """A product holds no patterns: this says so."""
    return scan_fields(read_record(path), options, path)


def read_record(path: Path) -> Record:
    """Read a product of either container."""
    if signature(path) == HDF5_SIGNATURE:
        with reading(path) as file:
            return Record(None, _from_hdf5(file))
    with Archive(path) as archive:
        return Record(None, _from_npz(archive))


def write_record(record: Record, path: Path) -> None:
    """Write the product of a record; the suffix ``.npz`` chooses that container."""
    if path.suffix.lower() == ".npz":
        try:
            with atomic_path(path) as temporary:
                np.savez(temporary, **flat(record.product))
        except OSError as error:
            raise InputError(
                f"the product must be writable as '{path}', received: {error.strerror or error}; "
                "choose another place or make room."
            ) from error
        return
    with writing(path) as file:
        write_hdf5(file, record.product)


def write_hdf5(file: h5py.File, product: Product) -> None:
    """Write a product into an open HDF5 file."""
    for key, value in flat(product).items():
        owner, _, rest = key.partition("_")
        if key in METADATA:
            file.attrs[key] = value
        elif owner in ("object", "probe") and rest in ATTRIBUTES:
            file[owner].attrs[rest] = value
        else:
            file[key] = value


ATTRIBUTES = ("center_x_m", "center_y_m", "pixel_width_m", "pixel_height_m")


def flat(product: Product) -> dict[str, Any]:
    """A product by the names of product.npz, arrays before what describes them.

    Raises
    ------
    InputError
        When probe, object, its centre or its pixel size are missing, which a product must have.
    """
    if (
        product.probe is None
        or product.object is None
        or product.center_m is None
        or product.object_pixel_m is None
    ):
        raise InputError(
            "a ptychodus product needs probe, object, its centre and its pixel size, received a "
            "scan without; give the probe with --probe FILE:KEY, or choose another format."
        )
    (center_y, center_x), (height, width) = product.center_m, product.object_pixel_m
    probe_height, probe_width = product.probe_pixel_m or product.object_pixel_m
    content: dict[str, Any] = {
        **product.metadata,
        "object": product.object,
        "object_center_x_m": center_x,
        "object_center_y_m": center_y,
        "object_pixel_width_m": width,
        "object_pixel_height_m": height,
        "object_layer_spacing_m": np.asarray(product.layer_spacing_m, dtype=np.float64),
        "probe": product.probe,
        "probe_pixel_width_m": probe_width,
        "probe_pixel_height_m": probe_height,
        "probe_position_indexes": product.indexes,
        "probe_position_x_m": product.positions_m[:, 1],
        "probe_position_y_m": product.positions_m[:, 0],
        "loss_epochs": product.loss_epochs,
        "loss_values": product.loss_values,
    }
    if not content["polarization"]:
        del content["polarization"]
    if product.opr_weights is not None:
        content["opr_weights"] = product.opr_weights
    if product.photon_counts is not None:
        content["probe_photon_counts"] = product.photon_counts
    return content


def _from_hdf5(file: Reader) -> Product:
    metadata = dict(METADATA)
    for key, unknown in METADATA.items():
        value = file.attribute("/", key)
        if isinstance(unknown, str):
            metadata[key] = unknown if value is None else to_text(value)
        elif isinstance(unknown, bool):
            metadata[key] = unknown if value is None else bool(value)
        elif key == ENERGY[0]:
            older = file.attribute("/", ENERGY[1])
            metadata[key] = file.attribute_number("/", key, None if older is None else older)
        elif key == "detector_object_distance_m":
            metadata[key] = file.attribute_number("/", key)
        else:
            metadata[key] = file.attribute_number("/", key, unknown)
    pixel = _attribute_pair(file, "object", "pixel_height_m", "pixel_width_m")
    return build(
        path=file.path,
        metadata=metadata,
        arrays={key: file.array(key, kinds) for key, kinds in _REQUIRED_KINDS.items()},
        optional={key: file.optional(key) for key in OPTIONAL},
        center_m=_attribute_pair(file, "object", "center_y_m", "center_x_m"),
        object_pixel_m=pixel,
        probe_pixel_m=(
            file.attribute_number("probe", "pixel_height_m", pixel[0]),
            file.attribute_number("probe", "pixel_width_m", pixel[1]),
        ),
    )


def _attribute_pair(file: Reader, name: str, first: str, second: str) -> tuple[float, float]:
    return file.attribute_number(name, first), file.attribute_number(name, second)


_REQUIRED_KINDS = {
    "object": "c",
    "probe": "c",
    "probe_position_x_m": "fiu",
    "probe_position_y_m": "fiu",
}
OPTIONAL = (
    "probe_position_indexes",
    "object_layer_spacing_m",
    "opr_weights",
    "probe_photon_counts",
    "loss_epochs",
    "loss_values",
)


def _from_npz(archive: Archive) -> Product:
    def number(key: str, default: float | None = None) -> float:
        if key not in archive and default is not None:
            return default
        value = archive.numbers(key)
        if value.size != 1:
            raise InputError(
                f"'{key}' in '{archive.path}' must be one number, received shape {value.shape}; "
                "store a single number."
            )
        return float(value.reshape(()))

    metadata = dict(METADATA)
    for key, unknown in METADATA.items():
        if isinstance(unknown, str):
            metadata[key] = to_text(archive.read(key)) if key in archive else unknown
        elif isinstance(unknown, bool):
            metadata[key] = bool(number(key, float(unknown)))
        else:
            required = key in ("photon_energy_eV", "detector_object_distance_m")
            metadata[key] = number(key, None if required else unknown)
    pixel = number("object_pixel_height_m"), number("object_pixel_width_m")
    optional = {key: archive.numbers(key) if key in archive else None for key in OPTIONAL}
    if optional["loss_values"] is None and "costs" in archive:
        optional["loss_values"] = archive.numbers("costs")  # the name of older versions
    return build(
        path=archive.path,
        metadata=metadata,
        arrays={key: archive.numbers(key) for key in _REQUIRED_KINDS},
        optional=optional,
        center_m=(number("object_center_y_m"), number("object_center_x_m")),
        object_pixel_m=pixel,
        probe_pixel_m=(
            number("probe_pixel_height_m", pixel[0]),
            number("probe_pixel_width_m", pixel[1]),
        ),
    )


def build(
    *,
    path: Path,
    metadata: dict[str, float | str | bool],
    arrays: dict[str, NDArray[Any]],
    optional: dict[str, NDArray[Any] | None],
    center_m: tuple[float, float] | None,
    object_pixel_m: tuple[float, float] | None,
    probe_pixel_m: tuple[float, float] | None,
) -> Product:
    """A product from arrays by the names of ptychodus, all shapes checked.

    Raises
    ------
    InputError
        When shapes contradict each other or numbers are not finite.
    """
    x, y = arrays["probe_position_x_m"], arrays["probe_position_y_m"]
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"positions in '{path}' must have shapes (n,) and (n,), received {x.shape} and "
            f"{y.shape}; store one x and one y per position."
        )
    positions = np.stack([y, x], axis=1).astype(np.float64)
    if not np.isfinite(positions).all():
        raise InputError(
            f"positions in '{path}' must be finite, received NaN or infinity; remove those."
        )
    indexes = optional["probe_position_indexes"]
    if indexes is None:
        indexes = np.arange(len(x))
    probe = arrays.get("probe")
    if probe is not None:
        probe = stack(probe, 4, "probe", path)
    obj = arrays.get("object")
    if obj is not None:
        obj = stack(obj, 3, "object", path)
    numbers: dict[str, NDArray[np.float64]] = {}
    for key in ("object_layer_spacing_m", "loss_values"):
        value = optional[key]
        numbers[key] = np.zeros(0) if value is None else np.asarray(value, np.float64).reshape(-1)
    epochs = optional["loss_epochs"]
    if epochs is None:
        epochs = np.arange(len(numbers["loss_values"]))
    weights, photons = optional["opr_weights"], optional["probe_photon_counts"]
    expected: list[tuple[str, Any, tuple[int, ...]]] = [
        ("probe_position_indexes", indexes, (len(x),)),
        ("loss_epochs", epochs, (len(numbers["loss_values"]),)),
        ("probe_photon_counts", photons, (len(x),)),
    ]
    if probe is not None:
        expected.append(("opr_weights", weights, (len(x), probe.shape[0])))
    for key, value, shape in expected:
        if value is not None and value.shape != shape:
            raise InputError(
                f"'{key}' in '{path}' must have shape {shape}, received {value.shape}; store one "
                "entry for each."
            )
    for key, pair in (("centre", center_m), ("pixel size", object_pixel_m)):
        if pair is not None and not np.isfinite(pair).all():
            raise InputError(
                f"the {key} of the object in '{path}' must be finite, received {pair}; repair it."
            )
    return Product(
        indexes=np.asarray(indexes, dtype=np.int64),
        positions_m=positions,
        probe=probe,
        object=obj,
        center_m=center_m,
        object_pixel_m=object_pixel_m,
        probe_pixel_m=probe_pixel_m,
        layer_spacing_m=numbers["object_layer_spacing_m"],
        opr_weights=None if weights is None else np.asarray(weights, dtype=np.float64),
        photon_counts=None if photons is None else np.asarray(photons, dtype=np.float64),
        loss_epochs=np.asarray(epochs, dtype=np.int64),
        loss_values=numbers["loss_values"],
        metadata=metadata,
    )


def stack(array: NDArray[Any], ndim: int, what: str, path: Path) -> NDArray[Any]:
    """``array`` with leading axes of length 1 added up to ``ndim``; complex and finite."""
    if not 2 <= array.ndim <= ndim or not array.size or array.dtype.kind not in "cf":
        raise InputError(
            f"the {what} in '{path}' must be a complex array of 2 to {ndim} axes, received "
            f"{array.dtype} of shape {array.shape}; store complex numbers."
        )
    if not np.isfinite(array).all():
        raise InputError(
            f"the {what} in '{path}' must be finite, received NaN or infinity; repair it."
        )
    if array.dtype.kind == "f":
        array = array.astype(np.complex64 if array.dtype.itemsize <= 4 else np.complex128)
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)
