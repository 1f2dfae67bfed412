"""Faults of raw data that come through ``prepare`` are mended as those of scans are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from ptychopinn.cli import run
from ptychopinn.data.findings import recorded_findings
from ptychopinn.data.scan import Scan
from ptychopinn.io.base import sample_indices
from ptychopinn.io.counts import counts_from_array

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


def test_swapped_bytes_in_a_larger_type_keep_their_number(raw: Raw) -> None:
    """Swapped as numbers of 32 bits, each count would be 65536."""
    bright = np.random.default_rng(4).poisson(raw.counts * 4.0).astype("u2")
    wide = bright.byteswap().astype("u4")
    checked = examine(replace(raw.scan, diffraction=wide, object=None))
    assert [found.name for found in checked.findings] == ["swapped-bytes"]
    np.testing.assert_array_equal(checked.scan.diffraction[:], bright)


@pytest.mark.parametrize("background", [0.0, 0.37])
def test_swapped_bytes_of_fractional_numbers(background: float, raw: Raw, tmp_path: Path) -> None:
    """Taken for numbers, they are next to 0, or anything."""
    counts = (raw.counts + background).astype("f4")
    scan = prepared(raw, tmp_path, counts.byteswap(), units="counts")
    assert names(scan) == ["swapped-bytes"]
    np.testing.assert_array_equal(scan.diffraction[:], counts)
    if not background:
        (fault,) = examine(replace(raw.scan, diffraction=counts.byteswap(), object=None)).findings
        assert (fault.name, fault.level) == ("swapped-bytes", "fault")
    with pytest.raises(pp.InputError, match=r"patterns must hold .* .little or big endian"):
        counts_from_array(counts.byteswap(), "patterns")


def test_small_fractions_are_no_amplitudes(raw: Raw, tmp_path: Path) -> None:
    """Their squares are all near to a whole number, which is 0."""
    rng = np.random.default_rng(5)
    fractions = (raw.counts * rng.uniform(0.9, 1.1, (32, 32)) * 1e-6).astype("f4")
    with pytest.raises(pp.InputError, match="patterns must be counts or sqrt"):
        prepared(raw, tmp_path, fractions)


# --- what correcting and binning would hide -----------------------------------------------------


def split(counts: NDArray[Any]) -> NDArray[Any]:
    """The same photons on pixels of half the size."""
    rng = np.random.default_rng(1)
    rows = np.stack([(one := rng.binomial(counts, 0.5)), counts - one], axis=2)
    rows = rows.reshape(len(counts), 64, 32)
    parts = np.stack([(one := rng.binomial(rows, 0.5)), rows - one], axis=3)
    return parts.reshape(len(counts), 64, 64).astype(np.uint32)


def names(scan: Scan) -> list[str]:
    return [found.name for found in recorded_findings(scan.provenance)]


@pytest.mark.parametrize("kind", ["bin", "dark", "flat"])
def test_saturated_readings_stay_bounds(kind: str, raw: Raw, tmp_path: Path) -> None:
    """Equal as they are stored, all different afterwards."""
    rng = np.random.default_rng(2)
    image = rng.uniform(0.8, 1.2, (32, 32)) * (20 if kind == "dark" else 1)
    np.save(tmp_path / "image.npy", image)
    if kind == "bin":
        stored, options = split(raw.counts), {"bin": 2}
    elif kind == "dark":
        stored, options = raw.counts + rng.poisson(image, raw.counts.shape), {}
    else:
        stored, options = rng.poisson(raw.counts * image), {}
    if kind != "bin":
        options = {kind: str(tmp_path / "image.npy")}
    stored = stored.astype(np.uint32)
    stored[:, 3, 4] = 100_000  # a hot pixel has more than where the others end
    top = int(np.median(stored.max(axis=(1, 2), where=stored < 100_000, initial=0)) // 2)
    full = (stored >= top) & (stored < 100_000)
    scan = prepared(raw, tmp_path, np.where(full, top, stored), **options)
    assert "saturated-pixels" in names(scan) and scan.saturation is not None
    which = full.reshape(40, 32, -1, 32, full.shape[2] // 32).any(axis=(2, 4))
    counts = np.asarray(scan.diffraction[:])
    assert (counts[which] >= scan.saturation - 1e-3).mean() > 0.99
    assert scan.saturation > 0.7 * top
    assert "saturated-pixels" not in [found.name for found in examine(scan).findings]
    # Whoever has room for all counts has nothing of it.
    assert prepared(raw, tmp_path, stored, force=True, **options).saturation is None


def test_dead_pixels_are_masked_before_pixels_are_binned(raw: Raw, tmp_path: Path) -> None:
    stored = split(raw.counts)
    whole = prepared(raw, tmp_path, stored, bin=2)
    assert whole.mask is None and names(whole) == []
    stored[:, 30] = 0
    stored[:, 36:38, 31] = 0
    scan = prepared(raw, tmp_path, stored, bin=2, force=True)
    assert names(scan) == ["dead-pixels"]
    assert not scan.good_pixels[15].any() and not scan.good_pixels[18, 15]
    np.testing.assert_array_equal(
        scan.diffraction[:][:, scan.good_pixels], raw.counts[:, scan.good_pixels]
    )


def test_swapped_bytes_are_swapped_before_pixels_are_binned(raw: Raw, tmp_path: Path) -> None:
    stored = split(np.random.default_rng(4).poisson(raw.counts * 16.0)).astype("u2")
    scan = prepared(raw, tmp_path, stored.byteswap(), bin=2)
    assert names(scan) == ["swapped-bytes"]
    np.testing.assert_array_equal(
        scan.diffraction[:], stored.reshape(40, 32, 2, 32, 2).sum(axis=(2, 4))
    )


def test_counts_that_began_again_are_refused_before_pixels_are_binned(
    raw: Raw, tmp_path: Path
) -> None:
    stored = split(np.random.default_rng(4).poisson(raw.counts * 800.0))
    top = int(np.sort(stored.max(axis=(1, 2)))[len(stored) // 2] // 2)
    stored = np.round(stored * (65536 / top))
    with pytest.raises(pp.InputError, match="from 65536 on began again at 0"):
        prepared(raw, tmp_path, (stored % 65536).astype("u2"), bin=2)
    assert not (tmp_path / "scan.h5").exists()
    assert prepared(raw, tmp_path, stored.astype("u4"), bin=2).M == 40


def test_a_few_patterns_that_began_again_are_refused(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are looked at first do not show it: all are judged before the file appears."""
    counts = np.tile(np.random.default_rng(4).poisson(raw.counts * 800.0), (6, 1, 1))
    counts = np.round(counts * (65000 / counts.max())).astype(np.int64)
    unseen = np.setdiff1d(np.arange(240), sample_indices(240, 64))[::20]
    counts[unseen] = counts[unseen] * 3 % 65536
    path, out = tmp_path / "few.h5", tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = counts.astype("u2")
        file["y_um"], file["x_um"] = np.arange(240) // 16 * 0.03, np.arange(240) % 16 * 0.03
    np.save(tmp_path / "flat.npy", np.ones((32, 32)))
    options: dict[str, Any] = {
        "positions": "y_um,x_um", "flat": str(tmp_path / "flat.npy"), "pixel_size_m": PIXEL,
        "probe": str(raw.native),
    }  # fmt: skip
    line = ["prepare", str(path), "-o", str(out)]
    for name, value in options.items():
        line += [f"--{name.replace('_', '-')}", str(value)]
    assert run(line) == 2
    assert "leave this check out with --no-mend wrapped-counts" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(pp.InputError, match="with the option no_mend wrapped-counts"):
        prepare(path, **options)
    assert run([*line, "--no-mend", "wrapped-counts"]) == 0
    assert pp.load_scan(out).provenance["recipe"]["no_mend"] == ["wrapped-counts"]
    assert prepare(path, out, recipe=out, force=True).M == 240


def test_each_look_can_be_left_out(raw: Raw, tmp_path: Path) -> None:
    stored = split(np.random.default_rng(4).poisson(raw.counts * 16.0)).astype("u2")
    stored[:, 30] = 0
    swapped = stored.byteswap()
    np.save(tmp_path / "flat.npy", np.full((64, 64), 3.0))
    options: dict[str, Any] = {"bin": 2, "flat": str(tmp_path / "flat.npy"), "force": True}
    assert set(names(prepared(raw, tmp_path, swapped, **options))) >= {
        "swapped-bytes", "dead-pixels", "flat-field"
    }  # fmt: skip
    for name in ("swapped-bytes", "dead-pixels", "flat-field"):
        # Numbers whose bytes stay swapped look wrapped.
        without = (name, "wrapped-counts")
        assert name not in names(prepared(raw, tmp_path, swapped, no_mend=without, **options))
    assert names(prepared(raw, tmp_path, swapped, no_mend="all", **options)) == []
    with pytest.raises(pp.InputError, match="no_mend"):
        prepared(raw, tmp_path, stored, no_mend="dead-pixel", **options)


def test_a_flat_field_in_counts_leaves_photons(raw: Raw, tmp_path: Path) -> None:
    flat = np.random.default_rng(2).uniform(0.9, 1.1, (32, 32))
    for level in (1.0, 20000.0):
        np.save(tmp_path / "flat.npy", flat * level)
        scan = prepared(raw, tmp_path, raw.counts, flat=str(tmp_path / "flat.npy"), force=True)
        assert names(scan) == (["flat-field"] if level > 1 else [])
        assert float(scan.diffraction[:].sum()) == pytest.approx(float(raw.counts.sum()), rel=0.02)
