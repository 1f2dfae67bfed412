"""Counts that were stored as logarithms, times a factor, or as rounded roots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.data.findings import recorded_findings
from ptychopinn.io import lazy, load_scan
from ptychopinn.io.rescaled import ALL, how_stored
from ptychopinn.workflows.prepare import prepare
from scan_files import FORMATS, Content, counts_of, load, write

Change = Callable[[Any], Any]
LOGARITHMS: dict[str, Change] = {
    "log10": lambda c: np.log10(c + 1.0),
    "ln": np.log1p,
    "log2": lambda c: np.log2(c + 1.0),
}
FACTORS: dict[str, Change] = {
    "factor": lambda c: c / c.max(),
    "per cent": lambda c: 100.0 * c / c.max(),
    "times": lambda c: 1.37 * c,
    "factors": lambda c: c / c.max(axis=(1, 2), keepdims=True),
    "root-factor": lambda c: 0.017 * np.sqrt(c),
    "root-factors": lambda c: np.sqrt(c / c.max(axis=(1, 2), keepdims=True)),
}
WAYS = LOGARITHMS | FACTORS


def kinds_of(scan: pp.Scan) -> list[str]:
    found = recorded_findings(scan.provenance)
    return [one.details["kind"] for one in found if one.name == "stored-scale"]


def stored(way: str, dtype: str = "f4") -> np.ndarray:
    return np.asarray(WAYS[way](counts_of().astype(np.float64))).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("way", WAYS)
def test_npz_and_prepare_give_the_counts(way: str, dtype: str, tmp_path: Path) -> None:
    path = write("npz", tmp_path, Content(counts=stored(way, dtype)))
    for scan in (load_scan(path), prepare(path)):
        np.testing.assert_array_equal(scan.diffraction[:], counts_of())
        assert len(kinds_of(scan)) == 1


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "native"])
@pytest.mark.parametrize("way", ["ln", "factors"])
def test_every_format_gives_the_counts(kind: str, way: str, tmp_path: Path) -> None:
    if kind == "arrays" and way != "ln":
        pytest.skip("a probe that is given with the counts is in their scale")
    scan = load(kind, tmp_path, Content(counts=stored(way)))
    np.testing.assert_array_equal(scan.diffraction[:], counts_of())
    assert kinds_of(scan) == [way]


@pytest.mark.parametrize("way", WAYS)
def test_patterns_that_stay_on_disk(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "WHOLE_BYTES", 0)
    scan = load("cxi", tmp_path, Content(counts=stored(way)))
    assert isinstance(scan.diffraction, lazy.LazyPatterns)
    assert scan.diffraction.dtype == np.uint16
    np.testing.assert_array_equal(scan.diffraction[[3, 0]], counts_of()[[3, 0]])
    np.testing.assert_array_equal(scan.diffraction[:], counts_of())


@pytest.mark.parametrize("way", ["log10", "ln", "factor", "factors"])
def test_half_precision(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large counts are as exact as they were stored, small ones exact."""
    counts = counts_of().astype(float)
    patterns = WAYS[way](counts).astype("f2")
    scans = [prepare(write("npz", tmp_path, Content(counts=patterns)))]
    for size in (lazy.WHOLE_BYTES, 0):
        monkeypatch.setattr(lazy, "WHOLE_BYTES", size)
        scans.append(load("cxi", tmp_path, Content(counts=patterns)))
    for scan in scans:
        assert kinds_of(scan) == [way]
        found = scan.diffraction[:].astype(float)
        np.testing.assert_allclose(found, counts, rtol=6e-3, atol=0.1)


def test_bad_pixels_do_not_count(tmp_path: Path) -> None:
    bad = np.zeros((32, 32), bool)
    bad[3, 4] = bad[16, 16] = True
    patterns = stored("factors")
    patterns[:, bad] = 1e-5
    patterns[:, 3, 4] = np.nan
    scan = load("cxi", tmp_path, Content(counts=patterns, bad=bad))
    good = scan.good_pixels
    np.testing.assert_array_equal(scan.diffraction[:][:, good], counts_of()[:, good])


def test_one_pattern_that_is_not_like_the_others(tmp_path: Path) -> None:
    counts = np.concatenate([counts_of(seed) for seed in range(3)])
    positions = np.random.default_rng(0).uniform(20, 40, (len(counts), 2))
    patterns = FACTORS["factors"](counts.astype(float)).astype("f4")
    patterns[1] = np.random.default_rng(1).random((32, 32))
    path = write("npz", tmp_path, Content(counts=patterns, positions=positions))
    with pytest.raises(pp.InputError, match="received pattern 1, which is not; leave it out"):
        load_scan(path)


def test_what_is_said_of_the_units_is_obeyed(tmp_path: Path) -> None:
    path = write("npz", tmp_path, Content(counts=stored("root-factor")))
    squared = load_scan(path, units="amplitude", photons=5e4)
    assert kinds_of(squared) == []
    assert np.mean(squared.diffraction[:].sum(axis=(1, 2))) == pytest.approx(5e4, rel=1e-4)
    path = write("npz", tmp_path, Content(counts=stored("ln")))
    with pytest.raises(pp.InputError, match="states its counts itself; leave it out"):
        load_scan(path, photons=5e4)


def test_other_numbers_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    counts = counts_of().astype(float)
    flat = rng.normal(1, 0.03, (32, 32)).clip(0.9, 1.1)
    noise = (counts - rng.normal(0, 0.3, counts.shape)).clip(0)
    clean = np.asarray(pp.simulate(N=32, patterns=24, poisson=False, seed=1).diffraction[:])
    others = {
        "counts": counts, "roots": np.sqrt(counts), "flat": counts / flat, "noise": noise,
        "roots of flat": np.sqrt(counts / flat), "logarithm of flat": np.log1p(counts / flat),
        "clean": clean, "roots of clean": np.sqrt(clean), "nothing": 0 * counts,
        "one digit": np.round(counts / flat, 1), "two": np.round(counts / flat, 2),
        "huge": counts * 1e30,
    }  # fmt: skip
    others["huge"][0, 0, 0] = 1.5e29
    for name, patterns in others.items():
        for dtype in ("f4", "f8") if name == "huge" else ("f2", "f4", "f8"):
            assert how_stored(patterns.astype(dtype), None, ALL) is None, name


def test_normalised_numbers_that_tell_nothing(tmp_path: Path) -> None:
    """The sentence names all that they may be, and prepare does not guess."""
    flat = np.random.default_rng(0).normal(1, 0.03, (32, 32))
    path = write("npz", tmp_path, Content(counts=np.log1p(counts_of() / flat).astype("f4")))
    with pytest.raises(pp.InputError, match="if they are logarithms, undo those first"):
        load_scan(path)
    with pytest.raises(pp.InputError, match="undo a logarithm before"):
        prepare(path)


@pytest.mark.parametrize("photons", [3e4, 1e6])
def test_rounded_roots_are_a_fault(photons: float) -> None:
    scan = pp.simulate(object="natural", N=32, patterns=64, photons=photons, seed=2)
    counts = np.asarray(scan.diffraction[:]).astype(float)
    names = [one.name for one in examine(scan).findings]
    assert "rounded-roots" not in names
    roots = np.rint(np.sqrt(counts)).astype(np.uint8).astype(np.uint16)
    found = examine(replace(scan, diffraction=roots))
    assert [(one.name, one.level) for one in found.findings] == [("rounded-roots", "fault")]
    assert found.findings[0].details["scatter"] == pytest.approx(np.sqrt(1 / 3), abs=0.1)
    with pytest.raises(pp.InputError, match="units='amplitude', or store counts"):
        found.require()


@pytest.mark.parametrize("divisor", [4, 10, 30, 100])
def test_counts_that_were_divided_are_no_roots(divisor: int) -> None:
    scan = pp.simulate(object="natural", N=32, patterns=64, photons=1e6, seed=2)
    low = np.rint(np.asarray(scan.diffraction[:]) / divisor).astype(np.uint16)
    names = [one.name for one in examine(replace(scan, diffraction=low)).findings]
    assert "rounded-roots" not in names


FLOORS: dict[str, Change] = {
    "log10": lambda c: np.log10(np.maximum(c, 1)),
    "ln": lambda c: np.log(np.maximum(c, 1)),
    "log2": lambda c: np.log2(np.maximum(c, 1)),
}


@pytest.mark.parametrize("way", FLOORS)
def test_logarithms_of_at_least_one_count(way: str, tmp_path: Path) -> None:
    """They are whole as those of counts + 1 are; the noise tells them apart."""
    scan = pp.simulate(object="leaves", N=128, patterns=24, photons=1e6, seed=2)
    counts = np.asarray(scan.diffraction[:]).astype(float)
    there = {"positions": scan.positions_px, "probe": scan.probe[0]}
    path = write("npz", tmp_path, Content(counts=FLOORS[way](counts).astype("f4"), **there))
    for read in (load_scan(path), prepare(path)):
        np.testing.assert_array_equal(read.diffraction[:], np.where(counts > 1, counts, 0))
        (found,) = [f for f in recorded_findings(read.provenance) if f.name == "stored-scale"]
        assert "max(counts, 1)" in found.message and found.details["beyond"] > 0.2
    path = write("npz", tmp_path, Content(counts=LOGARITHMS[way](counts).astype("f4"), **there))
    np.testing.assert_array_equal(load_scan(path).diffraction[:], counts)


@pytest.mark.parametrize("floor", [0.1, 1e-10])
@pytest.mark.parametrize("way", ["instead", "added"])
def test_logarithms_with_another_number_for_zero(way: str, floor: float, tmp_path: Path) -> None:
    counts = counts_of().astype(float)
    stored = np.log10(np.maximum(counts, floor) if way == "instead" else counts + floor)
    path = write("npz", tmp_path, Content(counts=stored.astype("f4")))
    for read in (load_scan, prepare):
        with pytest.raises(pp.InputError, match=r"logarithms: 10\*\*x is whole .* stands for 0"):
            read(path)
