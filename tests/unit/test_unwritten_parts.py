"""Arrays in chunks, some of which are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.findings import recorded_findings
from ptychopinn.io import lazy
from ptychopinn.workflows.prepare import prepare
from scan_files import Content, M, N, counts_of, positions_of, write

KINDS = ("zarr 2", "zarr 3", "hdf5")
WHOLE, QUARTERS = (4, N, N), (1, N // 2, N // 2)
COUNTS = counts_of() + np.uint16(1)


def store(kind: str, folder: Path, chunks: tuple[int, ...], lost: Any) -> Path:
    """The scan without the chunks whose first elements ``lost`` names."""
    if kind == "hdf5":
        path = folder / "scan.h5"
        with h5py.File(path, "w") as file:
            file["y"], file["x"] = positions_of().T
            made = file.create_dataset("frames", COUNTS.shape, COUNTS.dtype, chunks=chunks)
            for corner in np.ndindex(*(n // c for n, c in zip(COUNTS.shape, chunks, strict=True))):
                if corner in lost:
                    continue
                box = tuple(slice(k * c, k * c + c) for k, c in zip(corner, chunks, strict=True))
                made[box] = COUNTS[box]
        return path
    zarr = pytest.importorskip("zarr")
    path = folder / "scan.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=int(kind[-1]))
    for name, values in zip("yx", positions_of().T, strict=True):
        group.create_array(name, data=values)
    group.create_array("frames", shape=COUNTS.shape, dtype=COUNTS.dtype, chunks=chunks)[...] = (
        COUNTS
    )
    for corner in lost:
        name = ".".join(map(str, corner)) if kind[-1] == "2" else "c/" + "/".join(map(str, corner))
        (path / "frames" / name).unlink()
    return path


def read(path: Path, **more: Any) -> pp.Scan:
    return prepare(path, positions="y,x", unit="px", probe="gaussian:fwhm=6px", **more)


def said(scan: pp.Scan) -> list[str]:
    return [f.message for f in recorded_findings(scan.provenance) if f.name.startswith("unwritten")]


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_that_are_not_there_are_named(kind: str, tmp_path: Path) -> None:
    path = store(kind, tmp_path, WHOLE, {(2, 0, 0)})
    scan = read(path)
    assert f"4 patterns (8, 9, 10, 11) of {M} are not in the file" in said(scan)[0]
    assert said(read(path, frames="12:")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_of_a_pattern_that_is_not_there_is_an_error(kind: str, tmp_path: Path) -> None:
    path = store(kind, tmp_path, QUARTERS, {(7, 0, 1)})
    with pytest.raises(pp.InputError, match=r"received pattern 7 of which chunks .* 2\d% of the"):
        read(path)
    whole = {(7, *corner) for corner in np.ndindex(2, 2)}
    path = store(kind, tmp_path, QUARTERS, whole)
    assert "pattern 7 of" in said(read(path))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_dark_chunks_are_no_gaps(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dark = counts_of()
    dark[:, :4] = 0
    monkeypatch.setattr("test_unwritten_parts.COUNTS", dark)
    lost = {(m, 0, x) for m in range(M) for x in range(2)} if kind == "hdf5" else set()
    path = store(kind, tmp_path, (1, 4, 16), lost)
    scan = read(path)
    assert said(scan) == []
    np.testing.assert_array_equal(scan.diffraction[:], dark)


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_chunk_that_was_cut_off_is_an_error(kind: str, left: float, tmp_path: Path) -> None:
    path = store(kind, tmp_path, WHOLE, set())
    chunk = path / "frames" / ("2.0.0" if kind[-1] == "2" else "c/2/0/0")
    chunk.write_bytes(chunk.read_bytes()[: int(left * chunk.stat().st_size)])
    with pytest.raises(pp.InputError, match="damaged or truncated"):
        read(path)


def rewritten(kind: str, folder: Path, lost: Any) -> Path:
    """A scan that ``load_scan`` reads, in quarters of patterns, some of which were not written."""
    path = write(kind, folder, Content(counts=COUNTS))
    path = next(p for p in (path, *folder.iterdir()) if p.is_file() and _key(p))
    with h5py.File(path, "r+") as file:
        key = _key(path)
        stored = file[key][:]
        attributes = dict(file[key].attrs)
        del file[key]
        made = file.create_dataset(key, stored.shape, stored.dtype, chunks=QUARTERS)
        made.attrs.update(attributes)
        for corner in np.ndindex(M, 2, 2):
            if corner not in lost:
                box = tuple(slice(k * c, k * c + c) for k, c in zip(corner, QUARTERS, strict=True))
                made[box] = stored[box]
    return path


def _key(path: Path) -> str:
    found: list[str] = []

    def note(name: str, item: Any) -> None:
        if getattr(item, "shape", ()) == (M, N, N):
            found.append(name)

    with h5py.File(path) as file:
        file.visititems(note)
    return found[0] if found else ""


@pytest.mark.parametrize("kind", ["native", "cxi", "cxi on disk", "fold_slice"])
def test_load_scan_refuses_a_part_of_a_pattern_that_is_not_there(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind.endswith("on disk"):
        monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    path = rewritten(kind.split()[0], tmp_path, {(7, 0, 1)})
    with pytest.raises(pp.InputError, match=r"received pattern 7 of which chunks .* 2\d% of the"):
        pp.load_scan(path)
    if kind == "native":
        assert pp.load_scan(path, frames="8:").M == M - 8


def test_load_scan_reads_whole_patterns_that_are_not_there(tmp_path: Path) -> None:
    lost = {(7, *corner) for corner in np.ndindex(2, 2)}
    scan = pp.load_scan(rewritten("cxi", tmp_path, lost))
    assert not scan.diffraction[7].any()


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_that_are_not_there_are_zero(kind: str, tmp_path: Path) -> None:
    """Whatever number the file has for what was never written."""
    if kind == "hdf5":
        path = tmp_path / "scan.h5"
        with h5py.File(path, "w") as file:
            file["y"], file["x"] = positions_of().T
            made = file.create_dataset("frames", COUNTS.shape, "u2", chunks=WHOLE, fillvalue=7)
            made[:8], made[12:] = COUNTS[:8], COUNTS[12:]
    else:
        zarr = pytest.importorskip("zarr")
        path = tmp_path / "scan.zarr"
        group = zarr.open_group(str(path), mode="w", zarr_format=int(kind[-1]))
        for name, values in zip("yx", positions_of().T, strict=True):
            group.create_array(name, data=values)
        group.create_array("frames", shape=COUNTS.shape, dtype="u2", chunks=WHOLE, fill_value=7)
        group["frames"][:8], group["frames"][12:] = COUNTS[:8], COUNTS[12:]
    scan = read(path)
    assert "4 patterns (8, 9, 10, 11) of 24" in said(scan)[0]
    lost = np.isin(np.arange(M), range(8, 12))[:, None, None]
    np.testing.assert_array_equal(scan.diffraction, np.where(lost, 0, COUNTS))
