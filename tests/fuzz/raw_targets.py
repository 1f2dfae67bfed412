"""Raw data of every kind, what prepares it, and what is fuzzed of it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.cli.prepare import _list
from ptychopinn.errors import InputError
from ptychopinn.sources.recipe import read_recipe
from ptychopinn.workflows.prepare import prepare

sys.path.append(str(Path(__file__).parents[1]))

from raw_files import ENERGY, PIXEL, Raw

# Their folders in the corpus.
PREFIX = "raw-"
RECIPE = """\
# how it is prepared
positions: positions.csv:x_um,y_um
unit: um
crop: 32
centre: [16, 16]
frames: "0:40"
energy_eV: 8800.0
distance_m: 1.0
detector_pixel_m: 4.4e-4
probe: true.h5
rotate_positions: 0.5
flip_y: false
"""
PROBE = "fzp:diameter=180um,zone=50nm,defocus=20um,stop=60um,energy=8.8keV,pixel=10nm"


@dataclass(frozen=True)
class RawKind:
    """``write`` makes the files, of which ``files`` are damaged; the first names the source, or
    lies in it. ``options`` are those of prepare, names of files relative to the folder."""

    write: Callable[[Raw], Any]
    files: tuple[str, ...]
    options: Mapping[str, Any]
    folder: bool = False
    patterns: str = ""

    def read(self, path: Path) -> Mapping[str, Any]:
        """List and prepare the damaged source; a refusal by one does not spare the other."""
        refused = None
        source = path.parent if self.folder else path
        if self.patterns:
            source = path.with_name(self.patterns)
        try:
            with redirect_stdout(io.StringIO()):
                _list((str(source),))
        except InputError as error:
            refused = error
        options = {
            key: self._placed(value, path.parents[1] if self.folder else path.parent)
            for key, value in self.options.items()
        }
        if path.name == "recipe.yaml":
            options["recipe"] = read_recipe(path).model_copy(
                update={k: options.pop(k) for k in ("positions", "probe")}
            )
        if path.name == "probe.txt":
            options["probe"] = path.read_text(errors="replace")
        scan = prepare(source, **options)
        if refused is not None:
            raise refused
        return {
            "counts": np.asarray(scan.diffraction),
            "positions": scan.positions_px,
            "probe": scan.probe,
            "mask": scan.mask,
            "numbers": [scan.pixel_size_m, scan.energy_eV, scan.distance_m],
        }

    def _placed(self, value: Any, folder: Path) -> Any:
        return value.format(folder=folder) if isinstance(value, str) else value


def _deflated(raw: Raw) -> None:
    import tifffile

    tifffile.imwrite(raw.folder / "packed.tif", raw.counts, compression="zlib", predictor=False)


def _text(raw: Raw) -> None:
    raw.keys()
    raw.table()
    (raw.folder / "recipe.yaml").write_text(RECIPE)
    (raw.folder / "probe.txt").write_text(PROBE)
    np.save(raw.folder / "positions.npy", np.stack([raw.y, raw.x], axis=1))


def _with_table(write: Callable[[Raw], Any]) -> Callable[[Raw], None]:
    def both(raw: Raw) -> None:
        write(raw)
        raw.table()

    return both


def _archive(raw: Raw) -> None:
    y, x = raw.scan.positions_px.T
    np.savez_compressed(raw.folder / "scan.npz", frames=raw.counts, y_px=y, x_px=x)


KNOWN = {"probe": "{folder}/true.h5"}
GEOMETRY = {"energy_eV": ENERGY, "distance_m": 1.0, "detector_pixel_m": 4.4e-4}
PLACED = {"positions": "{folder}/positions.csv", **KNOWN}

RAW_KINDS: Mapping[str, RawKind] = {
    "keys": RawKind(Raw.keys, ("keys.h5",), {**KNOWN, **GEOMETRY}),
    "table": RawKind(_text, ("positions.csv",), {**PLACED, **GEOMETRY}, patterns="keys.h5"),
    "points": RawKind(
        _text,
        ("positions.npy",),
        {"positions": "{folder}/positions.npy", "order": "yx", "unit": "m", **KNOWN, **GEOMETRY},
        patterns="keys.h5",
    ),
    "recipe": RawKind(_text, ("recipe.yaml",), PLACED, patterns="keys.h5"),
    "optics": RawKind(_text, ("probe.txt",), {"pixel_size_m": PIXEL}, patterns="keys.h5"),
    "eiger": RawKind(
        _with_table(Raw.eiger),
        ("scan_master.h5", "scan_data_000001.h5", "scan_data_000002.h5"),
        PLACED,
    ),
    "nexus": RawKind(lambda raw: raw.nexus(True), ("scan.nxs",), {}),
    "ptypy": RawKind(
        lambda raw: (raw.ptyd(), raw.ptyr()),
        ("scan.ptyd", "result.ptyr"),
        {"probe": "{folder}/result.ptyr"},
    ),
    "matlab-7.3": RawKind(Raw.matlab_73, ("scan.mat",), {}),
    "matlab-5": RawKind(Raw.matlab_5, ("old.mat",), {}),
    "tiff": RawKind(_with_table(Raw.tiff), ("stack.tif",), {**PLACED, **GEOMETRY}),
    "tiff-deflate": RawKind(_with_table(_deflated), ("packed.tif",), {**PLACED, **GEOMETRY}),
    "tiff-folder": RawKind(
        _with_table(Raw.tiff_folder),
        tuple(f"images/frame_{k}.tiff" for k in (0, 7, 39)),
        {**PLACED, **GEOMETRY},
        folder=True,
    ),
    "npy": RawKind(_with_table(Raw.npy), ("frames.npy",), {**PLACED, **GEOMETRY}),
    "npz": RawKind(_archive, ("scan.npz",), {"unit": "px", **KNOWN}),
    "zarr-2": RawKind(
        lambda raw: raw.zarr(2),
        ("store2.zarr/.zgroup", "store2.zarr/frames/.zarray", "store2.zarr/frames/0.0.0",
         "store2.zarr/y_um/0"),
        {"positions": "{folder}/store2.zarr:y_um,x_um", "unit": "um", **KNOWN, **GEOMETRY},
        folder=True,
    ),
    "zarr-3": RawKind(
        lambda raw: raw.zarr(3),
        ("store3.zarr/zarr.json", "store3.zarr/frames/zarr.json", "store3.zarr/frames/c/3/0/0",
         "store3.zarr/y_um/c/0"),
        {"positions": "{folder}/store3.zarr:y_um,x_um", "unit": "um", **KNOWN, **GEOMETRY},
        folder=True,
    ),
    "empad": RawKind(
        Raw.empad,
        ("scan_x8_y5.raw",),
        {"step": 0.4, "unit": "um", "crop": 32, "energy_eV": 8e4, "distance_m": 1.0,
         "detector_pixel_m": 1e-6, **KNOWN},
    ),
    "py4dstem": RawKind(lambda raw: raw.py4dstem(40.0), ("stem.h5",), KNOWN),
    "emd": RawKind(
        Raw.emd, ("berkeley.emd",), {"energy_eV": 3e3, "step": 2.0, "unit": "nm", **KNOWN}
    ),
}  # fmt: skip


def make_raw(folder: Path, target: str | None) -> None:
    """Write the raw data of every kind, or of one, into a folder of its own."""
    for name, kind in RAW_KINDS.items():
        if target not in (None, f"{PREFIX}{name}"):
            continue
        place = folder / f"{PREFIX}{name}"
        place.mkdir()
        kind.write(Raw(place))
