"""A scan of arrays: what load_scan does for a file, ``Scan.from_arrays`` does in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp


@pytest.fixture(scope="module")
def truth() -> pp.Scan:
    return pp.simulate(N=32, patterns=30, photons=1e5, seed=4, step_px=3.0, modes=2)


def arrays(scan: pp.Scan) -> dict[str, Any]:
    return {
        "counts": scan.diffraction,
        "positions": scan.positions_px,
        "probe": 7 * scan.probe,
        "object": scan.object,
    }


def test_arrays_give_the_scan_that_a_file_of_them_gives(truth: pp.Scan, tmp_path: Path) -> None:
    y, x = truth.positions_px.T
    bad = np.zeros((32, 32), bool)
    bad[3, 5:9] = True
    np.savez(
        tmp_path / "scan.npz", diff3d=truth.diffraction, xcoords=x, ycoords=y, bad_pixels=bad,
        probeGuess=7 * truth.probe, objectGuess=truth.object,
    )  # fmt: skip
    read = pp.load_scan(tmp_path / "scan.npz")
    made = pp.Scan.from_arrays(**arrays(truth), mask=~bad)
    for field in ("diffraction", "positions_px", "probe", "object", "mask"):
        np.testing.assert_array_equal(getattr(made, field), getattr(read, field))
    for key in ("probe_power", "object_scale"):
        assert made.provenance[key] == read.provenance[key]


@pytest.mark.parametrize("unit", ["m", "mm", "um", "nm"])
def test_positions_in_lengths_and_in_either_order(truth: pp.Scan, unit: Any) -> None:
    pixel = 2.5e-8
    length = truth.positions_px * pixel / {"m": 1, "mm": 1e-3, "um": 1e-6, "nm": 1e-9}[unit]
    made = pp.Scan.from_arrays(
        truth.diffraction, length[:, ::-1], truth.probe, unit=unit, order="xy", pixel_size_m=pixel
    )
    np.testing.assert_allclose(made.positions_px, truth.positions_px, rtol=1e-12)
    assert made.pixel_size_m == pixel


def test_a_probe_in_counts_stays_as_it_is(truth: pp.Scan) -> None:
    given = arrays(truth)
    made = pp.Scan.from_arrays(**given | {"probe": truth.probe}, scale_probe=False)
    np.testing.assert_array_equal(made.probe, truth.probe)
    np.testing.assert_array_equal(made.object, truth.object)  # type: ignore[arg-type]
    with pytest.raises(pp.InputError, match=r"must be in sqrt\(counts\) and agree"):
        pp.Scan.from_arrays(**given | {"probe": 1e-3 * truth.probe}, scale_probe=False)


@pytest.mark.parametrize("kind", ["int64", "uint8", "float64", "list"])
def test_whole_counts_of_any_type(truth: pp.Scan, kind: str) -> None:
    counts: Any = np.minimum(truth.diffraction, 200)
    typed = counts.tolist() if kind == "list" else counts.astype(kind)
    made = pp.Scan.from_arrays(typed, truth.positions_px, truth.probe[0])
    assert made.diffraction.dtype == np.uint16
    np.testing.assert_array_equal(np.asarray(made.diffraction), counts)


def test_fractional_counts_stay_fractional(truth: pp.Scan) -> None:
    counts = np.asarray(truth.diffraction) * 0.3
    made = pp.Scan.from_arrays(counts, truth.positions_px, truth.probe)
    np.testing.assert_array_equal(np.asarray(made.diffraction), counts.astype(np.float32))


def test_a_near_field_scan_is_scaled_with_its_own_propagator() -> None:
    near = pp.simulate(N=32, patterns=20, photons=1e5, seed=4, propagator="near-field")
    bad = np.ones((32, 32), bool)
    bad[20:, :] = False
    made = pp.Scan.from_arrays(
        near.diffraction, near.positions_px, near.probe, mask=bad, propagation="near-field",
        pixel_size_m=near.pixel_size_m, energy_eV=near.energy_eV, distance_m=near.distance_m,
        focus_distance_m=near.focus_distance_m,
    )  # fmt: skip
    assert made.propagator.measures_momentum is False
    from ptychopinn.physics.scaling import probe_power

    mean = np.where(bad, near.diffraction, 0).sum(axis=(1, 2)).mean()
    assert probe_power(made.probe, made.mask, made.propagator) == pytest.approx(mean, rel=1e-4)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"probe": None}, "needs a probe, received none; give probe='auto'"),
    ({"counts": np.ones((30, 32), int)}, r"counts must have shape \(M, N, N\)"),
    ({"counts": [[1, 2], [3]]}, "counts must be an array of numbers"),
    ({"counts": "scan.h5"}, "counts must be an array of numbers"),
    ({"counts": np.ones((30, 32, 32), complex)}, "real numbers"),
    ({"counts": np.ones((30, 32, 32), bool)}, "real numbers"),
    ({"counts": -np.ones((30, 32, 32), int)}, "counts >= 0"),
    ({"counts": np.full((30, 32, 32), np.nan)}, "finite numbers"),
    ({"positions": np.zeros((30, 3))}, r"positions must be real with shape \(M, 2\)"),
    ({"positions": np.zeros((29, 2)) + np.arange(29)[:, None]}, "one position per pattern"),
    ({"positions": np.random.default_rng(1).random((30, 2)) * 1e-6}, "look like metres"),
    ({"unit": "m"}, "no pixel_size_m"),
    ({"unit": "m", "pixel_size_m": 0.0}, "pixel_size_m must be positive"),
    ({"unit": "inch"}, "unit must be one of px, m, mm, um, nm, received 'inch'"),
    ({"order": "zy"}, "order must be one of yx, xy"),
    ({"probe": np.ones((31, 31))}, "probe must have shape"),
    ({"probe": np.ones(32)}, "complex array"),
    ({"mask": np.full((32, 32), 4)}, "mask must be True or 1 at good pixels"),
    ({"propagation": "near-field"}, "the near field needs"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_is_no_scan_is_one_sentence(
    truth: pp.Scan, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(pp.InputError, match=words):
        pp.Scan.from_arrays(**arrays(truth) | change)


def test_amplitudes_are_not_taken_for_counts(truth: pp.Scan) -> None:
    with pytest.raises(pp.InputError, match="square them"):
        pp.Scan.from_arrays(np.sqrt(truth.diffraction), truth.positions_px, truth.probe)  # type: ignore[call-overload]


@pytest.mark.parametrize("modes", [10**9, 33, 2.5, "3", True])
def test_modes_beyond_what_a_machine_holds(modes: Any) -> None:
    scan = pp.simulate(N=32, patterns=4, seed=3)
    with pytest.raises(pp.InputError, match="modes must be a whole number up to 32"):
        pp.Scan.from_arrays(scan.diffraction, scan.positions_px, scan.probe, modes=modes)


def test_a_pixel_size_that_is_no_number() -> None:
    scan = pp.simulate(N=32, patterns=4, seed=3)
    with pytest.raises(pp.InputError, match="pixel_size_m must be positive, received '10 nm'"):
        pp.Scan.from_arrays(
            scan.diffraction, scan.positions_px, scan.probe, unit="um", pixel_size_m="10 nm"
        )
