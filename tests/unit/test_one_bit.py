"""Patterns of a detector that counts up to 1, which are stored as True and False."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.data.findings import recorded_findings
from ptychopinn.workflows.prepare import prepare
from scan_files import FORMATS, Content, counts_of, load, positions_of, probe_of

BITS = counts_of() > 3


@pytest.mark.parametrize("kind", [k for k in FORMATS if k != "native"] + ["keys", "frames.npy"])
def test_they_are_counts_and_that_is_said(kind: str, tmp_path: Path) -> None:
    options = {"unit": "px", "probe": "gaussian:fwhm=6px"}
    if kind == "keys":
        with h5py.File(tmp_path / "keys.h5", "w") as file:
            file["frames"], file["y"], file["x"] = BITS, *positions_of().T
        scan = prepare(tmp_path / "keys.h5", positions="y,x", **options)
    elif kind == "frames.npy":
        np.save(tmp_path / kind, BITS)
        np.save(tmp_path / "places.npy", positions_of())
        places = str(tmp_path / "places.npy")
        scan = prepare(tmp_path / kind, positions=places, order="yx", **options)
    else:
        scan = load(kind, tmp_path, Content(counts=BITS, probe=probe_of() * 1e-3))
    assert np.dtype(scan.diffraction.dtype).kind == "u"
    np.testing.assert_array_equal(scan.diffraction[:], BITS)
    (message,) = [f.message for f in recorded_findings(scan.provenance) if f.name == "one-bit"]
    assert f"{BITS.mean():.2%} of which are 1" in message
