"""A scan that is one already is prepared again: cut, binned, masked, or a part of it taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.findings import recorded_findings
from ptychopinn.data.scan import Scan
from ptychopinn.io import load_scan, save_scan
from ptychopinn.simulation import SimulationConfig, simulate
from ptychopinn.sources.overview import overview
from ptychopinn.workflows.prepare import prepare

N, LESS = 48, 32


@pytest.fixture(scope="module")
def scan() -> Scan:
    config = SimulationConfig(
        N=N, patterns=64, photons=1e5, seed=5, pixel_size_m=2e-8, energy_eV=8000, distance_m=1
    )
    mask = np.ones((N, N), bool)
    mask[20, 24] = False
    made = simulate(config)
    patterns = np.where(mask, made.diffraction, 0).astype(np.uint16)
    return replace(made, diffraction=patterns, mask=mask, saturation=6e4)


@pytest.fixture(scope="module", params=["native", "ptychodus", "fold_slice"])
def stored(request: pytest.FixtureRequest, scan: Scan, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param)
    save_scan(scan, folder / "scan.h5")
    if request.param == "native":
        return folder / "scan.h5"
    name = {"ptychodus": "scan", "fold_slice": "scan_dp.hdf5"}[request.param]
    pp.convert(folder / "scan.h5", folder / name, to=request.param)
    return folder / name


def test_a_smaller_window_of_it(stored: Path, scan: Scan, tmp_path: Path) -> None:
    """Fewer pixels of the detector are larger ones of the object, with the same field of view."""
    prepare(stored, tmp_path / "new.h5", crop=str(LESS))
    new, before = load_scan(tmp_path / "new.h5"), load_scan(stored)
    cut = (N - LESS) // 2
    window = np.asarray(before.diffraction[:])[:, cut:-cut, cut:-cut]
    np.testing.assert_array_equal(new.diffraction[:], window)
    np.testing.assert_allclose(new.positions_px, before.positions_px * LESS / N)
    assert new.pixel_size_m == pytest.approx(before.pixel_size_m * N / LESS)
    assert new.energy_eV == pytest.approx(8000)
    assert new.probe.shape == (1, LESS, LESS) and new.object is None
    if before.mask is not None:
        np.testing.assert_array_equal(new.good_pixels, before.good_pixels[cut:-cut, cut:-cut])
    assert new.saturation == before.saturation


def test_the_result_is_as_good(scan: Scan, tmp_path: Path) -> None:
    save_scan(scan, tmp_path / "scan.h5")
    prepare(tmp_path / "scan.h5", tmp_path / "new.h5", crop=str(LESS), frames="0:60")
    result = pp.reconstruct(load_scan(tmp_path / "new.h5"), backend="numpy")
    assert len(result.positions_px) == 60
    assert pp.misfit(result, load_scan(tmp_path / "new.h5")).verdict == "good"


def test_pixels_of_the_near_field_grow_when_they_are_binned(tmp_path: Path) -> None:
    config = SimulationConfig(
        N=64, patterns=36, photons=1e6, seed=5, pixel_size_m=1e-7, energy_eV=8000, distance_m=0.05,
        focus_distance_m=0.02, propagator="near-field",
    )  # fmt: skip
    made = simulate(config)
    save_scan(made, tmp_path / "near.h5")
    prepare(tmp_path / "near.h5", tmp_path / "binned.h5", bin=2)
    prepare(tmp_path / "near.h5", tmp_path / "cut.h5", crop="48")
    binned, cut = load_scan(tmp_path / "binned.h5"), load_scan(tmp_path / "cut.h5")
    assert binned.propagation == "near-field" and binned.focus_distance_m == 0.02
    assert binned.pixel_size_m == pytest.approx(2e-7) and cut.pixel_size_m == pytest.approx(1e-7)
    np.testing.assert_allclose(binned.positions_px, made.positions_px / 2)
    np.testing.assert_allclose(cut.positions_px, made.positions_px)


def test_what_happened_to_it_before_is_kept(scan: Scan, tmp_path: Path) -> None:
    given = replace(scan, provenance={"where": "hutch 3"})
    save_scan(given, tmp_path / "scan.h5")
    prepare(tmp_path / "scan.h5", tmp_path / "new.h5", crop=str(LESS))
    assert "hutch 3" in str(load_scan(tmp_path / "new.h5").provenance)


def test_what_is_noticed_while_it_is_read_is_said(scan: Scan, tmp_path: Path) -> None:
    """A float scan with the reading of no counts in a pixel, as other programs mark it."""
    marked = scan.diffraction.astype(np.float32)
    save_scan(replace(scan, mask=None), tmp_path / "scan.h5")
    with h5py.File(tmp_path / "scan.h5", "r+") as file:
        del file["diffraction"]
        marked[:, 30, 30] = -1
        file.create_dataset("diffraction", data=marked, chunks=(1, N, N))
        file["diffraction"].attrs["units"] = "photon counts"
    prepare(tmp_path / "scan.h5", tmp_path / "new.h5", crop=str(LESS))
    new = load_scan(tmp_path / "new.h5")
    assert not new.good_pixels[30 - 8, 30 - 8]
    assert recorded_findings(new.provenance)


def test_other_patterns_in_its_file_are_taken_by_their_key(scan: Scan, tmp_path: Path) -> None:
    save_scan(scan, tmp_path / "scan.h5")
    with h5py.File(tmp_path / "scan.h5", "r+") as file:
        file["other"] = 2 * scan.diffraction
    prepare(
        tmp_path / "scan.h5", tmp_path / "new.h5", patterns="other", positions="positions_px",
        order="yx", unit="px", probe=f"{tmp_path / 'scan.h5'}:probe",
    )  # fmt: skip
    np.testing.assert_array_equal(
        load_scan(tmp_path / "new.h5").diffraction[:], 2 * scan.diffraction
    )


def test_its_line_needs_nothing_more(stored: Path) -> None:
    line = overview(stored).line
    assert line == f"ptychopinn prepare {stored} -o scan.h5"
