"""What real files have: numbers that are no counts, units, other axes, lengths that disagree."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.findings import recorded_findings
from ptychopinn.errors import InputError
from ptychopinn.io import load_scan, read_probe, save_scan
from ptychopinn.io.convert import convert
from ptychopinn.physics.forward import intensities
from scan_files import (
    COLUMNS,
    DETECTOR,
    DISTANCE,
    ENERGY,
    FORMATS,
    JOULE,
    PIXEL,
    ROWS,
    Content,
    M,
    N,
    counts_of,
    load,
    positions_of,
    probe_of,
    write,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases"


def names(scan: pp.Scan) -> list[str]:
    return [finding.name for finding in recorded_findings(scan.provenance)]


def gap() -> np.ndarray:
    """Bad pixels as a detector has them: a gap between modules, and a single one."""
    bad = np.zeros((N, N), bool)
    bad[:, 10:12] = bad[25] = bad[3, 4] = True
    return bad


def same_patterns(scan: pp.Scan, counts: np.ndarray, bad: np.ndarray | None = None) -> None:
    good = np.ones((N, N), bool) if bad is None else ~bad
    np.testing.assert_array_equal(scan.good_pixels, good)
    np.testing.assert_array_equal(scan.diffraction[:][:, good], counts[:, good])


# --- values that stand for "no pixel" ---------------------------------------------------------

# name: (type, value, formats that cannot hold it or mean another thing by it)
VALUES: dict[str, tuple[Any, float, tuple[str, ...]]] = {
    "u16": (np.uint16, 2**16 - 1, ()),
    "u32": (np.uint32, 2**32 - 1, ()),
    "u32 dead": (np.uint32, 2**32 - 2, ()),
    "u64": (np.uint64, 2**64 - 1, ("native",)),
    "i32": (np.int32, -1, ("native",)),
    "i16 dead": (np.int16, -2, ("native",)),
    "i32 largest": (np.int32, 2**31 - 1, ("native",)),
    "u16 in i64": (np.int64, 65535, ("native",)),
    "20 bits": (np.uint32, 2**20 - 1, ()),
    "f32 NaN": (np.float32, np.nan, ("npz", "npz-last")),
    "f32 infinity": (np.float32, np.inf, ("npz", "npz-last")),
    "f32 u32": (np.float32, 2.0**32, ("npz", "npz-last")),
    "f32 -1": (np.float32, -1, ("npz", "npz-last")),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("masked", [False, True])
def test_numbers_for_no_pixel(kind: str, value: str, masked: bool, tmp_path: Path) -> None:
    dtype, number, not_in = VALUES[value]
    if kind in not_in or (masked and kind == "tike"):
        pytest.skip("the format holds no such numbers, or no mask")
    counts = counts_of()
    stored = counts.astype(dtype)
    stored[:, gap()] = number
    scan = load(kind, tmp_path, Content(counts=stored, bad=gap() if masked else None))
    same_patterns(scan, counts, gap())
    assert names(scan) == ([] if masked else ["sentinel-pixels"])
    if not masked:
        (finding,) = recorded_findings(scan.provenance)
        assert finding.details["pixels"] == gap().sum()
        assert f"{gap().sum()} of {N * N} pixels" in finding.message


@pytest.mark.parametrize("number", [np.nan, 65535.0, -1.0, np.inf])
def test_amplitudes_with_numbers_for_no_pixel(number: float, tmp_path: Path) -> None:
    counts = counts_of()
    stored = np.sqrt(counts.astype(np.float64))
    stored[:, gap()] = np.sqrt(number) if number > 0 else number
    scan = load("npz", tmp_path, Content(counts=stored.astype(np.float32)))
    same_patterns(scan, counts, gap())
    assert names(scan) == ["sentinel-pixels"]


def test_pixels_of_which_the_mask_knows_only_some(tmp_path: Path) -> None:
    counts, stored = counts_of(), counts_of().astype(np.float32)
    stored[:, gap()] = np.nan
    known = gap()
    known[25] = False
    same_patterns(load("cxi", tmp_path, Content(counts=stored, bad=known)), counts, gap())


def test_nearly_all_patterns_are_enough_and_a_saturated_peak_is_no_gap(tmp_path: Path) -> None:
    counts = np.tile(counts_of(), (4, 1, 1)).astype(np.uint32)
    positions = np.concatenate([positions_of() + k for k in range(4)])
    stored = counts.copy()
    stored[:, gap()] = 2**32 - 1
    stored[[7, 40], 3, 4] = 0
    stored[::3, 16, 16] = 2**32 - 1  # in a third of the patterns: no gap
    scan = load("cxi", tmp_path, Content(counts=stored, positions=positions))
    np.testing.assert_array_equal(scan.good_pixels, ~gap())


@pytest.mark.parametrize("kind", ["cxi", "ptychodus", "training", "fold_slice", "tike", "arrays"])
def test_numbers_in_single_patterns_are_named(kind: str, tmp_path: Path) -> None:
    stored = counts_of().astype(np.float32)
    stored[[3, 17], 5, 6] = np.nan
    with pytest.raises(InputError, match=r"2 patterns \(3, 17\)"):
        load(kind, tmp_path, Content(counts=stored))


# --- patterns without any count ----------------------------------------------------------------

NOTHING: dict[str, tuple[Any, float]] = {
    "u16": (np.uint16, 2**16 - 1),
    "u32 dead": (np.uint32, 2**32 - 2),
    "i32": (np.int32, -1),
    "f32 NaN": (np.float32, np.nan),
    "f32 -1": (np.float32, -1),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("value", NOTHING)
def test_a_pattern_that_holds_no_measurement_is_left_out(
    kind: str, value: str, tmp_path: Path
) -> None:
    """A detector or a program that lost a frame writes one number all over."""
    dtype, number = NOTHING[value]
    if (kind.startswith("npz") and dtype is np.float32) or (kind == "native" and dtype is np.int32):
        pytest.skip("the format holds no such numbers")
    counts = counts_of()
    stored = counts.astype(dtype)
    stored[[3, 17]] = number
    # Two faults at once: the gap is there in all patterns.
    stored[:, gap()] = number
    scan = load(kind, tmp_path, Content(counts=stored))
    np.testing.assert_array_equal(scan.good_pixels, ~gap())
    checked = pp.check_scan(scan)
    left = [f.details["patterns"] for f in checked.findings if "patterns" in f.details]
    assert left == [[3, 17]]
    kept = np.delete(counts, [3, 17], axis=0)
    same_patterns(checked.scan, kept, gap())
    # It makes the probe no brighter.
    power = (np.abs(checked.scan.probe) ** 2).sum()
    clean = load_scan(write(kind, tmp_path, Content(bad=gap()))) if kind == "cxi" else None
    if clean is not None:
        assert power == pytest.approx((np.abs(clean.probe) ** 2).sum(), rel=0.05)


def test_flooded_patterns_do_not_put_the_blame_on_the_probe(tmp_path: Path) -> None:
    counts = counts_of().astype(np.uint32)
    counts[[3, 17]] = 60_000
    scan = load("native", tmp_path, Content(counts=counts))
    assert [f.name for f in pp.check_scan(scan).findings] == ["flooded-patterns"]


def test_real_and_imaginary_parts_are_no_two_modes(tmp_path: Path) -> None:
    pair = np.stack([probe_of().real, probe_of().imag])
    for kind, stored in (("npz", pair), ("npz", np.moveaxis(pair, 0, -1)), ("arrays", pair)):
        with pytest.raises(InputError, match="must be complex, received real numbers of shape"):
            load(kind, tmp_path, Content(probe=stored))
    modes = load("npz", tmp_path, Content(probe=np.abs(pair))).probe
    assert modes.shape == (2, N, N)


def test_patterns_of_which_too_much_was_subtracted_are_no_lost_ones(tmp_path: Path) -> None:
    """Their numbers differ; clipped, they would be empty."""
    noise = np.random.default_rng(2).normal(0, 1, (5, N, N))
    stored = counts_of().astype(np.float32)
    stored[:5] = noise - 30
    with pytest.raises(InputError, match=r">= 0.*no noise about zero"):
        load("cxi", tmp_path, Content(counts=stored))


def test_clean_scans_are_left_alone(tmp_path: Path) -> None:
    for kind in FORMATS:
        folder = tmp_path / kind
        folder.mkdir()
        scan = load(kind, folder, Content())
        same_patterns(scan, counts_of())
        assert names(scan) == [] and scan.mask is None, kind


def test_what_a_reader_masked_goes_along_when_converting(tmp_path: Path) -> None:
    counts, stored = counts_of(), counts_of().astype(np.uint32)
    stored[:, gap()] = 2**32 - 1
    source = write("cxi", tmp_path, Content(counts=stored))
    for name in ("a.h5", "b.npz", "pair", "c_dp.hdf5", "d.cxi"):
        convert(source, tmp_path / "out" / name)
        same_patterns(load_scan(tmp_path / "out" / name), counts, gap())


# --- negative counts --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cxi", "fold_slice", "npz", "native", "arrays"])
def test_noise_about_zero_is_clipped_and_said(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).normal(0, 0.4, (M, N, N))
    stored = (counts_of() * 3 + noise).astype(np.float32)
    scan = load(kind, tmp_path, Content(counts=stored))
    np.testing.assert_array_equal(scan.diffraction[:], np.maximum(stored, 0))
    assert names(scan) == ["negative-counts"]


@pytest.mark.parametrize("kind", ["cxi", "ptychodus", "npz", "tike", "native", "arrays"])
def test_an_offset_is_no_noise(kind: str, tmp_path: Path) -> None:
    stored = counts_of().astype(np.float32) - 3.25
    stored += np.random.default_rng(3).normal(0, 0.5, stored.shape).astype(np.float32)
    with pytest.raises(InputError, match="clip_negative=True"):
        load(kind, tmp_path, Content(counts=stored))
    options = {"units": "counts"} if kind in ("npz", "tike") else {}
    scan = load(kind, tmp_path, Content(counts=stored), clip_negative=True, **options)
    np.testing.assert_array_equal(scan.diffraction[:], np.maximum(stored, 0))


def test_integers_minus_a_dark_image(tmp_path: Path) -> None:
    noise = np.rint(np.random.default_rng(3).normal(0, 0.7, (M, N, N)))
    stored = (counts_of() * 3 + noise).astype(np.int32)
    scan = load("cxi", tmp_path, Content(counts=stored))
    np.testing.assert_array_equal(scan.diffraction[:], np.maximum(stored, 0))
    # An offset of one leaves -1 where nothing was counted, in some patterns or in all.
    with pytest.raises(InputError, match="-1"):
        load("cxi", tmp_path, Content(counts=counts_of().astype(np.int32) - 1))


# --- masks of the opposite meaning ------------------------------------------------------------


@pytest.mark.parametrize(("kind", "words"), [("cxi", "0 marks good pixels"), ("npz", "True or 1")])
def test_a_mask_that_leaves_nothing(kind: str, words: str, tmp_path: Path) -> None:
    """As of ones that mean good, where they mean bad."""
    with pytest.raises(InputError, match=f"marks all 1024 pixels as bad; here {words}"):
        load(kind, tmp_path, Content(bad=np.ones((N, N), bool)))


@pytest.mark.parametrize("kind", [k for k in FORMATS if k != "tike"])
def test_a_mask_of_the_opposite_meaning(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="opposite"):
        load(kind, tmp_path, Content(bad=~gap()))


def test_beamstops_and_saturated_centres_are_masks(tmp_path: Path) -> None:
    v, u = np.indices((N, N)) - N / 2
    bad = np.hypot(v, u) < 5
    for counts in (counts_of(), np.where(bad, 0, counts_of()).astype(np.uint16)):
        same_patterns(load("cxi", tmp_path, Content(counts=counts, bad=bad)), counts, bad)
    # A small detector within a large array.
    outside = np.hypot(v, u) > 10
    same_patterns(load("npz", tmp_path, Content(bad=outside)), counts_of(), outside)


# --- units ------------------------------------------------------------------------------------

DET, GEO = "instrument_1/detector_1", "sample_1/geometry_1/translation"
SOURCE, BEAM = "instrument_1/source_1/energy", "instrument_1/beam_1/energy"
TRANSLATION = np.concatenate([positions_of()[:, ::-1] * PIXEL, np.zeros((M, 1))], axis=1)
UNITS: dict[str, dict[str, tuple[Any, str]]] = {
    "eV": {SOURCE: (ENERGY, "eV")},
    "keV": {SOURCE: (ENERGY / 1e3, "keV")},
    "joule": {SOURCE: (ENERGY * JOULE, "Joule")},
    "J": {SOURCE: (ENERGY * JOULE, "J")},
    "one for each pattern": {SOURCE: (np.full(M, ENERGY), "eV")},
    "distance mm": {f"{DET}/distance": (DISTANCE * 1e3, "mm")},
    "distance cm": {f"{DET}/distance": (-DISTANCE * 1e2, "cm")},
    "pixel um": {f"{DET}/{a}_pixel_size": (DETECTOR * 1e6, "um") for a in "xy"},
    "pixel micro sign": {f"{DET}/{a}_pixel_size": (DETECTOR * 1e6, "\u00b5m") for a in "xy"},
    "pixel mm": {f"{DET}/{a}_pixel_size": (DETECTOR * 1e3, " mm ") for a in "xy"},
    "translation um": {GEO: (TRANSLATION * 1e6, "um")},
    "translation nm": {GEO: (TRANSLATION * 1e9, "nm")},
    "translation mm": {GEO: (TRANSLATION * 1e3, "millimeter")},
    "translation angstrom": {GEO: (TRANSLATION * 1e10, "angstrom")},
    "beam": {BEAM: (ENERGY, "eV"), SOURCE: (0.0, "J")},
    "beam in J": {BEAM: (ENERGY * JOULE, ""), SOURCE: (ENERGY * JOULE, "")},
    "beam without units": {BEAM: (ENERGY, ""), SOURCE: (ENERGY * JOULE, "")},
    "beam and ring": {BEAM: (ENERGY / 1e3, "keV"), SOURCE: (3.0, "GeV")},
}


@pytest.mark.parametrize("case", UNITS)
def test_units_of_attributes_are_obeyed(case: str, tmp_path: Path) -> None:
    changes = UNITS[case]
    content = Content(
        raw={key: value for key, (value, _) in changes.items()},
        units={key: unit for key, (_, unit) in changes.items() if unit},
    )
    scan = load("cxi", tmp_path, content)
    plain = load("cxi", tmp_path, Content())
    assert scan.energy_eV == pytest.approx(ENERGY)
    assert scan.distance_m == pytest.approx(DISTANCE)
    assert scan.pixel_size_m == pytest.approx(PIXEL)
    np.testing.assert_allclose(scan.positions_px, plain.positions_px, atol=1e-6)


WRONG_UNITS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "energy in eV": ({SOURCE: ENERGY}, {}, r"source_1/energy'.*6200 J.*looks like eV"),
    "energy in keV": ({SOURCE: ENERGY / 1e3}, {}, r"source_1/energy'.*looks like keV"),
    "distance in mm": ({f"{DET}/distance": 800.0}, {}, r"distance'.*800 m.*looks like mm"),
    "pixel in um": ({f"{DET}/y_pixel_size": 75.0}, {}, r"y_pixel_size'.*75 m.*looks like um"),
    "translation in um": ({GEO: TRANSLATION * 1e6}, {}, r"span of .* m.*look like um"),
    "translation in nm": ({GEO: TRANSLATION * 1e9}, {}, r"span of .* m.*look like nm"),
    "two energies": ({BEAM: 7000.0}, {}, "7000 eV and 6200 eV"),
    "unknown unit": ({}, {f"{DET}/distance": "furlong"}, "'furlong'"),
    "another kind of unit": ({}, {f"{DET}/distance": "eV"}, "'eV'"),
}


@pytest.mark.parametrize("case", WRONG_UNITS)
def test_numbers_that_no_experiment_has_are_named(case: str, tmp_path: Path) -> None:
    raw, units, words = WRONG_UNITS[case]
    with pytest.raises(InputError, match=words) as error:
        load("cxi", tmp_path, Content(raw=raw, units=units))
    assert "\n" not in str(error.value)


def attribute(path: Path, key: str, unit: str, value: Any = None) -> None:
    with h5py.File(path, "r+") as file:
        if value is not None:
            file[key][...] = value
        file[key].attrs["units"] = unit


def test_units_in_the_other_hdf5_formats(tmp_path: Path) -> None:
    positions = positions_of()
    training = write("training", tmp_path, Content())
    attribute(training, "photon_energy_eV", "keV", ENERGY / 1e3)
    attribute(training, "detector_object_distance_m", "mm", DISTANCE * 1e3)
    for side in ("width", "height"):
        with h5py.File(training, "r+") as file:
            # Both names may lead to one number.
            del file[f"object_pixel_{side}_m"]
            file[f"object_pixel_{side}_m"] = PIXEL * 1e9
        attribute(training, f"object_pixel_{side}_m", "nm")
    pair = write("fold_slice", tmp_path, Content()).with_name("scan_para.hdf5")
    attribute(pair, "ppX", "um", positions[:, 1] * PIXEL * 1e6)
    attribute(pair, "ppY", "nm", positions[:, 0] * PIXEL * 1e9)
    attribute(pair, "dx", "angstrom", PIXEL * 1e10)
    attribute(pair, "lambda", "\u00c5", 12398.419843320026 / ENERGY)
    folder = write("ptychodus", tmp_path, Content())
    for axis, k in (("x", 1), ("y", 0)):
        attribute(folder / "product.h5", f"probe_position_{axis}_m", "um",
                  positions[:, k] * PIXEL * 1e6)  # fmt: skip
    for path in (training, pair, folder):
        scan = load_scan(path)
        assert scan.energy_eV == pytest.approx(ENERGY)
        assert scan.pixel_size_m == pytest.approx(PIXEL)
        moved = scan.positions_px - positions
        np.testing.assert_allclose(moved - moved[0], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("lambda", 0.2, r"'lambda'.*looks like nm"),
        ("lambda", 2.0, r"'lambda'.*looks like (nm|angstrom)"),
        ("dx", 20.0, r"'dx'.*looks like nm"),
    ],
)
def test_a_pair_in_other_units(key: str, value: float, words: str, tmp_path: Path) -> None:
    write("fold_slice", tmp_path, Content())
    with h5py.File(tmp_path / "scan_para.hdf5", "r+") as file:
        file[key][...] = value
    with pytest.raises(InputError, match=words):
        load_scan(tmp_path / "scan_dp.hdf5")


@pytest.mark.parametrize(
    ("name", "value"),
    [("energy_eV", 1e-15), ("energy_eV", 6e9), ("pixel_size_m", 20.0), ("distance_m", 800.0)],
)
def test_numbers_of_arrays_and_native_files(name: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name} must be between"):
        pp.Scan.from_arrays(counts_of(), positions_of(), probe_of(), **{name: value})
    path = write("native", tmp_path, Content())
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(InputError, match=f"{name} must be between"):
        load_scan(path)


# --- axes -------------------------------------------------------------------------------------


def grid(array: np.ndarray) -> np.ndarray:
    return array.reshape(ROWS, COLUMNS, *array.shape[1:])


@pytest.mark.parametrize("shape", ["3xN", "2xN", "grid", "grid first", "N x 2"])
def test_translations_in_other_orders(shape: str, tmp_path: Path) -> None:
    change = {
        "3xN": TRANSLATION.T,
        "2xN": TRANSLATION[:, :2].T,
        "grid": grid(TRANSLATION),
        "grid first": np.moveaxis(grid(TRANSLATION), -1, 0),
        "N x 2": TRANSLATION[:, :2],
    }[shape]
    scan = load("cxi", tmp_path, Content(raw={GEO: change}))
    plain = load("cxi", tmp_path, Content())
    np.testing.assert_allclose(scan.positions_px, plain.positions_px, atol=1e-6)
    same_patterns(scan, counts_of())


def test_three_positions_are_read_as_the_standard_says(tmp_path: Path) -> None:
    scan = load("cxi", tmp_path, Content(counts=counts_of()[:3], positions=positions_of()[:3]))
    plain = positions_of()[:3]
    moved = scan.positions_px - plain
    np.testing.assert_allclose(moved - moved[0], 0, atol=1e-6)


@pytest.mark.parametrize("kind", ["cxi", "ptychodus", "training", "fold_slice", "arrays", "npz"])
def test_patterns_on_a_grid(kind: str, tmp_path: Path) -> None:
    scan = load(kind, tmp_path, Content(counts=grid(counts_of())))
    same_patterns(scan, counts_of())


def test_positions_on_a_grid(tmp_path: Path) -> None:
    plain = positions_of()
    made = pp.Scan.from_arrays(grid(counts_of()), grid(plain), probe_of())
    np.testing.assert_array_equal(made.positions_px, plain)
    turned = pp.Scan.from_arrays(counts_of(), plain.T, probe_of())
    np.testing.assert_array_equal(turned.positions_px, plain)
    np.savez(
        tmp_path / "a.npz", diff3d=grid(counts_of()), xcoords=grid(plain)[..., 1],
        ycoords=grid(plain)[..., 0], probeGuess=probe_of(),
    )  # fmt: skip
    np.testing.assert_array_equal(load_scan(tmp_path / "a.npz").positions_px, plain)


@pytest.mark.parametrize("kind", ["cxi", "ptychodus", "training", "fold_slice", "arrays"])
def test_patterns_that_come_last(kind: str, tmp_path: Path) -> None:
    if kind == "ptychodus":
        folder = write(kind, tmp_path, Content())
        with h5py.File(folder / "diffraction.h5", "r+") as file:
            del file["patterns"]
            file["patterns"] = np.moveaxis(counts_of(), 0, -1)
        same_patterns(load_scan(folder), counts_of())
        return
    scan = load(kind, tmp_path, Content(counts=np.moveaxis(counts_of(), 0, -1)))
    same_patterns(scan, counts_of())


def modes() -> np.ndarray:
    return np.stack([probe_of(), 0.3 * np.roll(probe_of(), 3, 1), 0.1 * np.roll(probe_of(), 5, 0)])


@pytest.mark.parametrize("kind", ["cxi", "ptychodus", "training", "fold_slice", "arrays", "npz"])
@pytest.mark.parametrize("axes", ["(N, N, P)", "(N, N, P, 1)"])
def test_probe_modes_that_come_last(kind: str, axes: str, tmp_path: Path) -> None:
    last = np.moveaxis(modes(), 0, -1)
    if axes.endswith("1)"):
        last = last[..., None]
    content = Content(raw={"image_1/data": last}) if kind == "cxi" else Content(probe=last)
    scan = load(kind, tmp_path, content)
    np.testing.assert_allclose(scan.probe / scan.probe[0, 16, 16], modes() / modes()[0, 16, 16],
                               rtol=1e-4, atol=1e-5)  # fmt: skip


# --- lengths that do not agree ----------------------------------------------------------------

IN_ORDER = [k for k in FORMATS if k not in ("ptychodus", "arrays")]


@pytest.mark.parametrize("kind", IN_ORDER)
def test_a_first_pattern_too_many(kind: str, tmp_path: Path) -> None:
    counts = np.concatenate([counts_of(9)[:1], counts_of()])
    with pytest.raises(InputError, match=rf"{M + 1} patterns and {M} positions.*frames='1:'"):
        load(kind, tmp_path, Content(counts=counts))
    for frames in ("1:", slice(1, None), f"1:{M + 1}", f"-{M}:"):
        same_patterns(load(kind, tmp_path, Content(counts=counts), frames=frames), counts_of())
    with pytest.raises(InputError, match="does not leave equal"):
        load(kind, tmp_path, Content(counts=counts), frames="2:")


@pytest.mark.parametrize("kind", IN_ORDER)
def test_fewer_positions_than_patterns(kind: str, tmp_path: Path) -> None:
    content = Content(positions=positions_of()[:-4])
    with pytest.raises(InputError, match=f"{M} patterns and {M - 4} positions"):
        load(kind, tmp_path, content)
    same_patterns(load(kind, tmp_path, content, frames=f":{M - 4}"), counts_of()[:-4])


@pytest.mark.parametrize("kind", IN_ORDER)
def test_more_positions_than_patterns(kind: str, tmp_path: Path) -> None:
    positions = positions_of()
    content = Content(counts=counts_of()[2:])
    with pytest.raises(InputError, match=f"{M - 2} patterns and {M} positions.*which positions"):
        load(kind, tmp_path, content)
    scan = load(kind, tmp_path, content, frames="2:")
    same_patterns(scan, counts_of()[2:])
    np.testing.assert_allclose(np.diff(scan.positions_px, axis=0), np.diff(positions[2:], axis=0),
                               atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("kind", [k for k in FORMATS if k != "arrays"])
def test_a_part_of_a_scan(kind: str, tmp_path: Path) -> None:
    plain = load(kind, tmp_path, Content())
    scan = load(kind, tmp_path, Content(), frames="5:17")
    same_patterns(scan, counts_of()[5:17])
    np.testing.assert_allclose(np.diff(scan.positions_px, axis=0),
                               np.diff(plain.positions_px[5:17], axis=0), atol=1e-6)  # fmt: skip
    assert scan.provenance["frames"] == "5:17"


def test_a_lazy_part_saves_as_it_reads(tmp_path: Path) -> None:
    path = write("native", tmp_path, Content())
    part = load_scan(path, frames="3:20:2")
    again = load_scan(save_scan(part, tmp_path / "part.h5"))
    same_patterns(again, counts_of()[3:20:2])
    np.testing.assert_array_equal(part.diffraction[[2, 0, 2]], counts_of()[[7, 3, 7]])


@pytest.mark.parametrize("frames", ["x", "1", "5:5", "99:", "::-1", "1:2:3:4", 3, slice(0, 5, -1)])
def test_frames_that_are_none(frames: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frames must"):
        load("npz", tmp_path, Content(), frames=frames)


def test_pairs_by_index_say_what_they_left_out_and_made_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write("ptychodus", tmp_path, Content(positions=positions_of()[:-4]))
    scan = load_scan(folder)
    assert names(scan) == ["unpaired-patterns"] and scan.M == M - 4
    assert f"left out 4 of {M} patterns" in caplog.text
    with h5py.File(folder / "product.h5", "r+") as file:
        for key in ("probe_position_x_m", "probe_position_y_m", "probe_position_indexes"):
            values = np.delete(file[key][()], [5, 6])
            del file[key]
            file[key] = values
    assert names(load_scan(folder)) == ["unpaired-patterns", "interpolated-positions"]
    done = convert(folder, tmp_path / "x.cxi")
    assert "4 patterns without position" in done.losses


def test_a_first_pattern_too_many_in_a_pair_with_indexes(tmp_path: Path) -> None:
    counts = np.concatenate([counts_of(9)[:1], counts_of()])
    folder = write("ptychodus", tmp_path, Content(counts=counts))
    assert names(load_scan(folder)) == ["unpaired-patterns"]
    scan = load_scan(folder, frames="1:")
    same_patterns(scan, counts_of())
    assert names(scan) == []


def test_a_cxi_of_this_program_with_a_pattern_too_many_is_refused(tmp_path: Path) -> None:
    path = convert(write("npz", tmp_path, Content()), tmp_path / "a.cxi").files[0]
    with h5py.File(path, "r+") as file:
        del file["entry_1/data_1/data"], file["entry_1/instrument_1/detector_1/data"]
        file["entry_1/data_1/data"] = np.concatenate([counts_of(9)[:1], counts_of()])
    with pytest.raises(InputError, match="frames='1:'"):
        load_scan(path)
    same_patterns(load_scan(path, frames="1:"), counts_of())


# --- links and compression --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Bitshuffle", "LZ4", "Zstd", "Blosc", "Bitshuffle zstd"])
@pytest.mark.parametrize("virtual", [False, True])
def test_compressions_of_beamlines(name: str, virtual: bool, tmp_path: Path) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin")
    how = {"Bitshuffle zstd": lambda: hdf5plugin.Bitshuffle(cname="zstd")}.get(
        name, lambda: getattr(hdf5plugin, name.split()[0])()
    )()
    path = write("cxi", tmp_path, Content(raw={f"{DET}/data": None}))
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("data", data=counts_of(), chunks=(1, N, N), **how)
    with h5py.File(path, "r+") as file:
        if virtual:
            layout = h5py.VirtualLayout((M, N, N), np.uint16)
            layout[:] = h5py.VirtualSource("data.h5", "data", (M, N, N))
            file.create_virtual_dataset(f"entry_1/{DET}/data", layout)
        else:
            file[f"entry_1/{DET}/data"] = h5py.ExternalLink("data.h5", "data")
    same_patterns(load_scan(path), counts_of())


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((1, 4, 4))
        created.set_filter(511, h5py.h5z.FLAG_OPTIONAL, (1,))
        space = h5py.h5s.create_simple((2, 4, 4))
        h5py.h5d.create(file.id, b"probe", h5py.h5t.NATIVE_DOUBLE, space, created)
    with pytest.raises(InputError, match="filter 511"):
        read_probe(f"{path}:probe")


def test_raw_files_are_told_what_makes_a_scan_of_them(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    master = tmp_path / "a b" / "x_master.h5"
    with h5py.File(tmp_path / "a b" / "x_data_000001.h5", "w") as file:
        file["entry/data/data"] = counts_of()
    with h5py.File(master, "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("x_data_000001.h5", "entry/data/data")
    with pytest.raises(InputError, match=re.escape(f"ptychopinn prepare '{master}' ")):
        load_scan(master)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["small"], file["deep/frames"] = np.ones((2, 3, 3)), counts_of()
        file["motors/x"] = positions_of()[:, 1]
    with pytest.raises(
        InputError, match=re.escape(f"ptychopinn prepare {other} --patterns deep/frames")
    ):
        load_scan(other)
    tiff = tmp_path / "stack.tif"
    tiff.write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(InputError, match=re.escape(f"ptychopinn prepare {tiff}")):
        load_scan(tiff)


# --- MATLAB -----------------------------------------------------------------------------------


def v73(path: Path, arrays: dict[str, np.ndarray], size: int = 512) -> Path:
    """Arrays as MATLAB 7.3 writes them: a block of text first, axes backwards, complex pairs."""
    with h5py.File(path, "w", userblock_size=size) as file:
        for key, value in arrays.items():
            turned = np.ascontiguousarray(value.T)
            if np.iscomplexobj(turned):
                pair = np.empty(turned.shape, [("real", "f8"), ("imag", "f8")])
                pair["real"], pair["imag"] = turned.real, turned.imag
                turned = pair
            file[key] = turned
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path


@pytest.mark.parametrize("size", [512, 1024, 4096])
def test_probes_of_matlab_73(size: int, tmp_path: Path) -> None:
    last = np.moveaxis(modes(), 0, -1)
    path = v73(
        tmp_path / "p.mat", {"probe": probe_of(), "modes": last, "all": last[..., None]}, size
    )
    np.testing.assert_array_equal(read_probe(str(path))[0], probe_of())
    np.testing.assert_array_equal(read_probe(f"{path}:modes"), modes())
    np.testing.assert_array_equal(read_probe(f"{path}:all"), modes())


@pytest.mark.parametrize("compressed", [False, True])
def test_probes_of_matlab_5(compressed: bool, tmp_path: Path) -> None:
    from scipy.io import savemat

    last = np.moveaxis(modes(), 0, -1)
    content = {"probe": probe_of(), "modes": last, "all": np.stack([last, 0 * last], -1), "t": "x"}
    savemat(tmp_path / "p.mat", content, do_compression=compressed)
    path = str(tmp_path / "p.mat")
    np.testing.assert_array_equal(read_probe(path)[0], probe_of())
    np.testing.assert_array_equal(read_probe(f"{path}:modes"), modes())
    np.testing.assert_array_equal(read_probe(f"{path}:all"), modes())
    for key, words in (("nothing", "FILE:KEY"), ("t", "numbers")):
        with pytest.raises(InputError, match=words):
            read_probe(f"{path}:{key}")
    (tmp_path / "cut.mat").write_bytes((tmp_path / "p.mat").read_bytes()[:300])
    with pytest.raises(InputError):
        read_probe(f"{tmp_path / 'cut.mat'}:probe")


@pytest.mark.parametrize("names_of_parts", [("real", "imag"), ("re", "im"), ("r", "i")])
def test_complex_numbers_as_pairs(names_of_parts: tuple[str, str], tmp_path: Path) -> None:
    pair = np.empty((N, N), [(name, "f4") for name in names_of_parts])
    # Only MATLAB says (real, imag), and turns the axes.
    stored = probe_of().T if names_of_parts[0] == "real" else probe_of()
    pair[names_of_parts[0]], pair[names_of_parts[1]] = stored.real, stored.imag
    write("fold_slice", tmp_path, Content())
    with h5py.File(tmp_path / "scan_para.hdf5", "r+") as file:
        del file["probe"]
        file["probe"] = pair
    scan = load_scan(tmp_path / "scan_dp.hdf5")
    np.testing.assert_allclose(scan.probe[0] / scan.probe[0, 16, 16],
                               probe_of() / probe_of()[16, 16], rtol=1e-4)  # fmt: skip


def test_a_pair_in_matlab_files(tmp_path: Path) -> None:
    write("fold_slice", tmp_path, Content())
    y, x = positions_of().T * PIXEL
    v73(tmp_path / "m_dp.mat", {"dp": np.moveaxis(counts_of(), 0, -1)})
    v73(tmp_path / "m_para.mat", {
        "ppX": x[:, None], "ppY": y[:, None], "dx": np.array([[PIXEL]]), "probe": probe_of(),
        "lambda": np.array([[12.398419843320026e-7 / ENERGY]]),
    })  # fmt: skip
    scan, plain = load_scan(tmp_path / "m_dp.mat"), load_scan(tmp_path / "scan_dp.hdf5")
    same_patterns(scan, counts_of())
    np.testing.assert_allclose(scan.positions_px, plain.positions_px, atol=1e-9)
    np.testing.assert_allclose(scan.probe, plain.probe, rtol=1e-5)


# --- fractional numbers -----------------------------------------------------------------------


def corrected() -> np.ndarray:
    flat = np.random.default_rng(4).normal(1, 0.03, (N, N)).clip(0.9, 1.1)
    return (counts_of() / flat).astype(np.float32)


@pytest.mark.parametrize("kind", ["npz", "npz-last"])
def test_fractional_numbers_need_their_unit(kind: str, tmp_path: Path) -> None:
    content = Content(counts=corrected())
    with pytest.raises(InputError, match=r"units='counts'.*units='amplitude'") as error:
        load(kind, tmp_path, content)
    assert f"{corrected().sum() / M:.4g} per pattern" in str(error.value)
    scan = load(kind, tmp_path, content, units="counts")
    assert scan.diffraction.dtype == np.float32
    np.testing.assert_array_equal(scan.diffraction[:], corrected())
    squared = load(kind, tmp_path, content, units="amplitude")
    np.testing.assert_allclose(squared.diffraction[:], corrected() ** 2, rtol=1e-6)


def test_tike_asks_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="units='counts'"):
        load("tike", tmp_path, Content(counts=corrected()))
    scan = load("tike", tmp_path, Content(counts=corrected()), units="counts")
    np.testing.assert_array_equal(scan.diffraction[:], corrected())


@pytest.mark.parametrize("kind", ["cxi", "ptychodus", "training", "fold_slice", "arrays"])
def test_formats_that_say_counts_may_hold_fractions(kind: str, tmp_path: Path) -> None:
    scan = load(kind, tmp_path, Content(counts=corrected()))
    np.testing.assert_array_equal(scan.diffraction[:], corrected())
    with pytest.raises(InputError, match=r"look like sqrt\(counts\)"):
        load(kind, tmp_path, Content(counts=np.sqrt(counts_of(), dtype=np.float32)))
    if kind != "arrays":
        amplitudes = Content(counts=np.sqrt(counts_of(), dtype=np.float32))
        same_patterns(load(kind, tmp_path, amplitudes, units="amplitude"), counts_of())


@pytest.mark.parametrize("stored", ["counts", "amplitude"])
def test_the_object_in_the_file_tells_the_unit(stored: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    obj = 0.7 * np.exp(1j * rng.normal(0, 0.4, (90, 90)))
    expected = intensities(obj, 90 * probe_of()[None], positions_of())
    write("npz", tmp_path, Content(counts=expected if stored == "counts" else np.sqrt(expected)))
    with np.load(tmp_path / "scan.npz") as file:
        content = dict(file)
    np.savez(tmp_path / "scan.npz", **content, objectGuess=obj)
    scan = load_scan(tmp_path / "scan.npz")
    np.testing.assert_allclose(scan.diffraction[:], expected, rtol=1e-5)


@pytest.mark.parametrize("stored", ["counts", "amplitude"])
def test_the_stated_number_of_photons_tells_the_unit(stored: str, tmp_path: Path) -> None:
    expected = corrected()
    write("npz", tmp_path, Content(counts=expected if stored == "counts" else np.sqrt(expected)))
    with np.load(tmp_path / "scan.npz") as file:
        content = dict(file)
    np.savez(tmp_path / "scan.npz", **content, nphotons=expected.sum() / M)
    scan = load_scan(tmp_path / "scan.npz")
    np.testing.assert_allclose(scan.diffraction[:], expected, rtol=1e-5)


# --- shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in FORMATS if k not in ("arrays", "ptychodus")])
@pytest.mark.parametrize(
    ("shape", "ways"),
    [((32, 48), r"--(crop 32|pad 48)"), ((33, 33), r"--(crop 32|pad 34)")],
)
def test_other_shapes_name_what_makes_them_fit(
    kind: str, shape: tuple[int, int], ways: str, tmp_path: Path
) -> None:
    counts = np.random.default_rng(0).poisson(5, (M, *shape)).astype(np.uint16)
    path = write(kind, tmp_path, Content(counts=counts))
    if kind == "training":
        with h5py.File(path, "r+") as file:
            del file["bad_pixels"]
    # Of patterns whose scan is their last axis the first two are told by being alike.
    known = kind != "npz-last" or shape[0] == shape[1]
    with pytest.raises(InputError, match=ways if known else "crop, pad or bin") as error:
        load_scan(path)
    assert ("ptychopinn prepare " in str(error.value)) == known
    assert f"{shape[0]} x {shape[1]} pixels" in str(error.value)


def test_large_patterns_may_be_cropped(tmp_path: Path) -> None:
    counts = np.zeros((2, 1030, 1030), np.uint8)
    path = write("npz", tmp_path, Content(counts=counts, positions=positions_of()[:2]))
    with pytest.raises(InputError, match=r"ptychopinn prepare .*--crop "):
        load_scan(path)


def test_a_mask_for_each_pattern_is_that_of_all(tmp_path: Path) -> None:
    each = np.tile(gap(), (M, 1, 1)).astype(np.uint32)
    same_patterns(load("cxi", tmp_path, Content(raw={f"{DET}/mask": each})), counts_of(), gap())
    each[3, 0, :2] = 1
    scan = load("cxi", tmp_path, Content(raw={f"{DET}/mask": each}))
    assert names(scan) == ["mask-per-pattern"] and (~scan.good_pixels).sum() == gap().sum() + 2


def test_a_wavelength_tells_the_energy(tmp_path: Path) -> None:
    wave = 12398.419843320026 / ENERGY
    key = "instrument_1/beam_1/incident_wavelength"
    raw = {key: np.full(M, wave), SOURCE: None}
    scan = load("cxi", tmp_path, Content(raw=raw, units={key: "angstrom"}))
    assert scan.energy_eV == pytest.approx(ENERGY)
    with pytest.raises(InputError, match=r"incident_wavelength'.*looks like (nm|angstrom)"):
        load("cxi", tmp_path, Content(raw=raw))


def test_normalised_numbers_with_the_photons_of_counts_are_counts(tmp_path: Path) -> None:
    expected = corrected() / 60
    write("npz", tmp_path, Content(counts=expected))
    with np.load(tmp_path / "scan.npz") as file:
        content = dict(file)
    np.savez(tmp_path / "scan.npz", **content, nphotons=expected.sum() / M)
    np.testing.assert_allclose(load_scan(tmp_path / "scan.npz").diffraction[:], expected)
    np.savez(tmp_path / "scan.npz", **content)
    with pytest.raises(InputError, match=r"photons=.*units='counts'"):
        load_scan(tmp_path / "scan.npz")


def test_positions_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    translation = TRANSLATION.copy()
    translation[[4, 9], 0] = np.nan
    with pytest.raises(InputError, match=r"position\(s\) 4, 9"):
        load("cxi", tmp_path, Content(raw={GEO: translation}))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("far", [[1e5, 1e5], [0.0, -2e6], [4e4, np.nan]])
def test_a_single_position_far_away_is_left_out(kind: str, far: Any, tmp_path: Path) -> None:
    positions = positions_of()
    positions[17] = far
    if not np.isfinite(far).all() and not kind.startswith(("npz", "arrays", "tike", "native")):
        pytest.skip("products must hold numbers")
    scan = load(kind, tmp_path, Content(positions=positions))
    (finding,) = recorded_findings(scan.provenance)
    assert (finding.name, finding.level) == ("far-positions", "mended")
    assert "position 17 at" in finding.message and finding.details["positions"] == [17]
    kept = np.delete(np.arange(M), 17)
    np.testing.assert_array_equal(scan.diffraction[:], counts_of()[kept])
    moved = scan.positions_px - positions_of()[kept]
    np.testing.assert_allclose(moved - moved[0], 0, atol=1e-3)


def test_more_far_positions_than_slips_are_an_error(tmp_path: Path) -> None:
    positions = positions_of()
    positions[[3, 17]] += 1e5
    with pytest.raises(InputError, match=r"position (3|17) at .*and so are 1 more"):
        load("npz", tmp_path, Content(positions=positions))


# --- the cases of the shared folder -----------------------------------------------------------

# name: what the message must say, or None where the scan is read, and the findings then
CASES: dict[str, tuple[str | None, list[str]]] = {
    "01_gap_u32.cxi": (None, ["sentinel-pixels"]),
    "01_gap_u16.npz": (None, ["sentinel-pixels"]),
    "01_gap_nan_masked.cxi": (None, []),
    "01_gap_u64_masked.cxi": (None, []),
    "02_energy_eV.cxi": (None, []),
    "02_distance_mm.cxi": (None, []),
    "02_pixel_um.cxi": (None, []),
    "02_translation_um.cxi": (None, []),
    "03_translation_3xN.cxi": (None, []),
    "03_grid_of_patterns.cxi": (None, []),
    "03_probe_modes_last.cxi": (None, []),
    "03_mask_inverted.cxi": ("opposite", []),
    "04_virtual.cxi": (None, []),
    "04_virtual_half_missing.cxi": ("04_gone.h5", []),
    "04_external_link.cxi": (None, []),
    "04_bitshuffle.cxi": (None, []),
    "04_eiger_master.h5": ("ptychopinn prepare", []),
    "05_far_position.npz": (None, ["far-positions"]),
    "06_first_frame_extra.cxi": ("145 patterns and 144 positions.*frames='1:'", []),
    "06_fewer_positions.cxi": ("144 patterns and 130 positions", []),
    "08_dark_subtracted.cxi": ("clip_negative=True", []),
    "12_pair_dp.hdf5": (None, []),
    "13_flat_field_corrected.npz": ("units='counts'", []),
    "15_wide_pattern.npz": ("ptychopinn prepare .*--crop 64", []),
    "15_odd_pattern.npz": ("ptychopinn prepare .*--(pad|crop) 6", []),
    "16_no_probe.h5": ("--patterns", []),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all cases; skips where the shared folder is absent."""
    import runpy

    if not (SHARED / "make_cases.py").is_file():
        pytest.skip(f"the cases are not there: no {SHARED / 'make_cases.py'}")
    folder = tmp_path_factory.mktemp("cases")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path(str(SHARED / "make_cases.py"))["make"](folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_cases_of_the_shared_folder(name: str, cases: Path) -> None:
    words, findings = CASES[name]
    if words is not None:
        with pytest.raises(InputError, match=words):
            load_scan(cases / name)
        return
    base, scan = load_scan(SHARED / "base.h5"), load_scan(cases / name)
    if name.startswith("05"):
        base = base.select(np.delete(np.arange(base.M), 70))
    good = scan.good_pixels
    assert names(scan) == findings
    assert (~good).sum() == (191 if name.startswith("01") else 0)
    np.testing.assert_array_equal(scan.diffraction[:][:, good], base.diffraction[:][:, good])
    moved = scan.positions_px - base.positions_px
    np.testing.assert_allclose(moved - moved[0], 0, atol=1e-4)
    if name != "03_probe_modes_last.cxi" and not name.startswith("01"):
        scale = np.vdot(base.probe, scan.probe) / np.vdot(base.probe, base.probe)
        np.testing.assert_allclose(
            scan.probe, scale * base.probe, atol=1e-3 * abs(scan.probe).max()
        )


@pytest.mark.parametrize("name", ["12_probe_v73.mat", "12_probe_v5.mat"])
def test_probes_of_the_shared_folder(name: str, cases: Path) -> None:
    base = load_scan(SHARED / "base.h5")
    np.testing.assert_allclose(read_probe(f"{cases / name}:probe"), base.probe, rtol=1e-5)
