"""Bright readings that were too large for the type or the program that stored them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptychopinn.errors import InputError
from ptychopinn.io import lazy, load_scan
from ptychopinn.io.signed import negative
from ptychopinn.workflows.prepare import prepare
from scan_files import Content, counts_of, load, write

BRIGHT = 900.0 * counts_of()


@pytest.mark.parametrize("widened", [False, True])
@pytest.mark.parametrize("kind", ["npz", "cxi", "on disk", "arrays", "prepare"])
def test_counts_beyond_half_precision_are_named(
    kind: str, widened: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.errstate(over="ignore"):
        stored = BRIGHT.astype(np.float16)
    assert np.isinf(stored).any() and np.isinf(stored).any(axis=(1, 2)).all() is not None
    content = Content(counts=stored.astype(np.float32) if widened else stored)
    if kind == "on disk":
        monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    with pytest.raises(InputError, match=r"infinity .* as float16, whose largest number is 65504"):
        if kind == "prepare":
            prepare(write("npz", tmp_path, content), units="counts")
        else:
            load("cxi" if kind == "on disk" else kind, tmp_path, content)


def test_saturated_readings_that_are_no_numbers_are_no_gaps(tmp_path: Path) -> None:
    stored = np.where(counts_of() > 150, np.nan, counts_of())
    path = write("npz", tmp_path, Content(counts=stored))
    with pytest.raises(InputError, match=r"which hold \d\d% of the light in the others; .* too "):
        prepare(path, units="counts")
    with pytest.raises(InputError, match=r"NaN or infinity .* at pixels that hold numbers"):
        load_scan(path, units="counts")


@pytest.mark.parametrize("dark", [False, True])
def test_counts_beyond_a_signed_type_are_named_before_they_are_prepared(
    dark: bool, tmp_path: Path
) -> None:
    """Setting them to 0 would hide the brightest ones."""
    stored = (BRIGHT / 5).astype(np.int64).astype(np.int16)
    assert stored.min() < -30000
    np.save(tmp_path / "frames.npy", stored)
    np.save(tmp_path / "dark.npy", np.zeros(stored.shape[1:]))
    more = {"dark": str(tmp_path / "dark.npy")} if dark else {}
    with pytest.raises(InputError, match=r"go on below zero where the type .* int16, ends"):
        prepare(tmp_path / "frames.npy", grid="4,6", step=4, unit="px", probe="auto", **more)


def test_a_few_counts_beyond_a_signed_type_are_named_wherever_they_are() -> None:
    """Three patterns of sixty, none of them among the first that are looked at."""
    y, x = np.indices((32, 32)) - 16
    counts = np.random.default_rng(1).poisson(30_000 * np.exp(-(y**2 + x**2) / 18), (60, 32, 32))
    counts[[31, 32, 58]] = counts[[31, 32, 58]] * 5 // 4
    stored = np.where(np.arange(60)[:, None, None] < 59, counts, 0).astype(np.int16)
    assert 0 < (stored < 0).mean() < 1e-3
    bad = np.zeros((32, 32), bool)
    with pytest.raises(InputError, match=r"go on below zero where the type .* int16, ends"):
        negative(stored, stored[:30], bad, "patterns", False)
    # Single readings that are no counts are something else.
    odd = np.minimum(counts, 32_767).astype(np.int16)
    odd[40, 3, 4] = -32_000
    with pytest.raises(InputError, match="they are only a few"):
        negative(odd, odd[:30], bad, "patterns", False)
