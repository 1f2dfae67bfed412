"""A ptychodus product, ``product.h5`` or ``product.npz``: positions, probe and object, no patterns.

Both hold the same names. What is an attribute of a dataset in HDF5 is a key of its own in NPZ, with
``probe_`` or ``object_`` before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import check_field
from ptychopinn.errors import InputError, listed
from ptychopinn.io.atomic import atomic_path
from ptychopinn.io.base import ReadOptions, ScanFields, is_hdf5
from ptychopinn.io.hdf5 import Reader, finite, holds, reading, to_text
from ptychopinn.io.hdf5_writer import NewFile, writing
from ptychopinn.io.npz_members import Archive, is_archive
from ptychopinn.io.quantities import unit_of
from ptychopinn.io.record import ALL, METADATA, Product, Record
from ptychopinn.io.record_scan import scan_fields

NAME = "product"
DESCRIPTION = "ptychodus product"
KEEPS = ALL - {"patterns", "bad_pixels", "detector_pixel", "pattern_photon_counts"}

LARGEST_WHOLE = 2**53  # beyond, neighbouring whole numbers are one in float64
ENERGY = ("photon_energy_eV", "probe_energy_eV")  # the second is the name of older versions
REQUIRED = ("object", "probe", "probe_position_x_m", "probe_position_y_m")


def matches(path: Path) -> bool:
    """Whether the file holds positions in metres, probe and object, and no patterns."""
    if is_hdf5(path):
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
    if is_hdf5(path):
        with reading(path) as file:
            return Record(None, _from_hdf5(file))
    with Archive(path) as archive:
        return Record(None, _from_npz(archive))


def write_record(record: Record, path: Path, *, force: bool = True) -> None:
    """Write the product of a record; the suffix ``.npz`` chooses that container."""
    if path.suffix.lower() == ".npz":
        content = flat(record.product)
        with atomic_path(path, force) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **content)
        return
    with writing(path, force) as file:
        write_hdf5(file, record.product)


def write_hdf5(file: NewFile, product: Product) -> None:
    """Write a product into an HDF5 file."""
    for key, value in flat(product).items():
        owner, _, rest = key.partition("_")
        if key in METADATA:
            file.attributes("/", {key: value})
        elif owner in ("object", "probe") and rest in ATTRIBUTES:
            file.attributes(owner, {rest: value})
        else:
            file.put(key, value)


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
            "scan without; give the probe with the option probe, or choose another format."
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
        if isinstance(unknown, str):
            metadata[key] = file.attribute_text("/", key, unknown)
        elif isinstance(unknown, bool):
            metadata[key] = bool(file.attribute_number("/", key, float(unknown)))
        elif key == ENERGY[0]:
            stated = next((name for name in ENERGY if file.attribute("/", name) is not None), key)
            metadata[key] = file.attribute_number("/", stated)
        elif key == "detector_object_distance_m":
            metadata[key] = file.attribute_number("/", key)
        else:
            metadata[key] = file.attribute_number("/", key, unknown)
    pixel = _attribute_pair(file, "object", "pixel_height_m", "pixel_width_m")
    arrays = {key: file.array(key, kinds) for key, kinds in _REQUIRED_KINDS.items()}
    for key in REQUIRED[2:]:
        arrays[key] = arrays[key] * unit_of(file, key, "m", "length")[1]
    return build(
        path=file.path,
        metadata=metadata,
        arrays=arrays,
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
        return finite(value.reshape(()), f"'{key}' in '{archive.path}'")

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
    if x.ndim > 1 and x.shape == y.shape:
        x, y = x.reshape(-1), y.reshape(-1)  # of a grid, row by row
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"positions in '{path}' must have shapes (n,) and (n,), received {x.shape} and "
            f"{y.shape}; store one x and one y per position."
        )
    for key, value in {**optional, "positions": np.stack([y, x], axis=1)}.items():
        if value is not None and np.iscomplexobj(value):
            raise InputError(
                f"{key} must be real numbers, received complex ones in '{path}'; correct the file."
            )
    positions = np.stack([y, x], axis=1).astype(np.float64)
    if not np.isfinite(positions).all():
        wrong = np.flatnonzero(~np.isfinite(positions).all(axis=1))
        raise InputError(
            f"positions in '{path}' must be finite, received NaN or infinity as position(s) "
            f"{listed(wrong[:6].tolist())}; remove those."
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
        if value is not None and not np.isfinite(value).all():
            raise InputError(
                f"'{key}' in '{path}' must be finite, received NaN or infinity; repair it."
            )
    for key, values in numbers.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"'{key}' in '{path}' must be finite, received NaN or infinity; repair it."
            )
    for key, pair in (("centre", center_m), ("pixel size", object_pixel_m)):
        if pair is not None and not np.isfinite(pair).all():
            raise InputError(
                f"the {key} of the object in '{path}' must be finite, received {pair}; repair it."
            )
    return Product(
        indexes=whole(indexes, f"'probe_position_indexes' in '{path}'"),
        positions_m=positions,
        probe=probe,
        object=obj,
        center_m=center_m,
        object_pixel_m=object_pixel_m,
        probe_pixel_m=probe_pixel_m,
        layer_spacing_m=numbers["object_layer_spacing_m"],
        opr_weights=None if weights is None else np.asarray(weights, dtype=np.float64),
        photon_counts=None if photons is None else np.asarray(photons, dtype=np.float64),
        loss_epochs=whole(epochs, f"'loss_epochs' in '{path}'"),
        loss_values=numbers["loss_values"],
        metadata=metadata,
    )


def whole(values: NDArray[Any], what: str) -> NDArray[np.int64]:
    """Numbers as int64; InputError that begins with ``what`` where one is none, or too large."""
    fractions = values.dtype.kind == "f" and (values != np.rint(values)).any()
    if fractions or (values.size and max(-int(values.min()), int(values.max())) > LARGEST_WHOLE):
        raise InputError(
            f"{what} must hold whole numbers up to 2^53, received others; write the file again."
        )
    return values.astype(np.int64)


def stack(array: NDArray[Any], ndim: int, what: str, path: Path) -> NDArray[Any]:
    """``array`` with leading axes of length 1 added up to ``ndim``; complex and finite."""
    if not 2 <= array.ndim <= ndim or not array.size or array.dtype.kind not in "cf":
        raise InputError(
            f"the {what} in '{path}' must be a complex array of 2 to {ndim} axes, received "
            f"{array.dtype} of shape {array.shape}; store complex numbers."
        )
    check_field(array, f"the {what} in '{path}'")
    if array.dtype.kind == "f":
        array = array.astype(np.complex64 if array.dtype.itemsize <= 4 else np.complex128)
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)
