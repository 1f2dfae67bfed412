"""Scans in many files: the order in which they are read, and those that are no part of a scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.data.findings import recorded_findings
from ptychopinn.errors import InputError
from ptychopinn.sources.file_names import by_number
from ptychopinn.workflows.prepare import prepare
from scan_files import COLUMNS, ROWS, M, counts_of

HOW: dict[str, Any] = {
    "grid": f"{ROWS},{COLUMNS}", "step": "4", "unit": "px", "probe": "gaussian:fwhm=6px",
}  # fmt: skip
COUNTS = counts_of()


def images(folder: Path, name: Callable[[int], str] = "im_{}.tif".format) -> list[Path]:
    paths = [folder / name(k) for k in range(M)]
    for path, frame in zip(paths, COUNTS, strict=True):
        tifffile.imwrite(path, frame)
    return paths


def said(scan: pp.Scan) -> list[str]:
    return [one.message for one in recorded_findings(scan.provenance) if one.name == "source-order"]


@pytest.mark.parametrize(
    "name",
    ["im_{}.tif", "IM{:02d}.TIF", "frame{:02x}.tif", "a-{}.tif", "{:x}.tif", "face_{:04x}.tif"],
)
def test_numbers_in_names_count(name: str, tmp_path: Path) -> None:
    paths = [tmp_path / name.format(k) for k in range(40)]
    assert by_number(sorted(paths)) == paths


def test_negative_numbers_in_names(tmp_path: Path) -> None:
    paths = [tmp_path / f"theta_{k}.tif" for k in range(-12, 12)]
    assert by_number(sorted(paths)) == paths
    days = [tmp_path / f"2026-11-{k}_{k}.tif" for k in range(3, 20)]
    assert by_number(sorted(days)) == days


def test_a_pattern_of_names_is_read_in_the_order_of_numbers(tmp_path: Path) -> None:
    images(tmp_path)
    scan = prepare(str(tmp_path / "im_*.tif"), **HOW)
    np.testing.assert_array_equal(scan.diffraction, COUNTS)
    assert said(scan) == []


@pytest.mark.parametrize("locale", [False, True])
def test_the_order_of_a_shell_is_mended(locale: bool, tmp_path: Path) -> None:
    paths = images(tmp_path)
    # Of many languages letters and numbers alone count.
    listed = sorted(paths, key=lambda path: path.stem.replace("_", "") + "tif" * locale)
    scan = prepare(listed, **HOW)
    np.testing.assert_array_equal(scan.diffraction, COUNTS)
    assert "24 sources were given in the order of letters" in said(scan)[0]
    kept = prepare(listed, no_mend=("source-order",), **HOW)
    np.testing.assert_array_equal(kept.diffraction[1], COUNTS[paths.index(listed[1])])


def test_another_order_is_meant(tmp_path: Path) -> None:
    paths = images(tmp_path)[::-1]
    scan = prepare(paths, **HOW)
    np.testing.assert_array_equal(scan.diffraction, COUNTS[::-1])
    assert said(scan) == []


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    images(tmp_path)
    (tmp_path / "._im_3.tif").write_bytes(b"\0\5\x16\7")
    np.testing.assert_array_equal(prepare(tmp_path, **HOW).diffraction, COUNTS)


def test_a_missing_file_of_a_pattern_is_named(tmp_path: Path) -> None:
    images(tmp_path)[7].unlink()
    with pytest.raises(InputError, match=r"leave out those of pattern 7, .*leave_out='7'"):
        prepare(str(tmp_path / "im_*.tif"), **HOW)


def test_a_file_for_each_pattern(tmp_path: Path) -> None:
    for k, frame in enumerate(COUNTS):
        np.save(tmp_path / f"p{k}.npy", np.asfortranarray(frame) if k % 2 else frame)
    scan = prepare(str(tmp_path / "p*.npy"), **HOW)
    np.testing.assert_array_equal(scan.diffraction, COUNTS)
    with pytest.raises(InputError, match=r"name the files of the scan in it"):
        prepare(tmp_path, **HOW)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (COUNTS.astype("c8"), r"received complex64 \(24, 32, 32\); save real numbers"),
        (COUNTS.reshape(M, -1), r"received uint16 \(24, 1024\); save real numbers"),
        (COUNTS[..., None], r"received uint16 \(24, 32, 32, 1\); save real numbers"),
    ],
)
def test_what_an_array_is_that_holds_no_patterns(
    frames: np.ndarray, words: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", frames)
    with pytest.raises(InputError, match=words):
        prepare(tmp_path / "a.npy", **HOW)


def test_what_a_pattern_of_names_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path)
    pattern = str(tmp_path / "im_*.tif")
    assert run(["prepare", "--list", pattern]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'im_0.tif'}: TIFF" in said and "the first of 24 files" in said
    assert f"to type: ptychopinn prepare '{pattern}' --positions" in said
