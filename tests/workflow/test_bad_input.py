"""Every bad input ends a command with exit code 2 and one helpful sentence, never a traceback."""

from __future__ import annotations

import bz2
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import warm_processes
from ptychopinn.cli import run
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.io import load_scan, save_scan
from ptychopinn.io.models import Bundle, Manifest, save_bundle

Arrays = dict[str, Any]
Change = Callable[[Arrays], Arrays]


def set_value(key: str, index: Any, value: float) -> Change:
    def change(arrays: Arrays) -> Arrays:
        array = arrays[key].copy()
        array[index] = value
        return {key: array}

    return change


def whole(arrays: Arrays) -> np.ndarray:
    return np.rint(arrays["diff3d"].astype(float) ** 2)


# name: (change of a valid NPZ, further arguments, what the sentence must say)
NPZ: dict[str, tuple[Change, list[str], str]] = {
    "patterns missing": (lambda a: {"diff3d": None}, [], "'diff3d' or 'diffraction'"),
    "coordinates missing": (lambda a: {"xcoords": None}, [], "'xcoords'"),
    "NaN": (set_value("diff3d", (1, 2, 3), np.nan), [], "NaN"),
    "negative": (set_value("diff3d", (1, 2, 3), -1.5), [], "-1.5"),
    "negative counts": (lambda a: {"diff3d": whole(a).astype(int) - 1}, [], "-1"),
    "not square": (lambda a: {"diff3d": a["diff3d"][:, :30]}, [], "30 x 32"),
    "odd size": (lambda a: {"diff3d": np.ones((12, 33, 33))}, [], "33"),
    "not three axes": (lambda a: {"diff3d": a["diff3d"][0]}, [], "(32, 32)"),
    "complex patterns": (lambda a: {"diff3d": a["diff3d"] * 1j}, [], "complex"),
    "text": (lambda a: {"xcoords": np.array(["a"] * 12)}, [], "numbers"),
    "empty scan": (
        lambda a: {k: a[k][:0] for k in ("diff3d", "xcoords", "ycoords")},
        [],
        "empty",
    ),
    "dark scan": (lambda a: {"diff3d": 0 * a["diff3d"]}, [], "counts"),
    "fewer patterns": (lambda a: {"diff3d": a["diff3d"][:11]}, [], "12 positions"),
    "unequal coordinates": (lambda a: {"xcoords": a["xcoords"][:11]}, [], "12 and 11"),
    "NaN position": (set_value("ycoords", 3, np.nan), [], "positions_px"),
    "metres": (
        lambda a: {k: a[k] * 1e-8 for k in ("xcoords", "ycoords")},
        [],
        "look like metres",
    ),
    "wrong-size probe": (lambda a: {"probeGuess": np.ones((16, 16))}, [], "(1, 16, 16)"),
    "flat probe": (lambda a: {"probeGuess": np.ones(32)}, [], "(32,)"),
    "zero probe": (lambda a: {"probeGuess": 0 * a["probeGuess"]}, [], "zero"),
    "NaN probe": (set_value("probeGuess", (0, 0), np.nan), [], "finite"),
    "counts as amplitude": (
        lambda a: {"diff3d": whole(a).astype(np.float32)},
        [],
        "--units counts",
    ),
    "amplitude as counts": (lambda a: {}, ["--units", "counts"], "--units amplitude"),
    # Of noise-free numbers nothing tells the photons.
    "normalised": (
        lambda a: {"diff3d": np.hypot(a["diff3d"], 0.6) / 50.3},
        [],
        "--photons",
    ),
    "photons not needed": (lambda a: {}, ["--photons", "1e5"], "leave it out"),
    "outside the object": (lambda a: {"objectGuess": np.ones((60, 60))}, [], "outside"),
    "wrong mask": (lambda a: {"bad_pixels": np.ones((8, 8), bool)}, [], "(8, 8)"),
    "all bad": (
        lambda a: {"bad_pixels": np.ones((32, 32), bool)},
        [],
        "marks all 1024 pixels as bad; here True or 1 marks bad pixels",
    ),
    "pickled metadata": (
        lambda a: {"_metadata": np.array({"a": 1}, dtype=object)},
        [],
        "'_metadata'",
    ),
    "pickled coordinates": (
        lambda a: {"xcoords": np.array([{}] * 12, dtype=object)},
        [],
        "'xcoords'",
    ),
    "no such probe": (lambda a: {}, ["--probe", "nothing.npz:probe"], "nothing.npz"),
}


def check_sentence(text: str, expected: str) -> None:
    assert "Traceback" not in text
    assert expected in text
    assert text.startswith("ptychopinn: ") and text.endswith(".\n")
    assert text.count("\n") == 1
    assert not re.search(r"[.!?] [A-Z]", text)


@pytest.mark.parametrize("case", NPZ)
def test_bad_npz(
    case: str,
    write_npz: Callable[..., Path],
    npz_arrays: Arrays,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change, arguments, expected = NPZ[case]
    path = write_npz(**change(npz_arrays))
    assert run(["inspect", str(path), *arguments]) == 2
    output = capsys.readouterr()
    check_sentence(output.err, expected)
    assert output.out == ""


def truncate(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def native(path: Path, **changes: Any) -> Path:
    """The valid scan as a native file, with some of its attributes or datasets changed."""
    target = save_scan(load_scan(path), path.with_suffix(".h5"))
    with h5py.File(target, "r+") as file:
        for key, value in changes.items():
            if key in file.attrs:
                file.attrs[key] = value
            elif value is None:
                del file[key]
            else:
                file[key][...] = value
    return target


def other_text(path: Path) -> Path:
    path.with_suffix(".txt").write_text("1 2 3\n")
    return path.with_suffix(".txt")


def empty_file(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def other_hdf5(path: Path) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["something"] = np.zeros(3)
    return path.with_suffix(".h5")


def cut_bzip2(path: Path) -> Path:
    target = path.with_suffix(".npz.bz2")
    target.write_bytes(bz2.compress(path.read_bytes())[:-100])
    return target


def other_bzip2(path: Path) -> Path:
    target = path.with_suffix(".npz.bz2")
    target.write_bytes(bz2.compress(path.read_bytes()))
    return target


def tike(path: Path, **changes: Any) -> Path:
    arrays = {
        "data": np.ones((1, 3, 32, 32)),
        "scan": np.zeros((1, 3, 2)),
        "probe": np.ones((1, 1, 1, 1, 32, 32), complex),
    }
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda p: p.with_name("no.npz"), "does not exist"),
    "folder": (lambda p: p.parent, "folder"),
    "empty": (empty_file, "empty"),
    "text": (other_text, "model bundle"),
    "truncated NPZ": (truncate, "truncated"),
    "truncated native": (lambda p: truncate(native(p)), "truncated"),
    "truncated bzip2": (cut_bzip2, "truncated"),
    "bzip2 of another NPZ": (other_bzip2, "'data'"),
    "other HDF5": (other_hdf5, "model bundle"),
    "native without patterns": (lambda p: native(p, diffraction=None), "'diffraction'"),
    "native of the future": (lambda p: native(p, format_version=99), "99"),
    "native, probe in other units": (lambda p: native(p, probe=0.001), "through vacuum"),
    "native, probe too strong": (lambda p: native(p, probe=1e4), "through vacuum"),
    "native, provenance": (lambda p: native(p, provenance="{"), "JSON"),
    "native, NaN position": (lambda p: native(p, positions_px=np.nan), "positions_px"),
    "tike, too few positions": (lambda p: tike(p, scan=np.zeros((1, 2, 2))), "'scan'"),
    "tike, two views": (lambda p: tike(p, data=np.ones((2, 3, 32, 32))), "one view"),
    "tike, fractions": (lambda p: tike(p, data=np.full((1, 3, 32, 32), 0.5)), "whole"),
    "tike, odd probe axes": (lambda p: tike(p, probe=np.ones((1, 2, 1, 3, 32, 32))), "probe"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_file(
    case: str, write_npz: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make, expected = FILES[case]
    path = make(write_npz())
    assert run(["inspect", str(path)]) == 2
    output = capsys.readouterr()
    check_sentence(output.err, expected)
    assert output.out == ""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return warm_processes.run(
        [sys.executable, "-m", "ptychopinn", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "120"},
    )


def test_as_a_process(write_npz: Callable[..., Path], npz_arrays: Arrays) -> None:
    done = command("inspect", str(write_npz(xcoords=npz_arrays["xcoords"] * np.nan)))
    assert done.returncode == 2
    check_sentence(done.stderr, "positions_px")
    assert done.stdout == ""


def test_good_scan_as_json_and_as_table(
    write_npz: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_npz()
    assert run(["inspect", "--json", str(path)]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["kind"], content["M"], content["N"]) == ("scan", 12, 32)
    done = command("inspect", str(path))
    assert done.returncode == 0 and done.stderr == ""
    assert "12 of 32 x 32 pixels, uint16" in done.stdout


def bundle_file(folder: Path) -> Path:
    manifest = Manifest(backend="pytorch", config={"depth": 3}, versions={"numpy": "2"}, seed=1)
    weights = {"a.weight": np.ones((2, 3), np.float32)}
    path = folder / "wts.h5.zip"
    save_bundle(Bundle(manifest, weights, np.ones((1, 32, 32), np.complex64)), path)
    return path


def result_file(folder: Path) -> Path:
    weight = np.ones((40, 50), np.float32)
    weight[:10] = 0
    return Reconstruction(
        object=np.full((40, 50), 2j, np.complex64),
        origin_px=np.array([-3, 4]),
        weight=weight,
        probe=np.ones((1, 32, 32), np.complex64),
        positions_px=np.array([[20.0, 20.0]]),
    ).save(folder / "reconstruction.h5")


def test_bundle_and_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "--json", str(bundle_file(tmp_path))]) == 0
    bundle = json.loads(capsys.readouterr().out)
    assert (bundle["kind"], bundle["parameters"], bundle["probe"]["power"]) == ("bundle", 6, 1024)
    assert bundle["manifest"]["config"] == {"depth": 3}
    assert run(["inspect", "--json", str(result_file(tmp_path))]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["kind"] == "result"
    assert result["object"] == {
        "shape": [40, 50],
        "origin_yx_px": [-3, 4],
        "seen_fraction": pytest.approx(0.75),
        "mean_amplitude": pytest.approx(2.0),
    }


@pytest.mark.parametrize("make", [bundle_file, result_file])
def test_scan_options_are_refused_for_anything_else(
    make: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(make(tmp_path)), "--units", "counts"]) == 2
    check_sentence(capsys.readouterr().err, "leave them out")


@pytest.mark.parametrize("make", [bundle_file, result_file])
def test_damaged_bundle_and_result(
    make: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(truncate(make(tmp_path)))]) == 2
    check_sentence(capsys.readouterr().err, str(tmp_path))


WITHOUT_PROBE: dict[str, Callable[[Path], Path]] = {
    "native": lambda path: native(path, probe=None),
    "tike": lambda path: tike(path, probe=None),
}


@pytest.mark.parametrize("format_", ["npz", *WITHOUT_PROBE])
def test_a_scan_without_probe_can_only_be_looked_at(
    format_: str,
    write_npz: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = WITHOUT_PROBE.get(format_)
    path = write_npz(probeGuess=None) if made is None else made(write_npz())
    assert run(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["probe"] is None
    assert run(["convert", str(path), str(tmp_path / "out.npz")]) == 2
    check_sentence(capsys.readouterr().err, "--probe auto")
