"""One scan has one fingerprint, whatever file it is in; another scan has another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.fingerprint import difference, fingerprint
from ptychopinn.data.scan import Scan
from ptychopinn.io.convert import convert


@pytest.fixture(scope="module")
def scan() -> Scan:
    simulated = pp.simulate(
        N=32, patterns=49, photons=1e5, seed=3, step_px=2.3, dead_pixels=5, pixel_size_m=1.3e-8
    )
    return replace(simulated, energy_eV=8000.0, distance_m=1.7)


@pytest.mark.parametrize(
    "name", ["a.npz", "a.cxi", "a_dp.hdf5", "folder", "a.h5", "other/a.hdf5", "training.h5"]
)
def test_a_conversion_keeps_it(name: str, scan: Scan, tmp_path: Path) -> None:
    pp.save_scan(scan, tmp_path / "scan.h5")
    to = "ptychodus-training" if name.startswith("training") else None
    done = convert(tmp_path / "scan.h5", tmp_path / name, to=to)
    before, after = fingerprint(scan), fingerprint(pp.load_scan(tmp_path / name))
    if any("mask" in loss for loss in done.losses):
        # Then counts on bad pixels count, and there are none.
        assert not scan.diffraction[:][:, ~scan.good_pixels].any()
    assert difference(before, after) is None


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "float32"])
def test_the_type_of_the_numbers_does_not_matter(dtype: str, scan: Scan) -> None:
    assert fingerprint(replace(scan, diffraction=scan.diffraction[:].astype(dtype))) == fingerprint(
        scan
    )


def test_neither_probe_nor_object_nor_origin_matter(scan: Scan) -> None:
    moved = replace(
        scan,
        probe=2 * scan.probe,
        object=None,
        positions_px=scan.positions_px + np.array([17, -3.5]),
    )
    assert fingerprint(moved) == fingerprint(scan)


def test_it_says_what_differs(scan: Scan) -> None:
    counts = scan.diffraction[:].copy()
    good = np.argwhere(scan.good_pixels)[7]
    counts[31, good[0], good[1]] += 1
    places = scan.positions_px.copy()
    places[31, 1] += 0.05
    mine = fingerprint(scan)
    one, other = replace(scan, diffraction=counts), replace(scan, positions_px=places)
    assert difference(mine, fingerprint(one)) == "counts"
    assert difference(mine, fingerprint(other)) == "positions"
    assert difference(mine, fingerprint(replace(one, positions_px=places))) == (
        "counts and positions"
    )
    swapped = replace(scan, positions_px=scan.positions_px[:, ::-1], object=None)
    assert difference(mine, fingerprint(swapped)) == "positions"


def test_a_large_scan_is_sampled_from_end_to_end() -> None:
    n, m = 256, 600
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.2, (m, n, n)).astype(np.uint16)
    places = rng.uniform(200, 300, (m, 2))
    scan = Scan(counts, places, np.ones((1, n, n), np.complex64))
    mine = fingerprint(scan)
    for number in (0, m - 1):
        changed = counts.copy()
        changed[number, 5, 5] += 1
        assert difference(mine, fingerprint(replace(scan, diffraction=changed))) == "counts"


@pytest.mark.parametrize("broken", ["", "abc", "abc-def-x"])
def test_what_is_no_fingerprint_agrees_with_none(broken: str) -> None:
    """A file that somebody changed may hold the beginning of one, or more."""
    assert difference("abc-def", broken) is not None
    assert difference(broken, "abc-def") is not None
