"""One small scan, written as the raw data of every kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from scipy import constants

from ptychopinn.io import save_scan
from ptychopinn.simulation import simulate

ENERGY, DISTANCE, PIXEL = 8800.0, 1.0, 1e-8
ROWS, COLUMNS = 5, 8


def wavelength(energy: float = ENERGY) -> float:
    return constants.h * constants.c / (energy * constants.e)


class Raw:
    """The scan of 40 patterns of 32 x 32 pixels, and its files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scan = simulate(
            N=32, patterns=ROWS * COLUMNS, photons=1e5, seed=3, pixel_size_m=PIXEL,
            energy_eV=ENERGY, distance_m=DISTANCE,
        )  # fmt: skip
        self.counts = np.asarray(self.scan.diffraction)
        self.y, self.x = self.scan.positions_px.T * PIXEL
        self.probe = self.scan.probe
        self.detector_pixel = wavelength() * DISTANCE / (32 * PIXEL)
        self.native = save_scan(self.scan, folder / "true.h5", force=True)

    def keys(self, **more: Any) -> Path:
        path = self.folder / "keys.h5"
        with h5py.File(path, "w") as file:
            file["frames"] = self.counts
            file["motors/y_um"], file["motors/x_um"] = self.y * 1e6, self.x * 1e6
            for key, value in more.items():
                file[key] = value
        return path

    def table(self, name: str = "positions.csv") -> Path:
        path = self.folder / name
        lines = [f"{x * 1e6:.9f},{y * 1e6:.9f}" for y, x in zip(self.y, self.x, strict=True)]
        path.write_text("x_um,y_um\n" + "\n".join(lines) + "\n")
        return path

    def eiger(self, virtual: bool = False) -> Path:
        path = self.folder / ("v_master.h5" if virtual else "scan_master.h5")
        names = [f"scan_data_{k + 1:06d}.h5" for k in range(2)]
        for name, part in zip(names, (self.counts[:24], self.counts[24:]), strict=True):
            with h5py.File(self.folder / name, "w") as file:
                stored = part.astype(np.uint32)
                stored[:, 5, 6] = 2**32 - 1
                file.create_dataset(
                    "entry/data/data", data=stored, chunks=(1, 32, 32),
                    **hdf5plugin.Bitshuffle(cname="lz4"),
                )  # fmt: skip
        with h5py.File(path, "w") as file:
            group = file.create_group("entry/data")
            if virtual:
                layout = h5py.VirtualLayout(self.counts.shape, np.uint32)
                layout[:24] = h5py.VirtualSource(names[0], "entry/data/data", (24, 32, 32))
                layout[24:] = h5py.VirtualSource(names[1], "entry/data/data", (16, 32, 32))
                group.create_virtual_dataset("data", layout)
            else:
                for k, name in enumerate(names):
                    group[f"data_{k + 1:06d}"] = h5py.ExternalLink(name, "entry/data/data")
            detector = file.create_group("entry/instrument/detector")
            detector["detector_distance"] = DISTANCE * 1e3
            detector["detector_distance"].attrs["units"] = "mm"
            detector["x_pixel_size"] = detector["y_pixel_size"] = self.detector_pixel
            detector["beam_center_y"], detector["beam_center_x"] = 16.0, 16.0
            mask = np.zeros((32, 32), np.uint32)
            mask[0, :3] = 8
            detector["detectorSpecific/pixel_mask"] = mask
            file["entry/instrument/beam/incident_wavelength"] = wavelength() * 1e10
            file["entry/instrument/beam/incident_wavelength"].attrs["units"] = "angstrom"
        return path

    def nexus(self, probe: bool = False) -> Path:
        path = self.folder / "scan.nxs"
        with h5py.File(path, "w") as file:
            entry = file.create_group("entry_1")
            entry["definition"] = "NXcxi_ptycho"
            detector = entry.create_group("instrument_1/detector_1")
            detector["data"] = self.counts.reshape(ROWS, COLUMNS, 32, 32)
            detector["distance"], detector["x_pixel_size"] = DISTANCE, self.detector_pixel * 1e6
            detector["x_pixel_size"].attrs["units"] = "um"
            detector["mask"] = np.zeros((32, 32), np.uint32)
            entry["instrument_1/beam_1/energy"] = ENERGY * constants.e
            translation = np.stack([self.x, self.y, 0 * self.x], axis=1)
            entry["sample_1/geometry_1/translation"] = translation.reshape(ROWS, COLUMNS, 3)
            entry["data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
            if probe:
                entry["image_1/data"] = self.probe[None]
        return path

    def ptyd(self) -> Path:
        path = self.folder / "scan.ptyd"
        weights = np.ones((40, 32, 32), bool)
        weights[:, 7, 7] = False
        with h5py.File(path, "w") as file:
            for k, part in enumerate((slice(0, 15), slice(15, 40))):
                chunk = file.create_group(f"chunks/{k}")
                chunk["data"] = self.counts[part].astype(np.int32)
                chunk["indices"] = np.arange(40)[part]
                chunk["positions"] = np.stack([self.y, self.x], axis=1)[part]
                chunk["weights"] = weights[part]
            file["meta/energy"], file["meta/distance"] = ENERGY / 1e3, DISTANCE
            file["meta/psize"] = [self.detector_pixel] * 2
            file["meta/center"] = [16.0, 16.0]
            file["meta/label"] = np.bytes_(b"None")
        return path

    def ptyr(self) -> Path:
        path = self.folder / "result.ptyr"
        with h5py.File(path, "w") as file:
            file["content/probe/SscanMFG00/data"] = self.probe
            file["content/obj/SscanMFG00/data"] = np.ones((1, 60, 60), np.complex64)
        return path

    def matlab_73(self) -> Path:
        path = self.folder / "scan.mat"
        pairs = np.empty((32, 32), [("real", "f8"), ("imag", "f8")])
        pairs["real"], pairs["imag"] = self.probe[0].T.real, self.probe[0].T.imag
        with h5py.File(path, "w", userblock_size=512) as file:
            file["dp"] = self.counts.transpose(0, 2, 1)
            file["ppY"], file["ppX"] = self.y[None], self.x[None]
            file["lambda"], file["dx"] = np.array([[wavelength()]]), np.array([[PIXEL]])
            file["probe"] = pairs
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
        return path

    def matlab_5(self) -> Path:
        import scipy.io

        path = self.folder / "old.mat"
        content = {
            "dp": self.counts.transpose(1, 2, 0), "ppY": self.y, "ppX": self.x,
            "lambda": wavelength(), "dx": PIXEL, "probe": self.probe[0],
        }  # fmt: skip
        scipy.io.savemat(path, content)
        return path

    def tiff(self) -> Path:
        import tifffile

        path = self.folder / "stack.tif"
        tifffile.imwrite(path, self.counts, photometric="minisblack")
        return path

    def tiff_folder(self) -> Path:
        import tifffile

        folder = self.folder / "images"
        folder.mkdir(exist_ok=True)
        for k, frame in enumerate(self.counts):
            tifffile.imwrite(folder / f"frame_{k}.tiff", frame)
        return folder

    def npy(self) -> Path:
        path = self.folder / "frames.npy"
        np.save(path, self.counts.astype(">u2"))
        return path

    def zarr(self, version: int) -> Path:
        import zarr

        path = self.folder / f"store{version}.zarr"
        group = zarr.open_group(str(path), mode="w", zarr_format=version)
        for name, values in (
            ("frames", self.counts),
            ("y_um", self.y * 1e6),
            ("x_um", self.x * 1e6),
        ):
            array = group.create_array(
                name, shape=values.shape, dtype=values.dtype, chunks=(4, *values.shape[1:])
            )
            array[...] = values
        return path

    def empad(self) -> Path:
        path = self.folder / f"scan_x{COLUMNS}_y{ROWS}.raw"
        frames = np.full((40, 130, 128), -7, np.float32)
        frames[:, :128] = 0
        frames[:, 48:80, 48:80] = self.counts
        frames.tofile(path)
        return path

    def py4dstem(self, step_nm: float = 0.5) -> Path:
        """With the sampling of this scan: 1 / (32 px) of its object pixel."""
        path = self.folder / "stem.h5"
        with h5py.File(path, "w") as file:
            root = file.create_group("datacube_root")
            root.attrs["emd_group_type"] = "root"
            root["datacube/data"] = self.counts.reshape(ROWS, COLUMNS, 32, 32)
            calibration = root.create_group("metadatabundle/calibration")
            calibration["R_pixel_size"], calibration["R_pixel_units"] = step_nm, "nm"
            calibration["Q_pixel_size"] = 1e-10 / (32 * PIXEL)
            calibration["Q_pixel_units"] = "A^-1"
        return path

    def emd(self) -> Path:
        path = self.folder / "berkeley.emd"
        with h5py.File(path, "w") as file:
            file.attrs["version_major"] = 0
            group = file.create_group("data/cube")
            group["data"] = self.counts.reshape(ROWS, COLUMNS, 32, 32)
            axes = [(5.0, ROWS, "nm"), (5.0, COLUMNS, "nm"), (0.5, 32, "mrad"), (0.5, 32, "mrad")]
            for k, (size, count, unit) in enumerate(axes, start=1):
                group[f"dim{k}"] = np.arange(count) * size
                group[f"dim{k}"].attrs["units"] = unit
        return path
