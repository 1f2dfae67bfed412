"""The attribute ``units``, in the ways in which files write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.data.units import spelled, units_in
from ptychopinn.errors import InputError
from ptychopinn.io import load_scan
from ptychopinn.workflows.prepare import prepare
from raw_files import ENERGY, Raw
from scan_files import Content, positions_of, write

TRANSLATION = "entry_1/sample_1/geometry_1/translation"
WAYS = {
    "latin-1": "µm".encode("latin-1"),
    "latin-1 array": np.array(["µm".encode("latin-1")]),
    "utf-8": "µm".encode(),
    "greek": "\u03bcm",
    "zeros": np.array(b"um\0", dtype="S8"),
    "blanks": " um  ",
    "each axis": np.array([b"um", b"um", b"um"]),
    "each axis as text": "[um, um, um]",
    "each axis with blanks": "um um um",
    "two words": "micro m",
    "hyphen": "micro-meter",
}


def relative(positions: np.ndarray) -> np.ndarray:
    return positions - positions.mean(axis=0)


def stated(folder: Path, units: Any, factors: Any) -> Path:
    """A CXI file with translations (x, y, z) times ``factors``."""
    path = write("cxi", folder, Content())
    with h5py.File(path, "r+") as file:
        values = file[TRANSLATION][()] * factors
        del file[TRANSLATION]
        file[TRANSLATION] = values
        file[TRANSLATION].attrs["units"] = units
    return path


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_write_a_unit(way: str, tmp_path: Path) -> None:
    path = stated(tmp_path, WAYS[way], 1e6)
    for scan in (load_scan(path), prepare(path)):
        found = relative(scan.positions_px)
        np.testing.assert_allclose(found, relative(positions_of()), atol=1e-4)


def test_units_of_each_axis(tmp_path: Path) -> None:
    path = stated(tmp_path, np.array([b"um", b"nm", b"m"]), np.array([1e6, 1e9, 1]))
    for scan in (load_scan(path), prepare(path)):
        found = relative(scan.positions_px)
        np.testing.assert_allclose(found, relative(positions_of()), atol=1e-4)


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (np.array([b"um", b"nm"]), "one for each of its 3 axes, received um, nm"),
        ("furlong", "received 'furlong'"),
        (np.array([b"um", b"counts", b"um"]), "received 'counts'"),
    ],
)
def test_units_that_say_nothing(units: Any, words: str, tmp_path: Path) -> None:
    path = stated(tmp_path, units, 1e6)
    with pytest.raises(InputError) as refused:
        load_scan(path)
    assert words in str(refused.value)
    with pytest.raises(InputError):
        prepare(path)


def test_energy_in_two_units_is_refused(tmp_path: Path) -> None:
    path = write("cxi", tmp_path, Content())
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/source_1/energy"].attrs["units"] = np.array([b"eV", b"J"])
    for read in (load_scan, prepare):
        with pytest.raises(InputError, match=r"must be (in )?one unit, received eV, J"):
            read(path)


def test_motors_with_units_of_their_own(tmp_path: Path) -> None:
    raw = Raw(tmp_path)
    path = tmp_path / "motors.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = raw.counts
        for axis, values, unit in (("y", raw.y * 1e9, "nm"), ("x", raw.x * 1e3, "mm")):
            file[f"motors/{axis}"] = values
            file[f"motors/{axis}"].attrs["units"] = unit
    more: dict[str, Any] = {
        "energy_eV": ENERGY, "distance_m": 1.0, "detector_pixel_m": raw.detector_pixel,
        "probe": str(raw.native),
    }  # fmt: skip
    expected = relative(raw.scan.positions_px)
    for positions in (None, "motors/x,motors/y"):
        scan = prepare(path, positions=positions, patterns="frames", **more)
        np.testing.assert_allclose(relative(scan.positions_px), expected, atol=1e-4)


def test_spelling() -> None:
    for word in ("Micron", "MICROMETER", "micro metre", "µm", "[um]", "um\0"):
        assert spelled(word) == "um"
    assert spelled("electron volt") == "eV" and spelled("meV") == "meV"
    assert units_in(None) == units_in("") == units_in(" \0") == ()
    assert units_in(np.array(["mm", "um"], object)) == ("mm", "um")
