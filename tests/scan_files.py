"""The same small scan in every format that the program reads, with one property changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptychopinn.data.scan import Scan
from ptychopinn.io import load_scan

N, ROWS, COLUMNS = 32, 4, 6
M = ROWS * COLUMNS
PIXEL, ENERGY, DISTANCE = 2e-8, 6200.0, 0.8
JOULE = 1.602176634e-19
DETECTOR = 12.398419843320026e-7 / ENERGY * DISTANCE / (N * PIXEL)
E1 = "entry_1"

FORMATS = (
    "npz",
    "npz-last",
    "cxi",
    "ptychodus",
    "training",
    "fold_slice",
    "tike",
    "native",
    "arrays",
)


def counts_of(seed: int = 0) -> np.ndarray:
    """(M, N, N) whole counts with a peak in the middle and nothing at the border."""
    v, u = np.indices((N, N)) - N / 2
    mean = 300 * np.exp(-(v**2 + 1.5 * u**2) / 30)
    return np.random.default_rng(seed).poisson(mean, (M, N, N)).astype(np.uint16)


def positions_of() -> np.ndarray:
    """(M, 2) as (y, x) in pixels, a grid row by row with noise."""
    y, x = np.indices((ROWS, COLUMNS)) * 4.0
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (M, 2))
    return np.stack([y.ravel(), x.ravel()], axis=1) + 20 + noise


def probe_of() -> np.ndarray:
    """(N, N) complex, of no symmetry."""
    v, u = np.indices((N, N)) - N / 2
    return np.exp(-((v - 2) ** 2 + 2 * u**2) / 40 + 0.1j * v + 0.02j * u**2)


@dataclass
class Content:
    """What is written; ``units`` and ``raw`` are by the names of the datasets of CXI."""

    counts: Any = field(default_factory=counts_of)
    positions: Any = field(default_factory=positions_of)
    probe: Any = field(default_factory=probe_of)
    bad: Any = None
    units: dict[str, str] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)


def write(kind: str, folder: Path, content: Content) -> Path:
    """The file of the scan, or its folder."""
    return globals()[f"_{kind.replace('-', '_')}"](folder, content)


def load(kind: str, folder: Path, content: Content, **options: Any) -> Scan:
    """The scan that comes out of a file of this kind, or of arrays."""
    if kind == "arrays":
        good = None if content.bad is None else ~content.bad
        options.pop("units", None)
        return Scan.from_arrays(
            content.counts, content.positions, content.probe, mask=good, **options
        )
    return load_scan(write(kind, folder, content), **options)


def _npz(folder: Path, c: Content, last: bool = False) -> Path:
    key = "diffraction" if last else "diff3d"
    arrays = {
        key: np.moveaxis(c.counts, 0, -1) if last else c.counts,
        "xcoords": c.positions[:, 1],
        "ycoords": c.positions[:, 0],
        "probeGuess": c.probe,
    }
    if c.bad is not None:
        arrays["bad_pixels"] = c.bad
    np.savez(folder / "scan.npz", **arrays)
    return folder / "scan.npz"


def _npz_last(folder: Path, c: Content) -> Path:
    return _npz(folder, c, last=True)


def _tike(folder: Path, c: Content) -> Path:
    np.savez(
        folder / "tike.npz",
        data=np.fft.ifftshift(c.counts, axes=(-2, -1))[None],
        scan=c.positions[None] - N / 2,
        probe=np.asarray(c.probe)[None, None, None, None],
    )
    return folder / "tike.npz"


def _native(folder: Path, c: Content) -> Path:
    counts = np.asarray(c.counts)
    with h5py.File(folder / "native.h5", "w") as file:
        file.attrs.update({"format": "ptychopinn-scan", "format_version": 1})
        file.attrs.update({"pixel_size_m": PIXEL, "energy_eV": ENERGY, "distance_m": DISTANCE})
        file["diffraction"], file["positions_px"] = counts, c.positions
        # Of the right power, since the format says so.
        scale = np.sqrt(counts_of().sum() / M / (np.abs(c.probe) ** 2).sum())
        file["probe"] = (scale * np.asarray(c.probe)).astype(np.complex64)[None]
        if c.bad is not None:
            file["mask"] = ~c.bad
    return folder / "native.h5"


def _cxi(folder: Path, c: Content) -> Path:
    positions = np.asarray(c.positions)
    values: dict[str, Any] = {
        "instrument_1/source_1/energy": ENERGY * JOULE,
        "instrument_1/detector_1/distance": DISTANCE,
        "instrument_1/detector_1/x_pixel_size": DETECTOR,
        "instrument_1/detector_1/y_pixel_size": DETECTOR,
        "instrument_1/detector_1/data": c.counts,
        "image_1/data": np.asarray(c.probe)[None],
        "sample_1/geometry_1/translation": np.concatenate(
            [positions[..., ::-1] * PIXEL, np.zeros((*positions.shape[:-1], 1))], axis=-1
        ),
    }
    if c.bad is not None:
        values["instrument_1/detector_1/mask"] = c.bad.astype(np.uint32)
    with h5py.File(folder / "scan.cxi", "w") as file:
        file["cxi_version"] = 160
        for name, value in (values | c.raw).items():
            if value is not None:
                file[f"{E1}/{name}"] = value
        for name, unit in c.units.items():
            file[f"{E1}/{name}"].attrs["units"] = unit
    return folder / "scan.cxi"


def _ptychodus(folder: Path, c: Content) -> Path:
    with h5py.File(folder / "diffraction.h5", "w") as file:
        file["patterns"] = c.counts
        file["indexes"] = np.arange(np.prod(np.shape(c.counts)[:-2]))
        file["bad_pixels"] = np.zeros((N, N), bool) if c.bad is None else c.bad
    with h5py.File(folder / "product.h5", "w") as file:
        file.attrs.update({"photon_energy_eV": ENERGY, "detector_object_distance_m": DISTANCE})
        file["probe_position_indexes"] = np.arange(len(c.positions))
        _positions(file, c.positions)
        file["probe"], file["object"] = np.asarray(c.probe), np.ones((60, 70), complex)
        for name in ("probe", "object"):
            size = {"pixel_width_m": PIXEL, "pixel_height_m": PIXEL}
            file[name].attrs.update({**size, "center_x_m": 0.0, "center_y_m": 0.0})
    return folder


def _positions(file: h5py.File, positions: np.ndarray) -> None:
    for k, axis in enumerate("yx"):
        file[f"probe_position_{axis}_m"] = positions[:, k] * PIXEL


def _training(folder: Path, c: Content) -> Path:
    with h5py.File(folder / "training.h5", "w") as file:
        file["patterns"] = c.counts
        file["bad_pixels"] = np.zeros((N, N), bool) if c.bad is None else c.bad
        file["probe"], file["object"] = np.asarray(c.probe), np.ones((60, 70), complex)
        for k, axis in enumerate("yx"):
            file[f"probe_position_{axis}_px"] = c.positions[:, k]
        file["object_pixel_width_m"] = file["object_pixel_height_m"] = PIXEL
        file["photon_energy_eV"], file["detector_object_distance_m"] = ENERGY, DISTANCE
    return folder / "training.h5"


def _fold_slice(folder: Path, c: Content) -> Path:
    with h5py.File(folder / "scan_dp.hdf5", "w") as file:
        file["dp"] = c.counts
        if c.bad is not None:
            file["bad_pixels"] = c.bad
    with h5py.File(folder / "scan_para.hdf5", "w") as file:
        file["ppX"], file["ppY"] = (np.asarray(c.positions)[:, k] * PIXEL for k in (1, 0))
        file["dx"], file["lambda"] = PIXEL, 12.398419843320026e-7 / ENERGY
        file["probe"] = np.asarray(c.probe)
    return folder / "scan_dp.hdf5"
