"""Files made to break a reader: each is refused in one sentence, quickly and in little memory."""

from __future__ import annotations

import bz2
import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import save as safetensors_bytes

from ptychopinn.config import Config, TrainingConfig, validated
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, brief, listed, shown
from ptychopinn.io import load_scan, read_probe, save_scan
from ptychopinn.io.config_file import read_config_file
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.models import load_bundle
from ptychopinn.io.reconstructions import load_reconstruction
from ptychopinn.simulation import SimulationConfig, simulate

Write = Callable[..., Path]


def refused(action: Callable[[], Any], *words: str) -> str:
    """The sentence of the refusal: one line, short, with these words in it."""
    with pytest.raises(InputError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 1200, text
    for word in words:
        assert word in text, text
    return text


# --- quoted values ----------------------------------------------------------------------------


def test_quoted_values_are_short_whatever_they_are() -> None:
    nested: Any = []
    for _ in range(900):
        nested = [nested]
    values = ["x" * 10**6, 10**6000, list(range(10**5)), dict.fromkeys(range(99), "y" * 99), nested]
    for value in (*values, b"\0" * 5000, "a\nb\x1b[31m"):
        text = shown(value)
        assert len(text) <= 80 and text.isprintable()
    assert len(brief("word " * 10**5)) <= 200
    assert len(listed(f"key{i}" for i in range(10**5))) <= 200
    assert listed([]) == "none"


def test_pydantic_messages_are_short() -> None:
    long = "z" * 50_000
    refused(lambda: validated(Config, {"model": {"architecture": long}}), "architecture")
    refused(lambda: validated(Config, {long: 1}), "not an option")
    refused(lambda: validated(TrainingConfig, {"seed": 10**6000}), "seed")


@pytest.mark.parametrize("option", ["learning_rate", "probe_learning_rate"])
@pytest.mark.parametrize("value", [1e308, 1e39, 1e7])
def test_learning_rates_that_no_float32_holds(option: str, value: float) -> None:
    refused(lambda: validated(TrainingConfig, {option: value}), option)


# --- what is no regular file ------------------------------------------------------------------


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    fifo, loop = tmp_path / "pipe.h5", tmp_path / "loop.npz"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    readers: list[Callable[[Path], Any]] = [
        load_scan,
        load_reconstruction,
        load_bundle,
        read_config_file,
        lambda path: read_probe(str(path)),
        lambda path: simulate(object="file", object_file=path),
    ]
    for read in readers:
        refused(lambda read=read: read(fifo), "pipe")
        refused(lambda read=read: read(Path("/dev/null")))
        refused(lambda read=read: read(tmp_path / ("n" * 300 + ".h5")), "too long")
        refused(lambda read=read: read(loop), "Too many levels")
        refused(lambda read=read: read(tmp_path / "no.h5"), "not exist")
        refused(lambda read=read: read(tmp_path))


# --- HDF5 -------------------------------------------------------------------------------------


@pytest.fixture
def native(write_npz: Write, tmp_path: Path) -> Path:
    return save_scan(load_scan(write_npz()), tmp_path / "native.h5")


def declared(file: h5py.File, key: str, shape: tuple[int, ...], dtype: Any) -> None:
    del file[key]
    file.create_dataset(key, shape, dtype, chunks=(1, *shape[1:]))


def time_type(file: h5py.File, key: str) -> None:
    del file[key]
    space = h5py.h5s.create_simple((3,))
    h5py.h5d.create(file.id, key.encode(), h5py.h5t.UNIX_D32LE, space)


HDF5: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "petabytes of positions": (
        lambda f: declared(f, "positions_px", (1 << 50, 2), float),
        "positions_px",
    ),
    "a probe that is only declared": (
        lambda f: declared(f, "probe", (4096, 512, 512), np.complex64),
        "probe",
    ),
    "an object of millions of chunks": (
        lambda f: f.create_dataset("object", (2000, 4000), np.complex64, chunks=(1, 1)),
        "8000000 chunks",
    ),
    "null probe": (lambda f: f.__delitem__("probe") or f.create_dataset("probe", dtype="f4"), ""),
    "null patterns": (
        lambda f: f.__delitem__("diffraction") or f.create_dataset("diffraction", dtype="u2"),
        "diffraction",
    ),
    "time type": (lambda f: time_type(f, "positions_px"), "native.h5"),
    "units as an array": (
        lambda f: f["probe"].attrs.__setitem__("units", ["a", "b"]),
        "units",
    ),
    "order as an array": (
        lambda f: f["positions_px"].attrs.__setitem__("order", [1.0, 2.0]),
        "order",
    ),
    "NaN in the provenance": (
        lambda f: f.attrs.__setitem__("provenance", '{"a": NaN}'),
        "provenance",
    ),
    "infinity in the provenance": (
        lambda f: f.attrs.__setitem__("provenance", '{"a": 1e999}'),
        "provenance",
    ),
    "6000 digits": (
        lambda f: f.attrs.__setitem__("provenance", '{"a": ' + "9" * 6000 + "}"),
        "6000 digits",
    ),
    "deep JSON": (lambda f: f.attrs.__setitem__("provenance", "[" * 30_000), "nested"),
    "infinite energy": (lambda f: f.attrs.__setitem__("energy_eV", np.inf), "energy_eV"),
    "energy of two": (lambda f: f.attrs.__setitem__("energy_eV", [1.0, 2.0]), "energy_eV"),
    "patterns (M, 0, 0)": (
        lambda f: (
            f.__delitem__("diffraction") or f.create_dataset("diffraction", (12, 0, 0), np.uint16)
        ),
        "N",
    ),
    "counts of 1e19": (
        lambda f: (
            f.__delitem__("diffraction")
            or f.create_dataset("diffraction", data=np.full((12, 32, 32), 1e17, np.float32))
        ),
        "counts",
    ),
    "compound patterns": (
        lambda f: (
            f.__delitem__("diffraction")
            or f.create_dataset("diffraction", (12, 32, 32), [("a", "f4")])
        ),
        "diffraction",
    ),
    "array-typed patterns": (
        lambda f: (
            f.__delitem__("positions_px")
            or f.create_dataset("positions_px", (12,), np.dtype(("f8", (2,))))
        ),
        "positions_px",
    ),
    "a circle of soft links": (
        lambda f: (
            f.__delitem__("probe")
            or f.__setitem__("probe", h5py.SoftLink("/b"))
            or f.__setitem__("b", h5py.SoftLink("/probe"))
        ),
        "circle",
    ),
}


@pytest.mark.parametrize(("number", "size"), [(0, 0), (0, 8), (0, 15)])
def test_a_heap_of_texts_without_an_end(number: int, size: int, tmp_path: Path) -> None:
    """HDF5 itself reads such a file for ever."""
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "ptychopinn-scan"
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    content[at : at + 2] = number.to_bytes(2, "little")
    content[at + 8 : at + 16] = size.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"scan\.h5.*damaged.*heap of texts without an end"):
        load_scan(path)


def test_a_whole_heap_of_texts_is_read(tmp_path: Path) -> None:
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        for k in range(300):
            file.attrs[f"text {k}"] = "GCOL " * (k % 90)
    with reading(path) as opened:
        assert opened.attribute("/", "text 89") == "GCOL " * 89


@pytest.mark.parametrize("case", HDF5)
def test_hostile_hdf5(case: str, native: Path) -> None:
    change, word = HDF5[case]
    with h5py.File(native, "r+") as file:
        change(file)

    def read() -> None:
        scan = load_scan(native)
        scan.diffraction[:]

    refused(read, word)


# --- HDF5 in several files --------------------------------------------------------------------


def split(native: Path, how: str, parts: Path) -> None:
    """Move the patterns of a native scan into files of the folder ``parts``."""
    with h5py.File(native, "r+") as file:
        counts, units = file["diffraction"][:], file["diffraction"].attrs["units"]
        m, n = counts.shape[:2]
        del file["diffraction"]
        parts.mkdir(exist_ok=True)
        prefix = os.path.relpath(parts, native.parent)
        prefix = "" if prefix == "." else prefix + "/"
        half = m // 2
        for k in range(2):
            with h5py.File(parts / f"part{k}.h5", "w") as part:
                part["d"] = counts[k * half : (k + 1) * half]
        if how == "link":
            with h5py.File(parts / "part0.h5", "r+") as part:
                part["all"] = counts
            file["diffraction"] = h5py.ExternalLink(f"{prefix}part0.h5", "/all")
        elif how == "raw":
            (parts / "part.raw").write_bytes(counts.tobytes())
            file.create_dataset(
                "diffraction",
                counts.shape,
                counts.dtype,
                external=[(f"{prefix}part.raw", 0, counts.nbytes)],
            )
        elif how == "numbered":
            h5s = h5py.h5s
            space = h5s.create_simple((m, n, n), (h5s.UNLIMITED, n, n))
            target = h5s.create_simple((m, n, n), (h5s.UNLIMITED, n, n))
            target.select_hyperslab((0, 0, 0), (h5s.UNLIMITED, 1, 1), (half, 1, 1), (half, n, n))
            made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            source = h5s.create_simple((half, n, n))
            made.set_virtual(target, f"{prefix}part%b.h5".encode(), b"d", source)
            kind = h5py.h5t.py_create(counts.dtype)
            h5py.h5d.create(file.id, b"diffraction", kind, space, made)
        else:
            layout = h5py.VirtualLayout(counts.shape, counts.dtype)
            for k in range(2):
                source = h5py.VirtualSource(f"{prefix}part{k}.h5", "d", (half, n, n))
                layout[k * half : (k + 1) * half] = source
            file.create_virtual_dataset("diffraction", layout)
        file["diffraction"].attrs["units"] = units


@pytest.mark.parametrize("how", ["link", "raw", "numbered", "virtual"])
@pytest.mark.parametrize("folder", [".", "deeper", "../beside"])
def test_parts_in_the_folder_are_followed_and_others_refused(
    how: str, folder: str, native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    native = native.rename(home / native.name)
    counts = load_scan(native).diffraction[:]
    split(native, how, home / folder)
    monkeypatch.chdir("/")
    if ".." in folder:
        refused(lambda: load_scan(native), "outside its folder")
    else:
        np.testing.assert_array_equal(load_scan(native).diffraction[:], counts)


@pytest.mark.parametrize("how", ["link", "raw", "virtual", "numbered"])
def test_a_missing_part_is_named(how: str, native: Path, tmp_path: Path) -> None:
    split(native, how, tmp_path / "parts")
    gone = {"raw": "part.raw", "virtual": "part1.h5"}.get(how, "part0.h5")
    (tmp_path / "parts" / gone).unlink()
    refused(lambda: load_scan(native), gone)


def test_a_gap_in_numbered_parts_is_named(native: Path, tmp_path: Path) -> None:
    split(native, "numbered", tmp_path)
    (tmp_path / "part1.h5").rename(tmp_path / "part2.h5")
    refused(lambda: load_scan(native), "part1.h5")


@pytest.mark.parametrize("damage", ["short", "dataset", "gap", "chain"])
def test_virtual_parts_that_hdf5_would_fill_with_zeros(
    damage: str, native: Path, tmp_path: Path
) -> None:
    split(native, "virtual", tmp_path)
    with h5py.File(tmp_path / "part1.h5", "r+") as part:
        data = part["d"][:]
        del part["d"]
        if damage == "short":
            part["d"] = data[:2]
        elif damage == "chain":
            layout = h5py.VirtualLayout(data.shape, data.dtype)
            layout[:] = h5py.VirtualSource("nowhere.h5", "d", data.shape)
            part.create_virtual_dataset("d", layout)
        elif damage == "gap":
            part["d"] = data
    if damage == "gap":
        with h5py.File(native, "r+") as file:
            shape, kind = file["diffraction"].shape, file["diffraction"].dtype
            del file["diffraction"]
            layout = h5py.VirtualLayout(shape, kind)
            layout[:6] = h5py.VirtualSource("part1.h5", "d", (6, 32, 32))
            file.create_virtual_dataset("diffraction", layout)
    word = {"short": "more is taken", "dataset": "'d'", "gap": "gaps", "chain": "nowhere.h5"}
    refused(lambda: load_scan(native), word[damage])


# --- NPZ, NPY, bzip2 --------------------------------------------------------------------------


def npy(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


HEADERS = {
    "token": "{'descr': '<f8', 'fortran_order': False, 'shape': (1,",
    "indentation": "  {'descr': '<f8',\n 'x",
    "brackets": "(" * 3000,
    "petabytes": "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }",
    "beyond 64 bit": "{'descr': '<f8', 'fortran_order': False, 'shape': (0, " + "9" * 400 + "), }",
    "negative": "{'descr': '<f8', 'fortran_order': False, 'shape': (-3,), }",
    "wide items": "{'descr': '|V2000000000', 'fortran_order': False, 'shape': (9,), }",
    "no type": "{'descr': 'nonsense', 'fortran_order': False, 'shape': (9,), }",
    "6000 digits": "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 6000 + ",), }",
}


@pytest.mark.parametrize("case", HEADERS)
def test_hostile_npy_headers(case: str, write_npz: Write, tmp_path: Path) -> None:
    content = npy(HEADERS[case]) + b"\0" * 64
    path = write_npz(probeGuess=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("probeGuess.npy", content)
    refused(lambda: load_scan(path))
    alone = tmp_path / "probe.npy"
    alone.write_bytes(content)
    refused(lambda: read_probe(str(alone)))


def test_bzip2_and_deflate_that_grow_without_end(tmp_path: Path) -> None:
    def used() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    packer = bz2.BZ2Compressor()
    content = b"".join(packer.compress(b"\0" * (1 << 24)) for _ in range(64))
    path = tmp_path / "bomb.npz.bz2"
    small = io.BytesIO()
    np.savez(small, data=np.zeros((1, 1, 32, 32)))
    head = bz2.compress(small.getvalue())
    path.write_bytes(head + content + packer.flush())
    before = used()
    refused(lambda: load_scan(path), "unpack")
    assert used() - before < 500 << 20


def test_a_sparse_scan_loads_although_it_compresses_well(tmp_path: Path) -> None:
    m, n = 144, 64
    counts = np.zeros((m, n, n), np.int64)
    counts[:, n // 2, n // 2] = 3
    y, x = np.divmod(np.arange(m), 12)
    arrays = {
        "diff3d": counts,
        "xcoords": 60.0 + 5 * x,
        "ycoords": 60.0 + 5 * y,
        "probeGuess": np.ones((n, n), complex),
    }
    np.savez_compressed(tmp_path / "sparse.npz", **arrays)
    assert load_scan(tmp_path / "sparse.npz").diffraction[:].sum() == 3 * m


# --- bundles ----------------------------------------------------------------------------------


def test_bundle_with_very_many_tensors(tmp_path: Path) -> None:
    entries = {
        f"w{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(300_000)
    }
    header = json.dumps(entries).encode()
    probe = np.ones((1, 32, 32), np.float32)
    manifest = {
        "format": "ptychopinn-bundle",
        "format_version": 1,
        "backend": "pytorch",
        "config": {},
        "versions": {},
        "seed": 0,
        "statistics": {},
        "metrics": {},
        "created": "2026-01-01T00:00:00Z",
    }
    path = tmp_path / "wts.h5.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("weights.safetensors", len(header).to_bytes(8, "little") + header)
        archive.writestr(
            "probe.safetensors", safetensors_bytes({"probe_real": probe, "probe_imag": probe})
        )
    refused(lambda: load_bundle(path))


# --- configuration files ----------------------------------------------------------------------

YAML = {
    "bomb": "a: &a [x, x, x]\n"
    + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "anchor": "epochs: &e 3\n",
    "date": "epochs: 2001-99-99\n",
    "integer": "epochs: !!int abc\n",
    "float": "epochs: !!float abc\n",
    "timestamp": "epochs: !!timestamp abc\n",
    "bool": "epochs: !!bool abc\n",
    "binary": "epochs: !!binary 'a'\n",
    "object": "epochs: !!python/object/apply:os.getcwd []\n",
    "brackets": "a: " + "[" * 5000,
    "braces": "{a: " * 5000,
    "digits": "epochs: " + "9" * 6000 + "\n",
    "sexagesimal": "epochs: 1" + ":1" * 100_000 + "\n",
    "large": "# " + "x" * 10**6,
    "not UTF-8": "a: \udcff\n",
    "control": "a: \0\n",
    "unhashable": "? [a]\n: 1\n",
    "list": "- 1\n",
    "number for a name": "1: 2\n",
}


@pytest.mark.parametrize("case", YAML)
def test_hostile_configuration_files(case: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(YAML[case].encode("utf-8", "surrogateescape"))
    refused(lambda: read_config_file(path), "config.yaml")


def test_plain_configuration_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model: {width: 8}\ntraining:\n  epochs: 3 # few\n  learning_rate: 2.0e-3\n")
    expected = {"model": {"width": 8}, "training": {"epochs": 3, "learning_rate": 0.002}}
    assert read_config_file(path) == expected
    path.write_text(json.dumps(expected, indent=1))
    assert read_config_file(path) == expected


# --- coordinates and canvas -------------------------------------------------------------------


def scan_at(positions: np.ndarray, n: int = 32) -> Scan:
    return Scan(np.ones((len(positions), n, n), np.uint16), positions, np.ones((n, n)) + 0j)


def raster(m: int, step: float = 6.0) -> np.ndarray:
    side = int(np.ceil(np.sqrt(m)))
    return step * np.stack(np.divmod(np.arange(m), side), axis=1).astype(float) + 40


@pytest.mark.parametrize("far", [2e4, 1e5, -1e5, 1e13, 1e300, np.inf, np.nan])
@pytest.mark.parametrize("axes", [[0], [1], [0, 1]])
def test_one_far_position_is_named(far: float, axes: list[int]) -> None:
    positions = raster(144)
    positions[17, axes] = far
    refused(lambda: scan_at(positions), "position 17 ")


def test_several_far_positions_need_a_canvas_that_no_memory_holds() -> None:
    positions = raster(144)
    positions[:72] += 1e7
    refused(lambda: scan_at(positions), "object array", "memory", "position ")


@pytest.mark.parametrize("n", [32, 64])
def test_honest_scans_are_not_far(n: int) -> None:
    t = np.arange(2000)
    spiral = 4 * np.sqrt(t)[:, None] * np.stack([np.sin(2.4 * t), np.cos(2.4 * t)], axis=1)
    lines = np.stack([t * 3.0, t * 2.0], axis=1)
    two_regions = np.concatenate([raster(100), raster(100) + 700])
    absolute = raster(100) + 1e6
    pair = np.array([[0.0, 0.0], [300.0, -300.0]])
    for positions in (spiral, lines, two_regions, absolute, pair, pair[:1], 0 * pair):
        scan_at(positions, n)


@pytest.mark.parametrize("options", [{"step_px": 512.0, "N": 512}, {"N": 512}])
def test_a_simulation_beyond_the_memory_is_refused_at_once(options: dict[str, Any]) -> None:
    refused(lambda: simulate(patterns=1_000_000, **options), "1000000 patterns", "memory")
    with pytest.raises(ValueError, match="memory"):
        SimulationConfig(patterns=1_000_000, **options)


def test_far_position_ends_the_command(write_npz: Write, npz_arrays: dict[str, Any]) -> None:
    x = npz_arrays["xcoords"].copy()
    x[5::2] = 1e300
    command = [sys.executable, "-m", "ptychopinn", "inspect", str(write_npz(xcoords=x))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "position 5 " in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_numbered_part_that_is_too_short(native: Path, tmp_path: Path) -> None:
    split(native, "numbered", tmp_path)
    with h5py.File(tmp_path / "part1.h5", "r+") as part:
        data = part["d"][:2]
        del part["d"]
        part["d"] = data
    refused(lambda: load_scan(native), "more is taken")
