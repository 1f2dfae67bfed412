"""As many patterns as pixels along an axis: lengths do not tell which axis counts the patterns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.io import lazy
from ptychopinn.workflows.prepare import prepare
from scan_files import Content, N, counts_of, load, probe_of

HOW: dict[str, Any] = {
    "grid": "4,8", "step": "4", "unit": "px", "probe": "gaussian:fwhm=6px", "centre": "16,16",
}  # fmt: skip


def cube() -> np.ndarray:
    """(N, N, N) counts of which each pattern is unlike the others."""
    counts = np.concatenate([counts_of(1), counts_of(2)])[:N]
    shifts = np.random.default_rng(3).integers(-4, 5, (N, 2))
    return np.stack([np.roll(c, s, (0, 1)) for c, s in zip(counts, shifts, strict=True)])


def places() -> np.ndarray:
    y, x = np.indices((4, 8)) * 4.0
    return np.stack([y.ravel(), x.ravel()], axis=1) + 20


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "kind", ["npz", "npz-last", "cxi", "cxi-lazy", "training", "ptychodus", "fold_slice", "arrays"]
)
def test_the_numbers_tell_which_axis_counts_the_patterns(
    kind: str, last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "cxi-lazy":
        monkeypatch.setattr(lazy, "WHOLE_BYTES", 1)
    counts = cube()
    stored = np.moveaxis(counts, 0, -1) if last else counts
    if kind == "npz-last":
        # It is written with its first axis last.
        stored = np.moveaxis(stored, -1, 0)
    content = Content(counts=stored, positions=places(), probe=probe_of())
    scan = load(kind.removesuffix("-lazy"), tmp_path, content)
    np.testing.assert_array_equal(scan.diffraction[:], counts)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["npy", "h5", "mat"])
def test_raw_patterns_of_which_there_are_as_many_as_rows(
    kind: str, last: bool, tmp_path: Path
) -> None:
    counts = cube()
    stored = np.moveaxis(counts, 0, -1) if last else counts
    path = tmp_path / f"raw.{kind}"
    if kind == "npy":
        np.save(path, stored)
    else:
        # MATLAB counts the axes from the other end.
        with h5py.File(path, "w", userblock_size=512 if kind == "mat" else 0) as file:
            file["frames"] = stored.T if kind == "mat" else stored
            file["frames"].attrs.update({"MATLAB_class": b"double"} if kind == "mat" else {})
        if kind == "mat":
            with path.open("r+b") as file:
                file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    named = {} if kind == "npy" else {"patterns": "frames"}
    scan = prepare(path, **named, **HOW)
    np.testing.assert_array_equal(scan.diffraction[:], counts)


def test_what_numbers_do_not_tell_is_taken_as_the_format_says() -> None:
    """A near field has light everywhere."""
    counts = np.random.default_rng(0).poisson(100.0, (N, N, N)).astype(np.uint16)
    scan = pp.Scan.from_arrays(counts, places(), probe_of())
    np.testing.assert_array_equal(scan.diffraction[:], counts)
