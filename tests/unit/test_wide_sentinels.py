"""Numbers that stand for no value in 64 bits, which no counter reaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptychopinn.data.findings import recorded_findings
from ptychopinn.errors import InputError
from ptychopinn.io import lazy
from ptychopinn.workflows.prepare import prepare
from scan_files import Content, N, counts_of, load, write

WIDE = {"u8": (2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1), "i8": (2**63 - 1,), "f4": (2**63, 2**64)}


@pytest.mark.parametrize("kind", ["npz", "cxi", "on disk", "arrays", "prepare"])
@pytest.mark.parametrize(("dtype", "value"), [(d, v) for d in WIDE for v in WIDE[d]])
def test_no_value_in_64_bits_is_masked_in_single_patterns_too(
    kind: str, dtype: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = counts_of()
    stored = counts.astype(dtype)
    stored[[3, 17], 5, 6] = stored[7, 16, 16] = np.dtype(dtype).type(value)
    if kind == "on disk":
        monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    known = {"units": "counts"} if kind == "npz" else {}
    if kind == "prepare":
        scan = prepare(write("npz", tmp_path, Content(counts=stored)), **known)
    else:
        scan = load({"on disk": "cxi"}.get(kind, kind), tmp_path, Content(counts=stored), **known)
    bad = np.zeros((N, N), bool)
    bad[5, 6] = bad[16, 16] = True
    np.testing.assert_array_equal(scan.good_pixels, ~bad)
    np.testing.assert_array_equal(scan.diffraction[:][:, ~bad], counts[:, ~bad])
    message = recorded_findings(scan.provenance)[0].message
    assert "masked 2" in message and "no measurement" in message
    if kind != "prepare":
        assert "in 3 patterns (3, 7, 17)" in message


def test_too_many_pixels_without_value_are_an_error_that_names_patterns(tmp_path: Path) -> None:
    stored = counts_of().astype(np.uint64)
    stored[4, :10] = 2**64 - 1
    with pytest.raises(InputError, match=r"320 of 1024 pixels .* in pattern 4: .* option frames"):
        load("npz", tmp_path, Content(counts=stored))
