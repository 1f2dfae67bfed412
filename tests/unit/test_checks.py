"""The look at a scan: each kind of fault is mended or named, and whole scans are left alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.checks import CHECKS, examine, frame_order, position_unit
from ptychopinn.checks.base import LATER
from ptychopinn.checks.replay import mended_like
from ptychopinn.checks.slips import slip
from ptychopinn.checks.trial_fits import neighbours, trial_of
from ptychopinn.checks.upright import right_geometry
from ptychopinn.data.corner import rolls
from ptychopinn.data.findings import Finding, left_out, recorded_findings
from ptychopinn.data.orientation import ORIENTATIONS, Orientation
from ptychopinn.data.scan import Scan
from ptychopinn.data.views import PatternView, changed_patterns, chosen_patterns
from ptychopinn.errors import InputError
from ptychopinn.io import load_scan, save_scan
from ptychopinn.io.summary import nearest_px
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.scaling import probe_power

# What is not tried where the orientation is looked for.
NO_OTHER = ["frame-order", "frame-offset", "frame-slip", "position-unit"]

Change = Callable[[NDArray[Any], np.random.Generator], NDArray[Any] | None]


@pytest.fixture(scope="module")
def whole() -> Scan:
    return pp.simulate(object="leaves", N=64, patterns=100, photons=1e5, seed=5)


def faulty(scan: Scan, change: Change, seed: int = 3) -> Scan:
    """The scan with other counts."""
    counts = np.array(scan.diffraction[:], dtype=np.uint32)
    found = change(counts, np.random.default_rng(seed))
    return replace(scan, diffraction=counts if found is None else found)


def lit_evenly(counts: NDArray[Any], rng: np.random.Generator) -> None:
    """A background of 100 photons in each pixel."""
    counts += rng.poisson(100, counts.shape).astype(np.uint32)


def found_in(scan: Scan) -> dict[str, Finding]:
    return {found.name: found for found in examine(scan).findings}


@pytest.mark.parametrize("photons", [3e2, 1e5, 1e9])
@pytest.mark.parametrize("kind", ["lines", "leaves", "natural", "grf", "siemens"])
@pytest.mark.parametrize("n", [32, 64, 128])
def test_whole_scans_are_left_alone(kind: Any, photons: float, n: int) -> None:
    scan = pp.simulate(object=kind, N=n, patterns=64, photons=photons, seed=int(photons) % 89)
    checked = examine(scan)
    assert checked.findings == ()
    assert checked.scan is scan


@pytest.mark.parametrize("gain", [1e-3, 2.5, 1e3])
def test_the_unit_of_the_counts_does_not_matter(gain: float, whole: Scan) -> None:
    """Integrating detectors count many units for a photon."""

    def scaled(scan: Scan) -> Scan:
        counts = scan.diffraction[:].astype(np.float32) * np.float32(gain)
        return replace(scan, diffraction=counts, probe=scan.probe * np.float32(gain**0.5))

    assert examine(scaled(whole)).findings == ()
    weak = pp.simulate(object="lines", N=32, patterns=64, photons=2e3, seed=4)
    assert examine(scaled(weak)).findings == ()
    found = examine(scaled(faulty(whole, struck))).findings
    assert [f.name for f in found] == ["zingers"]


def test_a_masked_dark_centre_and_a_measured_scan_are_left_alone(star: Path, whole: Scan) -> None:
    stop = np.ones((64, 64), bool)
    stop[29:36, 29:36] = False
    counts = np.where(stop, whole.diffraction[:], 0)
    assert examine(replace(whole, mask=stop, diffraction=counts)).findings == ()
    assert examine(replace(whole, mask=stop)).findings == ()
    assert examine(load_scan(star)).findings == ()


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
@pytest.mark.parametrize("what", ["patterns", "probe"])
def test_a_zero_frequency_at_the_border_is_rolled_along_that_axis(
    axes: tuple[int, ...], what: str, whole: Scan
) -> None:
    if what == "patterns":
        moved = replace(whole, diffraction=np.fft.ifftshift(whole.diffraction[:], axes))
    else:
        moved = replace(whole, probe=np.fft.ifftshift(whole.probe, axes))
    checked = examine(moved)
    (found,) = checked.findings
    assert found.name == f"{what}-in-corner"
    assert found.details["rolled"] == [32 if k in axes else 0 for k in (1, 2)]
    np.testing.assert_array_equal(checked.scan.diffraction[:], whole.diffraction[:])
    np.testing.assert_allclose(checked.scan.probe, whole.probe, rtol=1e-5)


def test_a_beam_near_the_corner_of_the_detector_is_not_in_the_corner() -> None:
    """Only a part of it is seen, and rolling would not bring the rest back."""
    y, x = np.indices((64, 64))
    assert rolls(np.exp(-((y - 5) ** 2 + (x - 40) ** 2) / 60)) == (0, 0)
    assert rolls(np.exp(-((y - 32) ** 2 + (x - 32) ** 2) / 60)) == (0, 0)
    ring = np.hypot(y - 32, x - 32)
    assert rolls(((ring > 25) & (ring < 31)).astype(float)) == (0, 0)


# --- patterns ---------------------------------------------------------------------------------


def emptied(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[[7, 8, 60]] = 0


def without_beam(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[[7, 8, 60]] = rng.poisson(0.2, counts[:3].shape)


def test_a_scan_that_was_interrupted_early_is_what_was_measured(whole: Scan) -> None:
    """The rest of the file holds zeros, more than half of it."""
    counts = np.array(whole.diffraction[:])
    for rest in (0.0, 0.02):
        counts[35:] = np.random.default_rng(1).poisson(rest, counts[35:].shape)
        checked = examine(replace(whole, diffraction=counts))
        (found,) = checked.findings
        assert (found.name, found.level, checked.scan.M) == ("empty-patterns", "mended", 35)
        assert "65 of 100 patterns hold less than 2 %" in found.message
    # In between they are more than a shutter that was late.
    mixed = counts[np.random.default_rng(2).permutation(100)]
    (found,) = examine(replace(whole, diffraction=mixed)).findings[:1]
    assert (found.name, found.level) == ("empty-patterns", "doubt")
    # And those that are flooded are no beam.
    counts = np.array(whole.diffraction[:], np.uint32)
    counts[80:95] = np.random.default_rng(3).poisson(6e3, counts[80:95].shape)
    checked = examine(replace(whole, diffraction=counts))
    (found,) = checked.findings
    assert (found.name, found.level, checked.scan.M) == ("flooded-patterns", "mended", 85)


def flooded(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[[7, 8, 60]] = 3000


def noisy_flood(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[[7, 8, 60]] = rng.integers(0, 500, counts[:3].shape)


def noise_of_equal_sum(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[[7, 8, 60]] = rng.poisson(counts.sum(axis=(1, 2)).mean() / 4096, counts[:3].shape)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (emptied, "empty-patterns"),
        (without_beam, "empty-patterns"),
        (flooded, "flooded-patterns"),
        (noisy_flood, "flooded-patterns"),
        (noise_of_equal_sum, "outlying-patterns"),
    ],
)
def test_bad_patterns_are_left_out_and_named(change: Change, name: str, whole: Scan) -> None:
    checked = examine(faulty(whole, change))
    (found,) = checked.findings
    assert (found.name, found.level) == (name, "mended")
    assert "patterns 7, 8, 60" in found.message
    assert checked.scan.M == 97
    kept = np.delete(np.arange(100), [7, 8, 60])
    np.testing.assert_array_equal(checked.scan.positions_px, whole.positions_px[kept])
    assert left_out(checked.findings).tolist() == [7, 8, 60]
    assert recorded_findings(checked.scan.provenance) == checked.findings


def test_patterns_are_numbered_as_they_were_given(whole: Scan) -> None:
    def both(counts: NDArray[Any], rng: np.random.Generator) -> None:
        counts[4] = 0
        counts[50] = 4000

    checked = examine(faulty(whole, both))
    assert [found.details["patterns"] for found in checked.findings] == [[4], [50]]
    assert left_out(checked.findings).tolist() == [4, 50]


def test_many_bad_patterns_are_a_doubt(whole: Scan) -> None:
    def many(counts: NDArray[Any], rng: np.random.Generator) -> None:
        counts[:25] = 3000

    checked = examine(faulty(whole, many))
    assert checked.findings[0].level == "doubt"
    assert checked.scan.M == 100


def test_patterns_without_beam_are_left_out_however_many_there_are(whole: Scan) -> None:
    """A scan that was stopped: what was written before is whole."""

    def stopped(counts: NDArray[Any], rng: np.random.Generator) -> None:
        counts[60:] = 0

    checked = examine(faulty(whole, stopped))
    (found,) = checked.findings
    assert (found.name, found.level, checked.scan.M) == ("empty-patterns", "mended", 60)


# --- pixels -----------------------------------------------------------------------------------


def hot(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[:, [5, 60], [9, 33]] += rng.poisson(800, (len(counts), 2)).astype(np.uint32)


def stuck(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[:, [5, 60], [9, 33]] = 200


def stuck_in_the_beam(counts: NDArray[Any], rng: np.random.Generator) -> None:
    """At a number that other pixels reach, and that is usual around them."""
    counts[:, [31, 40], [36, 33]] = counts[:, [31, 40], [36, 33]].mean(axis=0).astype(np.uint32)


def overflowing(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[:, [5, 60], [9, 33]] = 2**20 - 1


def struck(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[[3, 70], [5, 60], [9, 33]] = 20_000


def weakly_struck(counts: NDArray[Any], rng: np.random.Generator) -> None:
    counts[[3, 70], [5, 60], [9, 33]] = 150


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (hot, "hot-pixels"),
        (stuck, "hot-pixels"),
        (overflowing, "hot-pixels"),
        (struck, "zingers"),
        (weakly_struck, "zingers"),
    ],
)
def test_bad_pixels_are_masked(change: Change, name: str, whole: Scan) -> None:
    checked = examine(faulty(whole, change))
    (found,) = checked.findings
    assert (found.name, found.level, found.details["count"]) == (name, "mended", 2)
    assert np.argwhere(~checked.scan.good_pixels).tolist() == [[5, 9], [60, 33]]


def test_a_number_that_is_stuck_in_the_beam_is_masked(whole: Scan) -> None:
    """Around it photons vary. A pixel that is always saturated stays a lower bound."""
    checked = examine(faulty(whole, stuck_in_the_beam))
    (found,) = checked.findings
    assert (found.name, found.level) == ("hot-pixels", "mended")
    assert np.argwhere(~checked.scan.good_pixels).tolist() == [[31, 36], [40, 33]]

    def saturated(counts: NDArray[Any], rng: np.random.Generator) -> None:
        np.minimum(counts, np.quantile(counts.max(axis=(1, 2)), 0.02).astype(np.uint32), out=counts)

    found = examine(faulty(whole, saturated)).findings
    assert "hot-pixels" not in {one.name for one in found}


def test_dead_pixels_and_lines_are_masked(whole: Scan) -> None:
    dead = np.zeros((64, 64), bool)
    dead[30, 33] = dead[:, 40:42] = True

    def silent(counts: NDArray[Any], rng: np.random.Generator) -> None:
        counts[:, dead] = 0

    checked = examine(faulty(whole, silent))
    (found,) = checked.findings
    assert found.name == "dead-pixels"
    # Where nothing would have been counted anyway a dead pixel cannot be told, nor does it matter.
    missed = dead & checked.scan.good_pixels
    assert np.asarray(whole.diffraction).mean(axis=0)[missed].sum() < 1
    assert checked.scan.good_pixels[~dead].all()


def test_a_spike_may_be_some_pixels_large(whole: Scan) -> None:
    """The track of a particle; a speckle of the same size is none."""

    def track(counts: NDArray[Any], rng: np.random.Generator) -> None:
        for k in (3, 50, 70):
            counts[k, 20:22, 50:53] = 9000

    checked = examine(faulty(whole, track))
    (found,) = checked.findings
    assert (found.name, found.details["count"]) == ("zingers", 6)
    assert (~checked.scan.good_pixels[20:22, 50:53]).all()

    def speckle(counts: NDArray[Any], rng: np.random.Generator) -> None:
        y, x = np.indices((64, 64))
        counts[50] += (900 * np.exp(-((y - 20) ** 2 + (x - 51) ** 2) / 8)).astype(np.uint32)

    assert examine(faulty(whole, speckle)).findings == ()


def test_a_gap_with_a_number_that_no_counter_ends_at_is_masked_whole(whole: Scan) -> None:
    """Also where lines cross, so that the pixels around are no measure."""
    gap = np.zeros((64, 64), bool)
    gap[:, 20:22] = gap[48:50] = True

    def filled(counts: NDArray[Any], rng: np.random.Generator) -> None:
        counts[:, gap] = 999_999

    checked = examine(faulty(whole, filled))
    assert [found.name for found in checked.findings] == ["hot-pixels"]
    np.testing.assert_array_equal(checked.scan.good_pixels, ~gap)


@pytest.mark.parametrize("rows", [np.s_[:, :26], np.s_[:, 40:], np.s_[:, :, :24]])
def test_a_module_that_never_counts_is_masked_up_to_the_border(rows: Any, whole: Scan) -> None:
    def half(counts: NDArray[Any], rng: np.random.Generator) -> None:
        counts[rows] = 0

    checked = examine(faulty(whole, half))
    assert checked.findings[0].name == "dead-pixels"
    assert not checked.scan.good_pixels[rows[1:]].any()
    assert checked.scan.good_pixels.sum() == 64 * 64 - whole.diffraction[0][rows[1:]].size


@pytest.mark.parametrize(
    "block",
    [np.s_[32:, 32:], np.s_[:32, :32], np.s_[:32, 32:], np.s_[32:, :32], np.s_[16:30, 35:48]],
)
@pytest.mark.parametrize("kind", ["leaves", "grf"])
def test_a_quadrant_or_a_module_that_never_counts_is_masked_whole(block: Any, kind: Any) -> None:
    scan = pp.simulate(object=kind, N=64, patterns=100, photons=1e5, seed=5)
    checked = examine(faulty(scan, lambda counts, rng: counts.__setitem__(np.s_[:, *block], 0)))
    (found,) = checked.findings
    assert (found.name, found.level) == ("dead-pixels", "mended")
    masked = np.zeros((64, 64), bool)
    masked[block] = True
    np.testing.assert_array_equal(~checked.scan.good_pixels, masked)
    rows, columns = (s.indices(64)[:2] for s in block)
    assert found.details["blocks"] == [[*rows, *columns]]
    assert f"y = {rows[0]} to {rows[1] - 1}, x = {columns[0]} to {columns[1] - 1}" in found.message


def test_darkness_beyond_the_light_is_no_dead_module(whole: Scan) -> None:
    """Nor a rim of the pupil, however sharp."""

    def dark(counts: NDArray[Any], rng: np.random.Generator) -> None:
        counts[:, :5, :5] = 0

    assert examine(faulty(whole, dark)).findings == ()
    sharp = pp.simulate(object="points", density=0.02, phase=(-0.01, 0.01), amplitude=(0.99, 1.0),
                        N=64, patterns=64, photons=1e5, diameter=0.375, seed=1)  # fmt: skip
    y, x = np.indices((64, 64)) - 32

    def cut(counts: NDArray[Any], rng: np.random.Generator) -> None:
        counts[:, np.hypot(y, x) > 13] = 0

    assert not any("blocks" in found.details for found in examine(faulty(sharp, cut)).findings)


def test_the_shadow_of_a_beam_stop_is_masked_and_that_of_the_lens_is_not(whole: Scan) -> None:
    y, x = np.indices((64, 64)) - 32
    stop = np.hypot(y, x) < 4

    def shadow(counts: NDArray[Any], rng: np.random.Generator) -> None:
        counts[:, stop] = 0

    checked = examine(faulty(whole, shadow))
    assert [found.name for found in checked.findings] == ["dead-pixels"]
    np.testing.assert_array_equal(checked.scan.good_pixels, ~stop)
    # A lens with a central stop, and an object that hardly scatters.
    lens = pp.simulate(object="points", density=0.02, phase=(-0.01, 0.01), amplitude=(0.99, 1.0),
                       N=64, patterns=64, photons=3e3, central_stop=0.5, seed=1)  # fmt: skip
    assert examine(lens).findings == ()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_an_offset_of_the_detector_is_subtracted(dtype: Any, whole: Scan, tmp_path: Path) -> None:
    given = replace(whole, diffraction=(whole.diffraction[:] + 100).astype(dtype))
    checked = examine(given)
    (found,) = checked.findings
    assert (found.name, found.level) == ("detector-offset", "mended")
    assert found.details["counts"] == 100
    np.testing.assert_array_equal(checked.scan.diffraction[:], whole.diffraction[:])
    # On disk it is subtracted when it is read, and again for another verb.
    save_scan(given, tmp_path / "scan.h5")
    lazy = load_scan(tmp_path / "scan.h5")
    again = mended_like(lazy, checked.findings)
    assert isinstance(again.diffraction, PatternView)
    np.testing.assert_array_equal(again.diffraction[:], whole.diffraction[:])
    # The probe in the file has the power of the light.
    assert probe_power(again.probe) == pytest.approx(probe_power(whole.probe), rel=0.02)


def test_an_offset_with_noise_of_the_readout_is_subtracted(whole: Scan) -> None:
    def read(counts: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        return (counts + rng.normal(50, 3, counts.shape)).astype(np.float32)

    checked = examine(faulty(whole, read))
    (found,) = checked.findings
    assert found.name == "detector-offset"
    assert found.details["counts"] == pytest.approx(50, abs=1)
    assert found.details["scatter"] == pytest.approx(3, rel=0.1)


def test_a_background_of_light_is_no_offset(whole: Scan) -> None:
    lit = faulty(whole, lit_evenly)
    assert "detector-offset" not in found_in(lit)


@pytest.mark.parametrize("limit", [60, 255, 700])
def test_saturated_readings_are_bounds(limit: int, whole: Scan) -> None:
    clipped = faulty(whole, lambda counts, rng: np.minimum(counts, limit))
    checked = examine(clipped)
    (found,) = checked.findings
    assert (found.name, found.level) == ("saturated-pixels", "mended")
    assert checked.scan.saturation == limit
    # Looking again finds nothing new.
    assert examine(checked.scan).findings == ()


def test_saturation_is_kept_in_a_file(tmp_path: Path, whole: Scan) -> None:
    save_scan(replace(whole, saturation=400.0), tmp_path / "s.h5")
    assert load_scan(tmp_path / "s.h5").saturation == 400


# --- beam, probe, positions, mask ---------------------------------------------------------------


def test_the_corner_is_the_middle(whole: Scan) -> None:
    rolled = np.fft.ifftshift(whole.diffraction[:], axes=(1, 2))
    checked = examine(replace(whole, diffraction=rolled))
    assert [found.name for found in checked.findings] == ["patterns-in-corner"]
    np.testing.assert_array_equal(checked.scan.diffraction[:], whole.diffraction[:])
    checked = examine(replace(whole, probe=np.fft.ifftshift(whole.probe, axes=(1, 2))))
    assert [found.name for found in checked.findings] == ["probe-in-corner"]
    np.testing.assert_array_equal(checked.scan.probe, whole.probe)


@pytest.mark.parametrize("by", [(16, 0), (-11, 14), (0, -25)])
def test_a_probe_off_the_middle_is_rolled_there_with_its_positions(
    by: tuple[int, int], whole: Scan
) -> None:
    """The patterns of the scan stay what they are."""
    moved = replace(whole, probe=np.roll(whole.probe, by, (1, 2)),
                    positions_px=whole.positions_px - np.array(by), object=None)  # fmt: skip
    checked = examine(moved)
    (found,) = checked.findings
    assert found.name == "probe-off-centre" and "centred (" in found.message
    np.testing.assert_allclose(-np.array(found.details["rolled"]), by, atol=1)
    rest = np.array(found.details["rolled"]) + by
    np.testing.assert_allclose(checked.scan.positions_px + rest, whole.positions_px, atol=1e-9)
    np.testing.assert_allclose(np.roll(checked.scan.probe, -rest, (1, 2)), whole.probe, rtol=1e-5)
    assert examine(checked.scan).findings == ()


@pytest.mark.parametrize("by", [(1, 1), (3, 0), (-2, 5), (0, -7)])
def test_a_beam_off_the_centre_tilts_the_probe(by: tuple[int, int], whole: Scan) -> None:
    moved = replace(whole, diffraction=np.roll(whole.diffraction[:], by, (1, 2)))
    checked = examine(moved)
    (found,) = checked.findings
    assert found.name == "beam-off-centre"
    np.testing.assert_allclose(found.details["offset_yx_px"], by, atol=0.8)
    assert examine(checked.scan).findings == ()


@pytest.mark.parametrize(
    ("factor", "name"), [(1e-6, "narrow-positions"), (0.01, "narrow-positions"), (12, "no-overlap")]
)
def test_positions_in_another_unit(factor: float, name: str, whole: Scan) -> None:
    checked = examine(replace(whole, positions_px=whole.positions_px * factor, object=None))
    assert [(found.name, found.level) for found in checked.findings] == [(name, "fault")]
    with pytest.raises(InputError, match=f"unit.*no_mend {name}"):
        checked.require()
    assert examine(checked.scan, no_mend=[name]).findings == ()


def test_little_overlap_is_doubted(whole: Scan) -> None:
    """Each pattern alone is explained by nearly any object."""
    for factor, names in ((1.5, []), (5.0, ["no-overlap"])):
        checked = examine(replace(whole, positions_px=whole.positions_px * factor, object=None))
        assert [found.name for found in checked.findings] == names
        assert all(found.level == "doubt" for found in checked.findings)


def test_a_single_position_far_away_is_left_out(whole: Scan) -> None:
    positions = whole.positions_px.copy()
    positions[31] += (0, 300)
    checked = examine(replace(whole, positions_px=positions, object=None))
    (found,) = checked.findings
    assert found.details["patterns"] == [31]
    assert "pattern 31" in found.message
    assert checked.scan.M == 99


def test_a_few_positions_far_away_together_are_left_out(whole: Scan) -> None:
    positions = whole.positions_px.copy()
    positions[[31, 32, 70]] += (0, 300)
    (found,) = examine(replace(whole, positions_px=positions, object=None)).findings
    assert (found.name, found.details["patterns"]) == ("no-overlap", [31, 32, 70])
    # More of them are a part of the sample, which is said.
    positions[28:37] = whole.positions_px[28:37] + np.array([0, 300])
    positions[70] = whole.positions_px[70]
    (said,) = examine(replace(whole, positions_px=positions, object=None)).findings
    assert (said.name, said.details["parts"]) == ("separate-parts", [91, 9])


@pytest.mark.parametrize("count", [9, 12, 16])
def test_one_position_of_a_few_is_far_away(count: int, whole: Scan) -> None:
    few = replace(whole.select(neighbours(whole, count)), object=None)
    positions = few.positions_px.copy()
    positions[5] += (300, 0)
    checked = examine(replace(few, positions_px=positions))
    (found,) = checked.findings
    assert (found.level, found.details["patterns"]) == ("mended", [5])
    assert examine(few).findings == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"energy_eV": 8.8}, "the energy is hardly ever used; with 8.8 keV the positions would"),
        ({"pixel_size_m": 1e-5, "distance_m": 90.0}, "the distance is hardly ever used"),
        ({}, None),
    ],
)
def test_a_pixel_that_follows_from_a_wrong_number(
    changes: dict[str, float], words: str | None, whole: Scan
) -> None:
    """A detector of 75 um at 2 m, and an energy in keV or a distance in another unit."""
    numbers = {"energy_eV": 8800.0, "distance_m": 2.0, **changes}
    pixel = 12.398419843320026e-7 / numbers["energy_eV"] * numbers["distance_m"] / (64 * 75e-6)
    numbers = {"pixel_size_m": pixel, **numbers}
    small = whole.positions_px / 1000
    (found,) = examine(replace(whole, positions_px=small, object=None, **numbers)).findings
    assert (found.name, found.level) == ("narrow-positions", "fault")
    assert ("an energy of 8.8 eV" in found.message) == ("energy_eV" in changes)
    assert (words in found.message) if words else "follows from" not in found.message
    # Positions in pixels know nothing of it, and the picture is right.
    said = examine(replace(whole, **numbers)).findings
    assert [(one.name, one.level) for one in said] == ([("object-pixel", "doubt")] if words else [])
    assert not words or words.split(";")[0] in said[0].message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: 2 * p, "where it has room for 66 x 66: correct their unit"),
        (lambda p: 0.1 * p, "where it has room for 66 x 66: correct their unit"),
        (lambda p: p - p.mean(axis=0), "its first patch lies at (32, 32): correct their origin"),
        (lambda p: p[:, ::-1] * (1, 1) + (0, 40), "correct their origin"),
    ],
)
def test_positions_that_an_object_does_not_hold(change: Any, words: str, whole: Scan) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        replace(whole, positions_px=change(whole.positions_px))


def test_positions_in_the_other_order_beside_an_object(whole: Scan) -> None:
    wide = np.concatenate([whole.object] * 2, axis=1)
    positions = whole.positions_px * (1, 2)
    replace(whole, positions_px=positions, object=wide)
    with pytest.raises(InputError, match="as if x came before y: exchange them"):
        replace(whole, positions_px=positions[:, ::-1], object=wide)


@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_in_another_unit_makes_a_line(axis: int, whole: Scan) -> None:
    positions = whole.positions_px.copy()
    positions[:, axis] /= 1000
    (found,) = examine(replace(whole, positions_px=positions, object=None)).findings
    assert (found.name, found.level) == ("one-line", "doubt")
    assert f"give the unit of the positions along {'yx'[axis]}, which span 0.0" in found.message
    positions[:, axis] = 40
    (found,) = examine(replace(whole, positions_px=positions, object=None)).findings
    assert found.name == "one-line" and "unit" not in found.message


def test_an_inverted_mask(whole: Scan) -> None:
    edge = np.zeros((64, 64), bool)
    edge[:3] = True
    (found,) = examine(replace(whole, mask=edge)).findings
    assert (found.name, found.level) == ("inverted-mask", "fault")
    assert examine(replace(whole, mask=~edge)).findings == ()


# --- all of them ---------------------------------------------------------------------------------


def test_every_check_can_be_left_out(whole: Scan) -> None:
    assert examine(faulty(whole, hot), no_mend=["hot-pixels"]).findings == ()
    assert examine(faulty(whole, hot), no_mend="all").findings == ()
    with pytest.raises(InputError, match="no_mend must be all or names of checks"):
        examine(whole, no_mend=["hot"])
    assert len(CHECKS) > 10


def test_what_was_mended_is_mended_again_and_no_more(whole: Scan) -> None:
    def several(counts: NDArray[Any], rng: np.random.Generator) -> None:
        hot(counts, rng)
        emptied(counts, rng)

    scan = faulty(whole, several)
    findings = examine(scan, no_mend=["hot-pixels"]).findings
    again = mended_like(scan, findings)
    assert again.M == 97
    assert again.mask is None
    assert mended_like(scan, ()) is scan


TURNED = {"transpose": True, "flip_y": False, "flip_x": True, "turned": "patterns"}


def test_what_an_earlier_look_doubts_in_patterns_is_kept_and_what_a_result_says_is_not() -> None:
    """A refinement mends no frames that were averaged, but it may mend the axes of a scan."""
    scan = pp.simulate(N=32, patterns=9, photons=1e4, seed=1)
    averaged, turned = (Finding(name, "doubt", name) for name in ("afterglow", "scan-axes"))
    again = mended_like(scan, [averaged, turned])
    assert [found.name for found in recorded_findings(again.provenance)] == ["afterglow"]
    assert again.diffraction is scan.diffraction
    assert mended_like(again, [averaged]) is again


@pytest.mark.parametrize(
    ("name", "details"),
    [
        ("orientation", {**TURNED, "about_centre": False}),
        ("position-unit", {"scale": 2.0}),
        ("frame-offset", {"frames": 1}),
        ("empty-patterns", {}),
    ],
)
def test_what_is_mended_already_is_not_mended_twice(
    name: str, details: dict[str, Any], whole: Scan
) -> None:
    """A refinement within `reconstruct` goes on with the scan that was mended."""
    scan = faulty(whole, emptied)
    findings = examine(scan).findings
    if name in LATER:
        findings = (Finding(name, "mended", "once", details),)
    once = mended_like(scan, findings)
    twice = mended_like(once, findings)
    assert twice is once
    # As often as it was found: another unit may be wrong twice.
    again = mended_like(once, [*findings, *findings])
    assert (again is not once) == (name in LATER)


def test_a_probe_scaled_to_the_counts_is_scaled_again(tmp_path: Path, whole: Scan) -> None:
    """Otherwise the amplitude of the object would carry what was masked."""
    counts = np.array(whole.diffraction[:], dtype=np.uint32)
    counts[:, 5, 9] = 100_000
    scan = Scan.from_arrays(counts, whole.positions_px, whole.probe)
    power = float((np.abs(examine(scan).scan.probe) ** 2).sum())
    assert power == pytest.approx(float(whole.diffraction[:].sum()) / 100, rel=0.02)


def test_patterns_on_disk_stay_there(tmp_path: Path, whole: Scan) -> None:
    save_scan(faulty(whole, emptied), tmp_path / "s.h5")
    checked = examine(load_scan(tmp_path / "s.h5"))
    assert isinstance(checked.scan.diffraction, PatternView)
    kept = np.delete(np.arange(100), [7, 8, 60])
    np.testing.assert_array_equal(checked.scan.diffraction[:], whole.diffraction[:][kept])
    np.testing.assert_array_equal(
        checked.scan.diffraction[np.array([3, 96, 3])], whole.diffraction[:][kept[[3, 96, 3]]]
    )


def test_views_of_patterns(tmp_path: Path, whole: Scan) -> None:
    save_scan(whole, tmp_path / "s.h5")
    lazy = load_scan(tmp_path / "s.h5").diffraction
    index = np.array([9, 2, 2, 40])
    for view in (chosen_patterns(lazy, index), chosen_patterns(whole.diffraction, index)):
        np.testing.assert_array_equal(view[1:, :5], whole.diffraction[:][index][1:, :5])
        np.testing.assert_array_equal(view[3], whole.diffraction[:][40])
    view = changed_patterns(lazy, lambda patterns: patterns[:, ::-1])
    np.testing.assert_array_equal(view[4], whole.diffraction[:][4, ::-1])
    np.testing.assert_array_equal(np.asarray(view), whole.diffraction[:][:, ::-1])


# --- geometry -----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_orientations_and_their_inverses(orientation: Orientation) -> None:
    rng = np.random.default_rng(1)
    positions, pattern = rng.normal(size=(5, 2)), rng.normal(size=(2, 8, 8))
    back = orientation.inverse
    np.testing.assert_array_equal(back.of_positions(orientation.of_positions(positions)), positions)
    for centred in (False, True):
        turned = orientation.of_patterns(pattern, centred)
        np.testing.assert_array_equal(back.of_patterns(turned, centred), pattern)
    # The middle pixel stays when patterns are turned about it.
    assert orientation.of_patterns(pattern)[0, 4, 4] == pattern[0, 4, 4]


@pytest.mark.parametrize("orientation", ORIENTATIONS[1:], ids=str)
def test_turned_positions_are_turned_back(orientation: Orientation, whole: Scan) -> None:
    given = replace(whole, positions_px=orientation.of_positions(whole.positions_px), object=None)
    scan, (found,) = right_geometry(NumpyOps(), given, NO_OTHER)
    assert (found.name, found.level) == ("orientation", "mended")
    # Up to the mirror image of everything, which no pattern tells from it.
    moved = scan.positions_px - scan.positions_px.mean(axis=0)
    true = whole.positions_px - whole.positions_px.mean(axis=0)
    if found.details["turned"] == "positions":
        np.testing.assert_allclose(moved, true, atol=1e-6)
    np.testing.assert_array_equal(mended_like(given, [found]).positions_px, scan.positions_px)


@pytest.mark.parametrize("about_centre", [True, False])
def test_turned_patterns_are_turned_back(about_centre: bool, whole: Scan) -> None:
    orientation = Orientation(flip_x=True)
    turned = orientation.of_patterns(whole.diffraction[:], about_centre)
    given = replace(whole, diffraction=turned, object=None)
    scan, (found,) = right_geometry(NumpyOps(), given, NO_OTHER)
    assert found.details["turned"] == "patterns"
    assert "--flip-x" in found.message
    np.testing.assert_array_equal(scan.diffraction[:], whole.diffraction[:])


def test_a_probe_that_looks_the_same_either_way_leaves_open_what_was_turned() -> None:
    """Patterns or positions by 180 degrees: a probe without aberrations but defocus fits both."""
    for coma, undecided in ((0.0, True), (0.3, False)):
        scan = pp.simulate(
            object="leaves", N=32, patterns=64, step_px=3.0, astigmatism=0.0, coma=coma, seed=7
        )
        turned = Orientation(flip_y=True, flip_x=True).of_patterns(scan.diffraction[:])
        given = replace(scan, diffraction=turned, object=None)
        _, (found,) = right_geometry(NumpyOps(), given, NO_OTHER)
        assert found.level == "mended"
        assert found.details["undecided"] == undecided
        assert ("a turned image of the true one" in found.message) == undecided
        assert (found.details["turned"] == "positions") == undecided


def test_a_conjugate_probe_is_named_beside_turned_patterns() -> None:
    """Patterns turned by 180 degrees, and the complex conjugate of the probe, are the same."""
    scan = pp.simulate(object="leaves", N=32, patterns=64, step_px=3.0, seed=7)
    given = replace(scan, probe=scan.probe.conj(), object=None)
    _, (found,) = right_geometry(NumpyOps(), given, NO_OTHER)
    assert found.details["turned"] == "patterns"
    assert "or the probe is the complex conjugate of the true one" in found.message


@pytest.mark.parametrize("frames", [-3, -1, 1, 2])
def test_patterns_some_frames_off_are_moved(frames: int, whole: Scan) -> None:
    given = replace(whole, positions_px=np.roll(whole.positions_px, frames, 0), object=None)
    scan, (found,) = right_geometry(NumpyOps(), given, skip=["orientation"])
    assert (found.name, found.details["frames"]) == ("frame-offset", frames)
    lost = np.arange(100)[-frames:] if frames > 0 else np.arange(100)[:-frames]
    assert found.details["patterns"] == lost.tolist()
    np.testing.assert_array_equal(scan.positions_px, np.delete(whole.positions_px, lost, 0))
    again = mended_like(given, [found])
    np.testing.assert_array_equal(again.positions_px, scan.positions_px)


@pytest.mark.parametrize(("left", "found"), [(0.1, True), (0.55, False)])
def test_a_frame_offset_explains_the_patterns(
    left: float, found: bool, whole: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a hopeless probe no fit does better than the mean pattern, and one is the least bad."""
    amplitudes = np.sqrt(whole.diffraction[:].astype(np.float64))
    mean = np.sqrt((amplitudes**2).mean(axis=0))
    varied = ((amplitudes - mean) ** 2).sum() / (amplitudes**2).sum()
    # As given, one frame later and one earlier after a few passes, then the first two again.
    residuals = iter([1.0, left, 1.3, 1.0, left])

    def residuals_of(xp: Any, parts: Any, passes: int) -> list[float]:
        return [varied * next(residuals) for _ in parts]

    monkeypatch.setattr(frame_order, "residuals_of", residuals_of)
    without = ["orientation", "frame-order", "position-unit"]
    _, findings = right_geometry(NumpyOps(), whole, skip=without)
    assert bool(findings) == found


@pytest.mark.parametrize("factor", [0.5, 2.0, 5.0])
def test_positions_in_another_unit_are_scaled(factor: float) -> None:
    whole = pp.simulate(object="leaves", N=32, patterns=100, photons=1e5, seed=5)
    centre = whole.positions_px.mean(axis=0)
    wrong = centre + factor * (whole.positions_px - centre)
    given = replace(whole, positions_px=wrong, object=None)
    skip = [name for name in LATER if name != "position-unit"]
    scan, (found,) = right_geometry(NumpyOps(), given, skip)
    assert (found.name, found.details["scale"]) == ("position-unit", 1 / factor)
    np.testing.assert_allclose(scan.positions_px, whole.positions_px)
    np.testing.assert_allclose(mended_like(given, [found]).positions_px, whole.positions_px)


@pytest.mark.parametrize(("left", "found"), [(0.1, True), (0.32, False)])
def test_another_unit_leaves_clearly_less(
    left: float, found: bool, whole: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With half of the probe gone, positions nearer to each other are but the least bad."""
    amplitudes = np.sqrt(whole.diffraction[:].astype(np.float64))
    mean = np.sqrt((amplitudes**2).mean(axis=0))
    varied = ((amplitudes - mean) ** 2).sum() / (amplitudes**2).sum()
    extent = np.ptp(trial_of(whole, neighbours(whole)).positions_px[:, 0])

    def residuals_of(xp: Any, parts: Any, passes: int) -> list[float]:
        """As given, times 0.5 and anything else; then the same at positions of other patterns."""
        spans = [float(np.ptp(part.positions_px[:, 0]) / extent) for part in parts]
        own = [{1.0: 0.35, 0.5: left}.get(round(span, 2), 0.4) for span in spans]
        half = len(own) // 2
        return [float(varied * one) for one in (*own[:half], *[0.4] * half)]

    monkeypatch.setattr(position_unit, "residuals_of", residuals_of)
    without = ["orientation", "frame-order", "frame-offset", "frame-slip"]
    assert bool(right_geometry(NumpyOps(), whole, without)[1]) == found


def test_on_a_background_no_orientation_is_believed(whole: Scan) -> None:
    """All of them fit badly, and one of them less badly than the others."""
    lit = faulty(whole, lit_evenly)
    assert right_geometry(NumpyOps(), replace(lit, object=None), ("frame-offset",))[1] == ()


def test_a_right_geometry_is_left_alone(star: Path) -> None:
    small = pp.simulate(object="leaves", N=32, patterns=100, step_px=3, photons=1e5, seed=5)
    for scan in (small, load_scan(star)):
        assert right_geometry(NumpyOps(), scan) == (scan, ())


@pytest.mark.parametrize("count", [2, 40, 1600])
def test_the_nearest_position_is_found_in_few_and_in_many(count: int) -> None:
    places = np.random.default_rng(count).uniform(0, 50, (count, 2))
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    np.testing.assert_allclose(nearest_px(places), distance.min(axis=1), rtol=1e-9)


def test_large_patterns_with_many_modes_are_tried_as_small_ones_with_few() -> None:
    scan = pp.simulate(object="leaves", N=128, patterns=64, photons=1e5, modes=5, seed=2)
    trial = trial_of(scan, neighbours(scan))
    assert (trial.N, len(trial.probe)) == (64, 2)
    turned = ORIENTATIONS[5]
    swapped = replace(scan, object=None, positions_px=turned.of_positions(scan.positions_px))
    found, (said,) = right_geometry(NumpyOps(), swapped)
    assert said.name == "orientation" and said.details["turned"] == "positions"
    back = found.positions_px - found.positions_px.mean(axis=0)
    np.testing.assert_allclose(back, scan.positions_px - scan.positions_px.mean(axis=0), atol=1e-6)


def one_apart(scan: Scan, frame: int, *, lost: bool) -> Scan:
    """The scan without this frame, or with this frame twice, at the positions of all frames."""
    numbers = np.arange(scan.M)
    numbers = np.delete(numbers, frame) if lost else np.insert(numbers, frame, frame)[: scan.M]
    return replace(
        scan, object=None, diffraction=scan.diffraction[numbers],
        positions_px=scan.positions_px[: len(numbers)],
    )  # fmt: skip


def in_rows_to_and_fro(scan: Scan) -> Scan:
    """A square raster with every other row the other way."""
    rows = np.arange(scan.M).reshape(int(scan.M**0.5), -1)
    rows[1::2] = rows[1::2, ::-1]
    return replace(scan.select(rows.ravel()), object=None)


# In long rows a shift by a frame shows at their ends only.
@pytest.mark.parametrize(
    ("kind", "side", "jitter", "frame", "lost"),
    [
        ("raster", 24, 0.0, 230, True), ("raster", 24, 0.2, 30, False),
        ("raster", 12, 1.0, 60, True), ("to and fro", 18, 0.0, 200, False),
        ("fermat", 12, 0.0, 60, True), ("fermat", 12, 0.0, 60, False),
    ],
)  # fmt: skip
def test_a_slip_of_frames_is_mended(
    kind: Any, side: int, jitter: float, frame: int, lost: bool
) -> None:
    scan = pp.simulate(
        N=32, object="leaves", scan="raster" if kind == "to and fro" else kind, patterns=side**2,
        step_px=3, jitter_px=jitter, photons=1e5, seed=3,
    )  # fmt: skip
    scan = in_rows_to_and_fro(scan) if kind == "to and fro" else scan
    assert slip(NumpyOps(), scan) is None
    given = one_apart(scan, frame, lost=lost)
    found = slip(NumpyOps(), given)
    assert found is not None and (found.name, found.level) == ("frame-slip", "mended")
    assert found.details["slipped"] == (1 if lost else -1)
    assert abs(found.details["start"] - frame) <= 2
    assert ("was lost" if lost else "came twice") in found.message
    back = mended_like(given, [found])
    assert back.M == given.M - 1 and left_out([found]).size == 1
    # But for those beside the slip, each is where it was.
    true = np.delete(scan.positions_px, frame if lost else scan.M - 1, axis=0)[: back.M]
    wrong = np.abs(back.positions_px - true).max(axis=1) > 1e-9
    assert wrong.sum() <= 2


def test_a_slip_is_left_alone_where_it_is_switched_off() -> None:
    scan = pp.simulate(
        N=32, object="leaves", patterns=144, step_px=3, jitter_px=0.2, photons=1e5, seed=4
    )
    given = one_apart(scan, 60, lost=True)
    result = pp.reconstruct(given, backend="numpy")
    (found,) = (one for one in result.findings if one.name == "frame-slip")
    assert found.level == "mended" and result.fit is not None and result.fit.verdict == "good"
    assert len(result.positions_px) == given.M - 1
    said = pp.reconstruct(given, backend="numpy", no_mend=("frame-slip", "alternatives"))
    assert all(one.name != "frame-slip" for one in said.findings)
    assert len(said.positions_px) == given.M and said.fit is not None
    assert said.fit.verdict != "good"


def test_an_early_slip_after_an_offset_is_mended_too() -> None:
    """What comes behind it is the most of the scan, around the middle too."""
    scan = pp.simulate(
        N=32, object="leaves", scan="random", patterns=225, step_px=3, photons=1e5, seed=3
    )
    given = one_apart(scan, 50, lost=True)
    found, said = right_geometry(NumpyOps(), given, ["orientation", "position-unit"])
    assert [one.name for one in said] == ["frame-offset", "frame-slip"]
    assert said[1].details["start"] == 0 and abs(said[1].details["stop"] - 50) <= 2
    back = mended_like(given, said)
    np.testing.assert_array_equal(back.positions_px, found.positions_px)
    true = np.delete(scan.positions_px, 50, axis=0)
    kept = np.setdiff1d(np.arange(given.M), left_out(said))
    wrong = np.abs(back.positions_px - true[kept]).max(axis=1) > 1e-9
    assert wrong.sum() <= 2


@pytest.mark.parametrize("offset", [1, 2])
def test_a_small_offset_is_told_from_light_by_its_steadiness(offset: int) -> None:
    scan = pp.simulate(N=32, object="leaves", patterns=64, photons=1e5, seed=1)
    patterns = np.asarray(scan.diffraction)
    (found,) = examine(replace(scan, diffraction=patterns + patterns.dtype.type(offset))).findings
    assert (found.name, found.details["counts"]) == ("detector-offset", offset)
    light = np.random.default_rng(1).poisson(offset, patterns.shape).astype(patterns.dtype)
    lit = examine(replace(scan, diffraction=patterns + light)).findings
    assert all(one.name != "detector-offset" for one in lit)


@pytest.mark.parametrize("photons", [100, 1000])
def test_a_dead_band_is_found_in_few_photons(photons: float) -> None:
    scan = pp.simulate(object="leaves", patterns=100, photons=photons, seed=1)
    assert not examine(scan).findings
    patterns = scan.diffraction.copy()
    patterns[:, 22:26] = 0
    (found,) = examine(replace(scan, diffraction=patterns)).findings
    assert (found.name, found.details["count"]) == ("dead-pixels", 4 * 64)
