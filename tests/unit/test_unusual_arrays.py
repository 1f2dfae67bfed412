"""Files that are being written, arrays of other orders and types: the true cause is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.data.findings import recorded_findings
from ptychopinn.errors import InputError
from ptychopinn.io import lazy, load_scan
from ptychopinn.workflows.prepare import prepare
from scan_files import COLUMNS, ROWS, Content, M, N, counts_of, positions_of, write

TRANSLATION = "sample_1/geometry_1/translation"
WRITING = """
import h5py, os, sys
file = h5py.File(sys.argv[1], "r+" if sys.argv[2] == "plain" else "a", libver="latest")
if sys.argv[2] == "swmr":
    file.swmr_mode = True
file.flush()
print("ready", flush=True)
if sys.argv[3] == "stopped":
    os._exit(0)
sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["stopped", "working"])
@pytest.mark.parametrize("way", ["swmr", "plain"])
def test_a_file_that_is_being_written(way: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.cxi"
    with h5py.File(write("cxi", tmp_path, Content()), "r") as old:
        content = {name: old[name][()] for name in _names(old)}
    path.unlink()
    with h5py.File(path, "w", libver="latest") as file:
        for name, value in content.items():
            file[name] = value
    with subprocess.Popen(
        [sys.executable, "-c", WRITING, str(path), way, end],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        if end == "stopped":
            other.wait()
        for read in (load_scan, prepare):
            with pytest.raises(InputError, match="another program has open for writing") as refused:
                read(path)
            assert "h5clear -s FILE" in str(refused.value)
        other.kill()


def _names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return names


LAST = np.moveaxis(counts_of().reshape(ROWS, COLUMNS, N, N), (0, 1), (2, 3))


@pytest.mark.parametrize("kind", ["npz", "cxi", "on disk"])
def test_axes_of_the_scan_behind_those_of_the_patterns(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "on disk":
        monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    path = write("npz" if kind == "npz" else "cxi", tmp_path, Content(counts=LAST))
    np.testing.assert_array_equal(load_scan(path).diffraction[:], counts_of())


def test_prepare_names_an_axis_that_is_no_pattern(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="where the last axis counts nothing"):
        prepare(write("cxi", tmp_path, Content(counts=counts_of()[..., None])))


STEP = {"step": "4", "unit": "px", "probe": "gaussian:fwhm=6px"}


def _array(kind: str, folder: Path, stored: np.ndarray) -> Path:
    path = folder / f"array.{kind}"
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        zarr.open_group(str(path), mode="w").create_array("frames", data=stored)
    elif kind == "npy":
        np.save(path, stored)
    elif kind == "npz":
        np.savez(path, frames=stored)
    else:
        with h5py.File(path, "w") as file:
            file["frames"] = stored
    return path


@pytest.mark.parametrize("kind", ["h5", "npy", "npz", "zarr"])
def test_prepare_reads_patterns_whose_detector_axes_come_first(kind: str, tmp_path: Path) -> None:
    path = _array(kind, tmp_path, LAST)
    grid = f"{ROWS},{COLUMNS}"
    whole = prepare(path, **STEP, grid=grid)
    np.testing.assert_array_equal(whole.diffraction[:], counts_of())
    part = prepare(path, **STEP, grid=grid, detector_first=True, frames="1:23")
    np.testing.assert_array_equal(part.diffraction[:], counts_of()[1:23])


def test_arrays_of_matlab_whose_first_axis_counts_patterns(tmp_path: Path) -> None:
    """MATLAB's array (M, H, W) has its axes in reverse in the file: (W, H, M)."""
    counts = np.pad(counts_of(), ((0, 0), (3, 5), (0, 2)))
    path = tmp_path / "scan.mat"

    def write(array: np.ndarray) -> None:
        with h5py.File(path, "w", userblock_size=512) as file:
            file["frames"] = array.T
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")

    how = {**STEP, "patterns": "frames", "grid": f"{ROWS},{COLUMNS}"}
    write(counts)
    scan = prepare(path, **how, crop=N, centre=f"{N // 2 + 3},{N // 2}", detector_first=True)
    np.testing.assert_array_equal(scan.diffraction[:], counts_of())
    # Which of two axes of the scan comes first is not told by such a file.
    write(counts.reshape(ROWS, COLUMNS, *counts.shape[1:]))
    with pytest.raises(InputError, match="with one axis of the scan"):
        prepare(path, **how, detector_first=True)


def test_as_many_patterns_as_pixels_are_told_by_the_option(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    counts = np.concatenate([counts_of(seed) for seed in range(43)])[: N * N]
    counts = rng.permutation(counts)
    last = np.moveaxis(counts.reshape(N, N, N, N), (0, 1), (2, 3))
    path = _array("h5", tmp_path, last)
    doubted = prepare(path, **STEP, crop=32)
    (message,) = [f.message for f in recorded_findings(doubted.provenance) if "axes" in f.name]
    assert "give detector_first=True" in message
    right = prepare(path, **STEP, detector_first=True)
    np.testing.assert_array_equal(right.diffraction[:], counts)
    plain = prepare(_array("h5", tmp_path, counts.reshape(N, N, N, N)), **STEP)
    for scan in (right, plain):
        assert not [f for f in recorded_findings(scan.provenance) if "axes" in f.name]
    np.testing.assert_array_equal(plain.diffraction[:], counts)


def test_positions_whose_axes_come_in_another_order(tmp_path: Path) -> None:
    path = write("cxi", tmp_path, Content())
    with h5py.File(path, "r+") as file:
        values = file[f"entry_1/{TRANSLATION}"][()]
        file[f"entry_1/{TRANSLATION}"][...] = values[:, [2, 0, 1]]
    with pytest.raises(InputError, match="x that is the same everywhere and z that spans"):
        load_scan(path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (TRANSLATION, np.full((M, 3), b"1.5"), "must hold real numbers, received texts"),
        (
            TRANSLATION, np.zeros(M, [("x", "f8"), ("y", "f8")]),
            "must hold real numbers, received records of x, y",
        ),
        (
            "instrument_1/detector_1/data", counts_of() + 1j,
            "must hold real numbers, received complex numbers",
        ),
    ],
)  # fmt: skip
def test_arrays_of_another_type(name: str, value: Any, words: str, tmp_path: Path) -> None:
    path = write("cxi", tmp_path, Content(raw={name: value}))
    for read in (load_scan, prepare):
        with pytest.raises(InputError, match=words):
            read(path)


def test_complex_positions_lose_no_part(tmp_path: Path) -> None:
    path = write("npz", tmp_path, Content(positions=positions_of() + 1j))
    for read in (load_scan, prepare):
        with pytest.raises(InputError, match="complex128"):
            read(path)


def test_a_position_for_none_of_the_patterns(tmp_path: Path) -> None:
    for positions in (np.zeros((0, 2)), np.zeros((1, 2))):
        path = write("npz", tmp_path, Content(positions=positions))
        for read in (load_scan, prepare):
            with pytest.raises(InputError, match="store one position for each pattern"):
                read(path)


@pytest.mark.parametrize("kind", ["npz", "cxi"])
def test_logarithms_of_nothing(kind: str, tmp_path: Path) -> None:
    with np.errstate(divide="ignore"):
        path = write(kind, tmp_path, Content(counts=np.log10(counts_of().astype("f4"))))
    with pytest.raises(InputError, match="that is the logarithm of 0"):
        load_scan(path)


def test_how_many_positions_are_no_numbers(tmp_path: Path) -> None:
    positions = positions_of()
    positions[::3, 1] = np.nan
    path = write("npz", tmp_path, Content(positions=positions))
    for read in (load_scan, prepare):
        with pytest.raises(InputError, match="8 of 24 that are none, the first being position 0"):
            read(path)


def test_a_virtual_dataset_of_a_missing_dataset(tmp_path: Path) -> None:
    path = write("cxi", tmp_path, Content())
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["frames"] = counts_of()
    layout = h5py.VirtualLayout((M, N, N), "u2")
    layout[:] = h5py.VirtualSource("raw.h5", "entry/data", (M, N, N))
    with h5py.File(path, "r+") as file:
        del file["entry_1/instrument_1/detector_1/data"]
        file.create_virtual_dataset("entry_1/instrument_1/detector_1/data", layout)
    for read in (load_scan, prepare):
        with pytest.raises(InputError, match="does not hold, which has frames"):
            read(path)
