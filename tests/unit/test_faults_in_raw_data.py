"""Faults of raw data that come through ``prepare`` are mended as those of scans are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.raw_files import PIXEL, Raw

import ptychopinn as pp
from ptychopinn import prepare
from ptychopinn.checks import examine
from ptychopinn.data.scan import Scan

Change = Callable[[NDArray[Any]], None]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return Raw(tmp_path_factory.mktemp("raw"))


def prepared(raw: Raw, folder: Path, counts: NDArray[Any], **options: Any) -> Scan:
    """The scan that is written of these patterns, and read again."""
    path = folder / "faulty.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = counts
        file["motors/y_um"], file["motors/x_um"] = raw.y * 1e6, raw.x * 1e6
    options = {"probe": str(raw.native), "pixel_size_m": PIXEL} | options
    return prepare(path, folder / "scan.h5", **options)


def power(scan: Scan) -> float:
    return float((np.abs(scan.probe) ** 2).sum())


def hot(counts: NDArray[Any]) -> None:
    counts[:, 5, 9] = 3_000_000


def flooded(counts: NDArray[Any]) -> None:
    counts[[4, 21]] = 9_000_000


def empty(counts: NDArray[Any]) -> None:
    counts[[3, 8, 30, 31]] = 0


def raised(counts: NDArray[Any]) -> None:
    counts += 40


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (hot, "hot-pixels"),
        (flooded, "flooded-patterns"),
        (empty, "empty-patterns"),
        (raised, "detector-offset"),
    ],
)
def test_the_probe_is_scaled_to_what_is_left(
    change: Change, name: str, raw: Raw, tmp_path: Path
) -> None:
    """Else the object would carry what was masked or left out."""
    counts = raw.counts.astype(np.uint32)
    change(counts)
    scan = prepared(raw, tmp_path, counts)
    checked = examine(scan)
    assert name in [found.name for found in checked.findings]
    assert power(checked.scan) == pytest.approx(float(raw.counts.sum()) / 40, rel=0.02)
    # The same in a file that was made of the scan.
    pp.save_scan(scan, tmp_path / "again.h5")
    again = examine(pp.load_scan(tmp_path / "again.h5")).scan
    assert power(again) == pytest.approx(power(checked.scan), rel=1e-6)


def test_swapped_bytes_in_a_larger_type_keep_their_number(raw: Raw, tmp_path: Path) -> None:
    """Large numbers of 16 bits are written as 32; swapped there, each count would be 65536."""
    bright = np.random.default_rng(4).poisson(raw.counts * 4.0).astype("u2")
    scan = prepared(raw, tmp_path, bright.byteswap())
    assert scan.diffraction.dtype == np.uint32
    checked = examine(scan)
    assert [found.name for found in checked.findings] == ["swapped-bytes"]
    np.testing.assert_array_equal(checked.scan.diffraction[:], bright)
    assert power(checked.scan) == pytest.approx(float(bright.sum()) / 40, rel=1e-3)
