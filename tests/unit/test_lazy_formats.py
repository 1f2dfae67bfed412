"""Large patterns stay in their file, whatever its format: the scan is the same as read whole."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.normalization import total_pattern
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.io import LazyPatterns, base, lazy
from ptychopinn.io.chunks import chunks_of
from ptychopinn.ops.options import NumpyExecution
from ptychopinn.solvers.configs import PhysicsConfig
from scan_files import Content, counts_of, write

KINDS = ("cxi", "ptychodus", "training", "fold_slice")
DATASETS = {
    "cxi": (".", "entry_1/instrument_1/detector_1/data"),
    "ptychodus": ("diffraction.h5", "patterns"),
    "training": (".", "patterns"),
    "fold_slice": (".", "dp"),
}


def as_fold_slice(path: Path) -> Path:
    """The file with the patterns of a pair."""
    return path.with_name(path.name.replace("_para", "_dp"))


def rewritten(kind: str, path: Path, values: Any = None, **packing: Any) -> None:
    """Store the patterns of a file again, with other values or another packing."""
    name, key = DATASETS[kind]
    file_path = as_fold_slice(path) if name == "." else path / name
    with h5py.File(file_path, "r+") as file:
        old = file[key]
        values = old[()] if values is None else values
        attributes = dict(old.attrs)
        del file[key]
        new = file.create_dataset(key, data=values, **packing)
        new.attrs.update(attributes)


def both(path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Scan, Scan]:
    """The scan read whole, and lazily."""
    whole = pp.load_scan(path, **options)
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    late = pp.load_scan(path, **options)
    monkeypatch.undo()
    assert isinstance(whole.diffraction, np.ndarray)
    assert isinstance(late.diffraction, LazyPatterns)
    return whole, late


def same(whole: Scan, late: Scan) -> None:
    assert late.diffraction.dtype == whole.diffraction.dtype
    np.testing.assert_array_equal(late.diffraction[:], whole.diffraction)
    some = np.array([5, 1, 1, 7])
    np.testing.assert_array_equal(late.diffraction[some], whole.diffraction[some])
    np.testing.assert_array_equal(late.positions_px, whole.positions_px)
    np.testing.assert_array_equal(late.good_pixels, whole.good_pixels)
    np.testing.assert_allclose(late.probe, whole.probe, rtol=1e-6)
    findings = [dict(scan.provenance).get("findings") for scan in (whole, late)]
    assert findings[0] == findings[1]
    total = whole.diffraction.sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(
        total_pattern(late.diffraction)[whole.good_pixels], total[whole.good_pixels], rtol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_scan_is_the_same(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same(*both(write(kind, tmp_path, Content()), monkeypatch))


@pytest.mark.parametrize(
    "packing",
    [
        {},
        {"chunks": (1, 32, 32), "compression": "gzip", "shuffle": True},
        {"chunks": (1, 32, 32), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (5, 32, 32), "compression": "gzip"},
        {"chunks": (3, 32, 32)},
        {"chunks": (4, 16, 32), "compression": "gzip"},
        {"chunks": (1, 32, 32), "compression": "lzf"},
    ],
    ids=str,
)
def test_however_they_are_packed(
    packing: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("ptychodus", tmp_path, Content())
    rewritten("ptychodus", path, **packing)
    same(*both(path, monkeypatch))
    with h5py.File(path / "diffraction.h5") as file:
        stored = file["patterns"]
        found = chunks_of(stored)
        # HDF5 reads what is cut across frames or packed otherwise.
        other = stored.compression == "lzf" or (stored.chunks or (1, 32, 32))[1:] != (32, 32)
        assert (found is None) == other
        if found is not None:
            numbers = np.array([0, 3, 4, 5, len(stored) - 1])
            np.testing.assert_array_equal(found.read(numbers), stored[:][numbers])


def gap(counts: np.ndarray) -> np.ndarray:
    """A row of the detector that holds the largest number of its type."""
    stored = counts.astype(np.uint32)
    stored[:, 3] = 2**32 - 1
    return stored


def noise(counts: np.ndarray) -> np.ndarray:
    """Counts from which a dark image was subtracted."""
    return (counts + np.random.default_rng(2).normal(0, 0.3, counts.shape)).astype(np.float32)


def missing(counts: np.ndarray) -> np.ndarray:
    """Two patterns that were never read out."""
    stored = counts.astype(np.int32)
    stored[[2, 9]] = -1
    return stored


def fractions(counts: np.ndarray) -> np.ndarray:
    return counts * 1.37


@pytest.mark.parametrize("change", [gap, noise, missing, fractions, np.float64, ">i4", np.int64])
def test_whatever_numbers_they_hold(
    change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = counts_of()
    stored = change(counts) if callable(change) else counts.astype(change)
    path = write("cxi", tmp_path, Content(counts=stored))
    same(*both(path, monkeypatch))


def test_frames_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same(*both(write("cxi", tmp_path, Content()), monkeypatch, frames="2:30"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: np.where(c == c.max(), np.nan, c.astype(np.float32)), "finite"),
        (lambda c: np.where(c == c.max(), -7, c.astype(np.int32)), "no noise about zero"),
        (lambda c: np.sqrt(c.astype(np.float32)), "look like sqrt"),
    ],
)
def test_the_same_is_refused(
    change: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("ptychodus", tmp_path, Content(counts=change(counts_of())))
    messages = []
    for limit in (lazy.WHOLE_BYTES, 0):
        monkeypatch.setattr(lazy, "WHOLE_BYTES", limit)
        with pytest.raises(InputError, match=words) as caught:
            pp.load_scan(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_axes_of_matlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("fold_slice", tmp_path, Content())
    expected = pp.load_scan(path).diffraction
    # MATLAB has (N, N, M), which HDF5 holds backwards.
    rewritten("fold_slice", path, np.ascontiguousarray(np.swapaxes(expected, 1, 2)))
    with h5py.File(as_fold_slice(path), "r+") as file:
        file["dp"].attrs["MATLAB_class"] = np.bytes_("uint16")
    whole, late = both(path, monkeypatch)
    same(whole, late)
    np.testing.assert_array_equal(late.diffraction[:], expected)


def test_patterns_in_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("ptychodus", tmp_path, Content())
    with h5py.File(path / "diffraction.h5", "r+") as file, h5py.File(path / "raw.h5", "w") as raw:
        raw.create_dataset("a", data=file["patterns"][:10], chunks=(1, 32, 32), compression="gzip")
        raw["b"] = file["patterns"][10:]
        attributes, m = dict(file["patterns"].attrs), len(file["patterns"])
        del file["patterns"]
        layout = h5py.VirtualLayout((m, 32, 32), np.uint16)
        layout[:10] = h5py.VirtualSource("raw.h5", "a", (10, 32, 32))
        layout[10:] = h5py.VirtualSource("raw.h5", "b", (m - 10, 32, 32))
        file.create_virtual_dataset("patterns", layout).attrs.update(attributes)
    same(*both(path, monkeypatch))
    (path / "raw.h5").rename(tmp_path / "elsewhere.h5")
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    with pytest.raises(InputError, match=r"raw\.h5"):
        pp.load_scan(path)


def test_a_file_that_changes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("ptychodus", tmp_path, Content())
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    late = pp.load_scan(path).diffraction
    rewritten("ptychodus", path, late[:].astype(np.uint32) + 70_000)
    with pytest.raises(InputError, match="must stay as it was"):
        late[3]


def test_damaged_bytes_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("ptychodus", tmp_path, Content())
    rewritten("ptychodus", path, chunks=(1, 32, 32), compression="gzip", fletcher32=True)
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    late = pp.load_scan(path).diffraction
    with h5py.File(path / "diffraction.h5") as file:
        place = file["patterns"].id.get_chunk_info(4)
    stamp = (path / "diffraction.h5").stat()
    with (path / "diffraction.h5").open("r+b") as file:
        file.seek(place.byte_offset + place.size // 2)
        old = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([old[0] ^ 0x10]))
    # As a disk that fails, which does not change the time.
    os.utime(path / "diffraction.h5", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(InputError, match="damaged"):
        late[4]


def test_the_picture_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, late = both(write("cxi", tmp_path, Content()), monkeypatch)
    results = [
        pp.refine(
            scan, config=PhysicsConfig(passes=3), backend="numpy",
            execution=NumpyExecution(threads=1, inference_batch_mib=16), no_mend="all",
        )
        for scan in (whole, late)
    ]  # fmt: skip
    np.testing.assert_allclose(results[1].object, results[0].object, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_loading_takes_no_memory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 MB of patterns, of which hardly anything is stored."""
    m, n = 10_000, 32
    counts = np.ones((1, n, n), np.uint16)
    y, x = np.divmod(np.arange(m), 100)
    places = np.stack([y, x], axis=1) * 4.0 + 40
    path = write(
        kind, tmp_path, Content(counts=np.broadcast_to(counts, (m, n, n)), positions=places)
    )
    rewritten(kind, path, chunks=(1, n, n), compression="gzip")
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(base, "BATCH_BYTES", 1 << 20)
    tracemalloc.start()
    try:
        scan = pp.load_scan(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert m == scan.M
    assert peak < 8e6
