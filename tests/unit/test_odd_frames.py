"""Patterns of raw data that do not belong together, are one and the same, or stand for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

import ptychopinn as pp
from ptychopinn.data.findings import recorded_findings
from ptychopinn.workflows.prepare import prepare
from scan_files import COLUMNS, ROWS, M, counts_of

HOW: dict[str, Any] = {
    "grid": f"{ROWS},{COLUMNS}", "step": "4", "unit": "px", "probe": "gaussian:fwhm=6px",
}  # fmt: skip
COUNTS = counts_of()


def said(scan: pp.Scan, name: str) -> list[str]:
    return [one.message for one in recorded_findings(scan.provenance) if one.name == name]


def h5(path: Path, frames: np.ndarray, **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        file["frames"] = frames
        file["frames"].attrs.update(attributes)
    return path


@pytest.mark.parametrize("other", ["u1", "f4", None])
def test_images_of_several_types_are_named(tmp_path: Path, other: str | None) -> None:
    for k, frame in enumerate(COUNTS):
        kind = other if other and k in (3, 8) else "u2"
        tifffile.imwrite(tmp_path / f"f_{k:03d}.tif", frame.astype(kind))
    found = said(prepare(tmp_path, **HOW), "mixed-types")
    if other is None:
        assert found == []
    else:
        assert f"{np.dtype(other).name} in 2 patterns (3, 8)" in found[0]


def test_one_image_again_and_again_is_named(tmp_path: Path) -> None:
    same = h5(tmp_path / "same.h5", np.repeat(COUNTS[:1], M, axis=0))
    assert "all hold the same numbers" in said(prepare(same, **HOW), "repeated-patterns")[0]
    assert said(prepare(h5(tmp_path / "scan.h5", COUNTS), **HOW), "repeated-patterns") == []


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize(("dtype", "value"), [("i4", 9999), ("u2", 1234), ("f4", 1e20)])
def test_what_stands_for_no_value_is_masked(
    name: str, dtype: str, value: float, tmp_path: Path
) -> None:
    frames = COUNTS.astype(dtype)
    frames[:, 4:6] = value
    path = h5(tmp_path / "scan.h5", frames, **{name: np.array(value, dtype)})
    scan = prepare(path, **HOW)
    assert not scan.good_pixels[4:6].any() and scan.good_pixels[6:].all()
    np.testing.assert_array_equal(scan.diffraction[:, 6:], COUNTS[:, 6:])


def test_zero_is_a_count_whatever_the_file_says(tmp_path: Path) -> None:
    scan = prepare(h5(tmp_path / "scan.h5", COUNTS, _FillValue=np.uint16(0)), **HOW)
    np.testing.assert_array_equal(scan.diffraction[:], COUNTS)
    assert scan.good_pixels.all()


@pytest.mark.parametrize("rest", [1.0, 0.0, "ones are good", "ones are bad"])
def test_no_number_in_a_mask_is_a_bad_pixel(rest: float | str, tmp_path: Path) -> None:
    mask = np.zeros(COUNTS.shape[1:]) if isinstance(rest, str) else np.full(COUNTS.shape[1:], rest)
    bad = np.zeros(mask.shape, bool)
    bad[2:4] = bad[9, 9] = True
    if rest == "ones are good":
        mask[~bad] = 1
    elif rest == "ones are bad":
        mask[9, 9] = 1
    mask[2:4] = np.nan
    if not isinstance(rest, str):
        mask[9, 9] = np.nan
    np.save(tmp_path / "mask.npy", mask)
    scan = prepare(h5(tmp_path / "scan.h5", COUNTS), **HOW, mask=str(tmp_path / "mask.npy"))
    np.testing.assert_array_equal(scan.good_pixels, ~bad)
