"""Every kind of source gives the scan that was written into it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.data.findings import recorded_findings
from ptychopinn.data.scan import Scan
from ptychopinn.data.units import spelled
from ptychopinn.errors import InputError
from ptychopinn.io import load_scan, read_probe
from ptychopinn.physics.propagators import wavelength_of
from ptychopinn.sources import kind_for, open_source
from ptychopinn.sources.columns import read_table
from ptychopinn.sources.overview import overview
from ptychopinn.workflows.prepare import prepare
from raw_files import COLUMNS, ENERGY, PIXEL, ROWS, Raw


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return Raw(tmp_path_factory.mktemp("raw"))


def check(scan: Scan, raw: Raw, masked: int = 0, pixel: float | None = PIXEL) -> None:
    good = scan.good_pixels
    assert (~good).sum() == masked
    np.testing.assert_array_equal(np.asarray(scan.diffraction)[:, good], raw.counts[:, good])
    found = scan.positions_px - scan.positions_px[0]
    expected = raw.scan.positions_px - raw.scan.positions_px[0]
    np.testing.assert_allclose(found, expected, atol=2e-6)
    if pixel is not None:
        assert scan.pixel_size_m == pytest.approx(pixel, rel=1e-6)
    shape = np.abs(np.vdot(scan.probe, raw.probe))
    norms = np.linalg.norm(scan.probe) * np.linalg.norm(raw.probe)
    assert shape == pytest.approx(norms, rel=1e-5)
    total = np.asarray(scan.diffraction)[:, good].sum() / scan.M
    assert np.abs(scan.probe.astype(complex) ** 2).sum() == pytest.approx(total, rel=0.02)


def geometry(raw: Raw) -> dict[str, float]:
    return {"energy_eV": ENERGY, "distance_m": 1.0, "detector_pixel_m": raw.detector_pixel}


def test_hdf5_by_keys(raw: Raw) -> None:
    path = raw.keys()
    check(prepare(path, probe=str(raw.native), **geometry(raw)), raw)
    by_name = prepare(
        patterns=f"{path}:frames", positions=f"{path}:motors/y_um,{path}:motors/x_um",
        probe=f"{raw.native}:probe", **geometry(raw),
    )  # fmt: skip
    check(by_name, raw)
    assert by_name.provenance["recipe"]["patterns"] == "frames"
    assert by_name.provenance["recipe"]["positions"] == "motors/y_um,motors/x_um"
    assert kind_for(path).NAME == "keys"


@pytest.mark.parametrize(
    "option",
    ["{csv}", "{csv}:x_um,y_um", "{csv}:1,2", "{txt}", "{npy}", "{npz}:x_um,y_um", "{mat}:p"],
)
def test_positions_from_other_files(raw: Raw, option: str, tmp_path: Path) -> None:
    import scipy.io

    um = np.stack([raw.x, raw.y], axis=1) * 1e6
    files = {name: tmp_path / f"p.{name}" for name in ("txt", "npy", "npz", "mat")}
    files["txt"].write_text(
        "# scan 12\n# x y\n" + "\n".join(f"{x:.9f}\t{y:.9f}" for x, y in um) + "\n# end\n"
    )
    np.save(files["npy"], um)
    np.savez(files["npz"], x_um=um[:, 0], y_um=um[:, 1])
    scipy.io.savemat(files["mat"], {"p": um.T})
    files["csv"] = raw.table()
    told = {"order": "xy"} if option in ("{npy}", "{mat}:p") else {}
    scan = prepare(
        raw.keys(), probe=str(raw.native), positions=option.format(**files), unit="um", **told,
        **geometry(raw),
    )  # fmt: skip
    check(scan, raw)
    assert str(tmp_path) in scan.provenance["recipe"]["positions"] or "csv" in option


def test_positions_whose_order_is_not_known_are_asked_for(raw: Raw, tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.stack([raw.x, raw.y], axis=1))
    with pytest.raises(InputError, match="order='yx' or order='xy'"):
        prepare(raw.keys(), positions=str(tmp_path / "p.npy"), unit="m", probe=str(raw.native))
    with pytest.raises(InputError, match="unit='um'"):
        prepare(
            raw.keys(), positions=str(tmp_path / "p.npy"), order="xy", pixel_size_m=PIXEL,
            probe=str(raw.native),
        )  # fmt: skip


@pytest.mark.parametrize("virtual", [False, True])
def test_eiger_master(raw: Raw, virtual: bool) -> None:
    path = raw.eiger(virtual)
    source = open_source(path)
    assert source.kind == "eiger" and source.centre == (16.0, 16.0)
    scan = prepare(path, positions=str(raw.table()), probe=str(raw.native))
    check(scan, raw, masked=4)  # three of the mask, one that always holds the largest number
    assert scan.energy_eV == pytest.approx(ENERGY) and scan.distance_m == 1.0


def test_a_missing_file_of_a_master_is_named(raw: Raw, tmp_path: Path) -> None:
    path = tmp_path / "x_master.h5"
    path.write_bytes(raw.eiger().read_bytes())
    with pytest.raises(InputError, match=r"scan_data_000001\.h5"):
        prepare(path, positions=str(raw.table()), probe=str(raw.native))


@pytest.mark.parametrize("probe", [False, True])
def test_nexus_on_a_grid_with_and_without_probe(raw: Raw, probe: bool) -> None:
    path = raw.nexus(probe)
    assert kind_for(path).NAME == "nexus"
    check(prepare(path, **({} if probe else {"probe": str(raw.native)})), raw)


def test_implausible_numbers_name_the_field(raw: Raw, tmp_path: Path) -> None:
    path = raw.nexus(True)
    with h5py.File(path, "r+") as file:
        del file["entry_1/instrument_1/beam_1"]
        file["entry_1/instrument_1/source_1/energy"] = ENERGY  # electron volts, not joule
    with pytest.raises(InputError, match=r"source_1/energy.*the option energy_eV"):
        prepare(path)
    check(prepare(path, energy_eV=ENERGY), raw)


def test_ptypy_data_and_its_result_as_probe(raw: Raw) -> None:
    path = raw.ptyd()
    assert kind_for(path).NAME == "ptypy"
    scan = prepare(path, probe=str(raw.ptyr()))
    check(scan, raw, masked=1)
    assert scan.energy_eV == pytest.approx(ENERGY) and not scan.good_pixels[7, 7]
    with pytest.raises(InputError, match="a result of ptypy"):
        prepare(raw.ptyr())


@pytest.mark.parametrize("version", ["7.3", "5"])
def test_matlab(raw: Raw, version: str) -> None:
    path = raw.matlab_73() if version == "7.3" else raw.matlab_5()
    assert kind_for(path).NAME == "shelves"
    scan = prepare(path)
    check(scan, raw)
    np.testing.assert_allclose(read_probe(f"{path}:probe"), raw.probe, rtol=1e-6)
    assert scan.energy_eV == pytest.approx(ENERGY)


def test_matlab_arrays_by_keys(raw: Raw) -> None:
    """Two axes of MATLAB are turned back, third ones come first."""
    path = raw.matlab_73()
    with h5py.File(path, "r+") as file:
        file.move("dp", "my_scan")
        mask = np.zeros((32, 32), np.uint8)
        mask[3, 5] = 1
        file["bad"] = mask.T
    scan = prepare(path, patterns="my_scan", positions="ppY,ppX", unit="m", pixel_size_m=PIXEL,
                   probe=f"{path}:probe", mask="bad")  # fmt: skip
    check(scan, raw, masked=1)
    assert not scan.good_pixels[3, 5]


@pytest.mark.parametrize("kind", ["tiff", "tiff_folder", "npy"])
def test_images_and_plain_arrays(raw: Raw, kind: str) -> None:
    path = getattr(raw, kind)()
    check(prepare(path, positions=str(raw.table()), probe=str(raw.native), **geometry(raw)), raw)
    if kind == "tiff_folder":
        pattern = str(path / "frame_*.tiff")
        with pytest.raises(InputError, match="none that fits"):
            prepare(str(path / "image_*.tiff"), probe=str(raw.native))
        scan = prepare(pattern, positions=str(raw.table()), probe=str(raw.native), **geometry(raw))
        assert scan.M == 40 and len(scan.provenance["sources"]) == 40


def test_pages_of_different_sizes_are_refused(raw: Raw, tmp_path: Path) -> None:
    import tifffile

    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        for k in range(40):
            file.write(raw.counts[k] if k != 7 else raw.counts[k][:30], contiguous=False)
    with pytest.raises(InputError, match=r"as page 7, \(30, 32\)"):
        prepare(tmp_path / "s.tif", positions=str(raw.table()), probe=str(raw.native),
                **geometry(raw))  # fmt: skip


@pytest.mark.parametrize("version", [2, 3])
def test_zarr(raw: Raw, version: int) -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    path = raw.zarr(version)
    scan = prepare(
        path, positions=f"{path}:y_um,x_um", unit="um", probe=str(raw.native), **geometry(raw)
    )
    check(scan, raw)
    assert any(item.key == "frames" for item in overview(path).items)


@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_a_store_that_could_execute_code_is_refused(raw: Raw, tmp_path: Path, place: str) -> None:
    import json
    import shutil

    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    path = tmp_path / "evil.zarr"
    shutil.copytree(raw.zarr(2), path)
    description = path / "frames" / ".zarray"
    content = json.loads(description.read_text())
    content[place] = {"id": "pickle"} if place == "compressor" else [{"id": "pickle"}]
    description.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"execute code|damaged"):
        prepare(path, positions=str(raw.table()), probe=str(raw.native), **geometry(raw))


def test_zarr_that_is_not_installed_is_named(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    path = raw.zarr(2)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r"pip install 'ptychopinn\[zarr\]'"):
        prepare(path)


def grid_scan(raw: Raw, step: float) -> Any:
    rows, columns = np.indices((ROWS, COLUMNS))
    return np.stack([rows.ravel(), columns.ravel()], axis=1) * step


def test_empad(raw: Raw) -> None:
    path = raw.empad()
    source = open_source(path)
    assert source.grid == (ROWS, COLUMNS) and source.electrons
    scan = prepare(path, crop=32, step=0.4, unit="um", energy_eV=8e4, distance_m=1.0,
                   detector_pixel_m=1e-6, probe=str(raw.native))  # fmt: skip
    np.testing.assert_array_equal(scan.diffraction, raw.counts)
    pixel = wavelength_of(8e4, True) / (32 * 1e-6)
    assert scan.pixel_size_m == pytest.approx(pixel) and scan.energy_eV is None
    np.testing.assert_allclose(scan.positions_px, grid_scan(raw, 0.4e-6 / pixel))


def test_an_image_of_another_name_among_the_patterns_is_named(raw: Raw, tmp_path: Path) -> None:
    import tifffile

    folder = tmp_path
    for k, pattern in enumerate(raw.counts):
        tifffile.imwrite(folder / f"scan_{k:03d}.tif", pattern)
    tifffile.imwrite(folder / "dark.tif", np.zeros_like(raw.counts[0]))
    numbers = {"positions": str(raw.table()), "pixel_size_m": PIXEL, "probe": str(raw.native)}
    with pytest.raises(InputError, match=r"41 patterns and 40 .*dark\.tif has another name than"):
        prepare(folder, **numbers)
    (folder / "dark.tif").unlink()
    assert prepare(folder, **numbers).M == 40


def test_a_raster_in_the_name_of_another_file_is_named(raw: Raw) -> None:
    path = raw.empad()
    other = path.with_name(f"scan_x{COLUMNS + 2}_y{ROWS}.raw")
    other.write_bytes(path.read_bytes())
    numbers = {"crop": 32, "step": 0.04, "unit": "um", "energy_eV": 8e4, "pixel_size_m": PIXEL}
    with pytest.raises(InputError, match=rf"40 patterns, and {ROWS} x {COLUMNS + 2} positions as"):
        prepare(other, probe=str(raw.native), **numbers)
    scan = prepare(other, probe=str(raw.native), grid=f"{ROWS},{COLUMNS}", **numbers)
    assert scan.M == 40


@pytest.mark.parametrize("kept", [1000, -4])
def test_a_part_of_an_empad_file_is_named(raw: Raw, kept: int) -> None:
    path = raw.empad()
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"whole frames of 66560 bytes .* bring the whole file"):
        open_source(path)


@pytest.mark.parametrize("kind", ["u4", "i4"])
def test_whole_numbers_in_an_empad_file_are_named(raw: Raw, kind: str) -> None:
    path = raw.empad()
    np.fromfile(path, np.float32).clip(0).astype(kind).tofile(path)
    with pytest.raises(InputError, match=rf"whole numbers \(up to {raw.counts.max()}\)"):
        prepare(path, step=0.04, unit="um", energy_eV=8e4, pixel_size_m=PIXEL, crop=32)


def test_wavelengths() -> None:
    assert wavelength_of(300e3, True) == pytest.approx(1.9687e-12, rel=1e-4)
    assert wavelength_of(12398.42, False) == pytest.approx(1e-10, rel=1e-6)


def test_4d_stem_of_py4dstem_and_emd(raw: Raw) -> None:
    scan = prepare(raw.py4dstem(step_nm=40.0), probe=str(raw.native))
    np.testing.assert_array_equal(scan.diffraction, raw.counts)
    assert scan.pixel_size_m == pytest.approx(PIXEL)
    np.testing.assert_allclose(scan.positions_px, grid_scan(raw, 4.0), atol=1e-9)
    with pytest.raises(InputError, match="energy_eV"):
        prepare(raw.emd(), probe=str(raw.native))
    scan = prepare(raw.emd(), probe=str(raw.native), energy_eV=3e3, grid="5,8", step=2.0, unit="nm")
    assert scan.pixel_size_m == pytest.approx(wavelength_of(3e3, True) / (32 * 0.5e-3))


def test_a_raster_with_x_rays_is_no_electron_microscope(raw: Raw, tmp_path: Path) -> None:
    path = tmp_path / "raster.h5"
    with h5py.File(path, "w") as file:
        file["raster"] = raw.counts.reshape(ROWS, COLUMNS, 32, 32)
    options = {"positions": str(raw.table()), "probe": str(raw.native)}
    check(prepare(path, **options, **geometry(raw)), raw)
    with pytest.raises(InputError, match="particle='electron' or particle='photon'"):
        prepare(path, **options, **geometry(raw) | {"energy_eV": 8e4})


def test_several_files_of_one_scan_are_joined(raw: Raw, tmp_path: Path) -> None:
    paths = []
    for k, part in enumerate((slice(0, 13), slice(13, 40))):
        paths.append(tmp_path / f"part{k}.h5")
        with h5py.File(paths[-1], "w") as file:
            file["frames"] = raw.counts[part]
    options = {"positions": str(raw.table()), "probe": str(raw.native)}
    scan = prepare(paths, **options, **geometry(raw))
    check(scan, raw)
    with h5py.File(paths[1], "w") as file:
        file["frames"] = raw.counts[:, :, :30]
    with pytest.raises(InputError, match=r"32 x 32 in .*32 x 30 in"):
        prepare(paths, **options, **geometry(raw))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Raw.keys, ["--patterns frames", "motors/y_um,motors/x_um", "--probe auto"]),
        (Raw.eiger, ["--positions POSITIONS.txt", "--crop 32", "--probe auto"]),
        (Raw.nexus, ["--probe auto -o scan.h5"]),
        (Raw.ptyd, ["--probe auto"]),
        (Raw.matlab_73, ["scan.mat -o scan.h5"]),
        (Raw.tiff, ["--positions POSITIONS.txt", "--energy-ev EV"]),
        (Raw.npy, ["--positions POSITIONS.txt", "--unit UNIT"]),
        (Raw.empad, ["--step STEP", "--energy-ev EV"]),
        (Raw.py4dstem, ["stem.h5 --probe auto -o scan.h5"]),
    ],
)
def test_an_overview_ends_in_the_line_to_type(
    raw: Raw, make: Callable[[Raw], Path], words: list[str]
) -> None:
    path = make(raw)
    found = overview(path)
    assert found.line is not None and found.line.startswith(f"ptychopinn prepare {path} ")
    for word in words:
        assert word in found.line
    # Those that are no scan say the same when they are opened as one.
    if make in (Raw.keys, Raw.eiger, Raw.tiff, Raw.npy, Raw.empad, Raw.ptyd):
        with pytest.raises(InputError, match="type: ptychopinn prepare") as refused:
            load_scan(path)
        # A file of ptypy has these numbers in units of its own.
        assert make != Raw.ptyd or "--energy-ev" not in str(refused.value)


@pytest.mark.parametrize("name", ["fold_slice", "npz", "native", "cxi"])
def test_patterns_of_other_shapes_in_a_known_format_lead_to_prepare(
    raw: Raw, tmp_path: Path, name: str
) -> None:
    """The sentence of ``load_scan`` ends in a line; what it stands for is cut to a square."""
    import shlex

    odd = raw.counts[:, :31, :31]
    if name == "npz":
        path = tmp_path / "odd.npz"
        y, x = raw.scan.positions_px.T
        np.savez(path, diff3d=odd, xcoords=x, ycoords=y, probeGuess=raw.probe)
    elif name == "native":
        path = tmp_path / "odd.h5"
        path.write_bytes(raw.native.read_bytes())
        with h5py.File(path, "r+") as file:
            del file["diffraction"]
            file["diffraction"] = odd
    elif name == "cxi":
        path = tmp_path / "odd.cxi"
        path.write_bytes(raw.nexus(True).read_bytes())
        with h5py.File(path, "r+") as file:
            file["cxi_version"] = 160
            detector = file["entry_1/instrument_1/detector_1"]
            del detector["data"], detector["mask"]
            detector["data"] = odd
            place = file["entry_1/sample_1/geometry_1"]
            values = place["translation"][()].reshape(-1, 3)
            del place["translation"]
            place["translation"] = values
            del detector["x_pixel_size"]
            detector["x_pixel_size"] = detector["y_pixel_size"] = raw.detector_pixel
            energy = file["entry_1/instrument_1/beam_1/energy"][()]
            file["entry_1/instrument_1/source_1/energy"] = energy
    else:
        path = tmp_path / "odd_dp.hdf5"
        with h5py.File(path, "w") as file:
            file["dp"] = odd
        with h5py.File(tmp_path / "odd_para.hdf5", "w") as file:
            file["ppX"], file["ppY"], file["dx"] = raw.x, raw.y, PIXEL
            file["probe"] = raw.probe[None]
    with pytest.raises(InputError, match="type: ptychopinn prepare") as caught:
        load_scan(path)
    words = shlex.split(str(caught.value).split("type: ")[1])
    assert words[:3] == ["ptychopinn", "prepare", str(path)] and "--pad" in words
    if name in ("npz", "cxi"):
        scan = prepare(path, pad=32, centre="16,16")
        np.testing.assert_array_equal(np.asarray(scan.diffraction)[:, :31, :31], odd)
    if name == "fold_slice":
        # All but the experiment is known, from the file beside it.
        assert not {"POSITIONS.txt", "UNIT", "auto"} & set(words) - {
            words[words.index("--centre") + 1]
        }
        given = dict(zip(words[3:-2:2], words[4:-2:2], strict=True))
        options = {key.strip("-").replace("-", "_"): value for key, value in given.items()}
        options |= {"energy_ev": ENERGY, "distance_m": 1.0, "detector_pixel_m": raw.detector_pixel}
        options["energy_eV"] = options.pop("energy_ev")
        scan = prepare(path, **options)
        np.testing.assert_allclose(np.ptp(scan.positions_px, 0), np.ptp(raw.scan.positions_px, 0))


def test_what_was_masked_is_said_and_kept(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    scan = prepare(raw.eiger(), positions=str(raw.table()), probe=str(raw.native))
    (finding,) = recorded_findings(scan.provenance)
    assert finding.name == "missing-pixels" and finding.details == {"pixels": 1}
    assert "masked 1 pixels" in caplog.text
    caplog.clear()
    beside = np.roll(raw.counts, 9, axis=2)
    path = raw.folder / "beside.h5"
    with h5py.File(path, "w") as file:
        file["frames"], file["y_um"], file["x_um"] = beside, raw.y * 1e6, raw.x * 1e6
    scan = prepare(path, pixel_size_m=PIXEL, probe=str(raw.native))
    (finding,) = recorded_findings(scan.provenance)
    assert finding.name == "beam-off-centre" and finding.level == "doubt"
    assert finding.details["away_px"] == pytest.approx(9, abs=1)


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n;y (mm);x (mm)\n1;2;3\n4;5;6\n")
    table = read_table(path)
    assert table.names == ("n", "y (mm)", "x (mm)") and table.column("3") == 2
    for text, words in (
        ("1 2\n3\n", "must hold 2 numbers"),
        ("1 2\nstop here\n", "must hold numbers"),
        ("# nothing\n", "without any"),
        ("\0\1", "no text"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_table(path)
    # Commas stand in numbers where they do not separate them.
    for text in ("y;x\n1,5;-2\n3;,25e1\n", "y\tx\n1,5\t-2\n3\t2,5\n", "y x\n1,5 -2,0\n3,0 2,5\n"):
        path.write_text(text)
        table = read_table(path)
        assert table.names == ("y", "x")
        np.testing.assert_array_equal(table.values, [[1.5, -2], [3, 2.5]])
    path.write_text("1,5, 2\n3,5, 4\n")
    np.testing.assert_array_equal(read_table(path).values, [[1, 5, 2], [3, 5, 4]])
    path.write_text("1 2\n3 4\n")
    with pytest.raises(InputError, match="a number from 1 to 2"):
        read_table(path).column("z")


@pytest.mark.parametrize(
    ("written", "unit"),
    [("µm", "um"), ("Micrometers", "um"), ("[mm]", "mm"), ("A", "angstrom"), ("Å", "angstrom"),
     ("meV", "meV"), ("MeV", "MeV"), ("KEV", "keV"), ("Joules", "J"), ("pixels", "px"),
     ("furlong", "furlong")],
)  # fmt: skip
def test_units_are_spelled_alike_everywhere(written: str, unit: str) -> None:
    assert spelled(written) == unit


# --- faults of the raw data ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        ("u4", 2**32 - 2),
        ("u4", 65535),
        ("f4", 65535),
        ("i4", -1),
        ("f4", np.nan),
        ("u4", 2**20 - 1),
    ],
)
def test_a_gap_is_masked_before_pixels_are_binned(
    raw: Raw, tmp_path: Path, dtype: str, number: float
) -> None:
    """Added to its neighbours the number could not be told any more."""
    wide = np.repeat(np.repeat(raw.counts, 2, axis=1), 2, axis=2).astype(dtype)
    wide[:, 41:43] = number
    path = keys_of(raw, tmp_path, wide)
    scan = prepare(path, probe=str(raw.native), pixel_size_m=PIXEL, bin=2)
    assert (~scan.good_pixels).sum() == 2 * 32
    good = np.r_[0:20, 22:32]
    np.testing.assert_array_equal(scan.diffraction[:][:, good], 4 * raw.counts[:, good])


@pytest.mark.parametrize(("dtype", "number"), [("u2", 65535), ("f4", np.nan), ("i4", -1)])
def test_a_pattern_without_any_measurement_masks_no_pixel(
    raw: Raw, tmp_path: Path, dtype: str, number: float, caplog: pytest.LogCaptureFixture
) -> None:
    stored = raw.counts.astype(dtype)
    stored[17] = number
    scan = prepare(keys_of(raw, tmp_path, stored), probe=str(raw.native), pixel_size_m=PIXEL)
    assert scan.mask is None and not scan.diffraction[17].any()
    assert [f.name for f in recorded_findings(scan.provenance)] == ["lost-patterns"]
    assert "set 1 of 40 patterns to 0" in caplog.text


@pytest.mark.parametrize("axes", [(1,), (1, 2)])
def test_patterns_in_the_corner_are_rolled_before_they_are_cut(
    raw: Raw, tmp_path: Path, axes: tuple[int, ...]
) -> None:
    """With the mask, which is stored as they are."""
    wide = np.pad(raw.counts, ((0, 0), (8, 8), (8, 8)))
    mask = np.zeros((48, 48), np.uint8)
    mask[24 + 3, 24 - 7] = 1
    stored = np.fft.ifftshift(wide, axes)
    moved = np.fft.ifftshift(mask, [axis - 1 for axis in axes])
    path = keys_of(raw, tmp_path, stored, mask=moved)
    options = {"probe": str(raw.native), "pixel_size_m": PIXEL, "mask": "mask", "mask_marks": "bad"}
    for centre in (None, "auto"):
        scan = prepare(path, crop=32, centre=centre, **options)
        found = recorded_findings(scan.provenance)
        assert found[0].name == "patterns-in-corner"
        assert found[0].details["rolled"] == [24 if axis in axes else 0 for axis in (1, 2)]
        assert np.argwhere(~scan.good_pixels).tolist() == [[16 + 3, 16 - 7]]
        good = scan.good_pixels
        np.testing.assert_array_equal(scan.diffraction[:][:, good], raw.counts[:, good])


def test_a_single_position_far_away_is_left_out_with_its_pattern(raw: Raw, tmp_path: Path) -> None:
    for far in (300.0, np.nan):
        path = keys_of(raw, tmp_path, raw.counts)
        with h5py.File(path, "r+") as file:
            file["motors/y_um"][7] = far
        scan = prepare(path, probe=str(raw.native), pixel_size_m=PIXEL)
        (found,) = recorded_findings(scan.provenance)
        assert found.name == "far-positions" and "position 7 at" in found.message
        np.testing.assert_array_equal(scan.diffraction[:], np.delete(raw.counts, 7, axis=0))
        with h5py.File(path, "r+") as file:
            file["motors/y_um"][5:9] = far
        with pytest.raises(InputError, match=r"position \d at"):
            prepare(path, probe=str(raw.native), pixel_size_m=PIXEL)


@pytest.mark.parametrize("kind", ["eiger", "nexus", "ptyd"])
def test_the_mask_of_a_file_may_have_the_opposite_meaning(
    kind: str, raw: Raw, tmp_path: Path
) -> None:
    path = getattr(raw, kind)()
    names = {
        "eiger": "entry/instrument/detector/detectorSpecific/pixel_mask",
        "nexus": "entry_1/instrument_1/detector_1/mask",
        "ptyd": "chunks/0/weights",
    }
    with h5py.File(path, "r+") as file:
        stored = file[names[kind]]
        good = np.zeros(stored.shape[-2:], bool)
        good[:2] = True
        stored[...] = np.broadcast_to(good if kind == "ptyd" else ~good, stored.shape)
    with pytest.raises(InputError, match="as if its meaning were the opposite"):
        prepare(path, positions=str(raw.table()), probe=str(raw.native))


def test_nexus_with_other_axes_and_a_wavelength(raw: Raw, tmp_path: Path) -> None:
    path = tmp_path / "other.nxs"
    path.write_bytes(raw.nexus(True).read_bytes())
    modes = np.concatenate([raw.probe, 0.3 * np.roll(raw.probe, 2, 1)])
    with h5py.File(path, "r+") as file:
        entry = file["entry_1"]
        places = entry["sample_1/geometry_1/translation"][()]
        beam = entry["instrument_1/beam_1"]
        del entry["sample_1/geometry_1/translation"], entry["image_1/data"], beam["energy"]
        entry["sample_1/geometry_1/translation"] = np.moveaxis(places, -1, 0)
        entry["image_1/data"] = np.moveaxis(modes, 0, -1)
        beam["incident_wavelength"] = wavelength_of(ENERGY, False) * 1e10
        beam["incident_wavelength"].attrs["units"] = "angstrom"
    scan = prepare(path)
    assert scan.energy_eV == pytest.approx(ENERGY) and scan.probe.shape == (2, 32, 32)
    moved = scan.positions_px - raw.scan.positions_px
    np.testing.assert_allclose(moved - moved[0], 0, atol=1e-6)


def test_a_frame_too_many_is_said_and_not_that_there_are_no_positions(
    raw: Raw, tmp_path: Path
) -> None:
    path = keys_of(raw, tmp_path, np.concatenate([raw.counts[:1], raw.counts]))
    options = {"probe": str(raw.native), "pixel_size_m": PIXEL}
    with pytest.raises(InputError, match="41 patterns and 40 positions"):
        prepare(path, **options)
    scan = prepare(path, frames="1:", **options)
    np.testing.assert_array_equal(scan.diffraction[:], raw.counts)


def test_a_frame_too_few_is_said_and_which_positions_to_take(raw: Raw, tmp_path: Path) -> None:
    path = keys_of(raw, tmp_path, raw.counts[1:])
    options = {"probe": str(raw.native), "pixel_size_m": PIXEL}
    words = "39 patterns and 40 positions.*which positions.*frames=':39' the last"
    with pytest.raises(InputError, match=words):
        prepare(path, **options)
    scan = prepare(path, frames="1:", **options)
    np.testing.assert_array_equal(scan.diffraction[:], raw.counts[1:])
    apart = scan.positions_px - raw.scan.positions_px[1:]
    np.testing.assert_allclose(apart, apart[:1].repeat(39, 0), atol=1e-6)
    with pytest.raises(InputError, match="of which frames=2: takes 37"):
        prepare(path, frames="2:", **options)


def test_patterns_that_are_counted_along_another_axis_are_named(raw: Raw, tmp_path: Path) -> None:
    """And not the positions, of which there are as many as they should be."""
    path = keys_of(raw, tmp_path, np.moveaxis(raw.counts, 0, 1))
    options = {"probe": str(raw.native), "pixel_size_m": PIXEL}
    with pytest.raises(InputError, match=r"positions .* whose first axis must count them"):
        prepare(path, **options)
    with pytest.raises(InputError, match=r"\(pattern, row, column\), received .* 40 positions"):
        prepare(path, positions="motors/y_um,motors/x_um", **options)


def test_patterns_that_are_counted_along_the_last_axis_are_read(raw: Raw, tmp_path: Path) -> None:
    path = keys_of(raw, tmp_path, np.moveaxis(raw.counts, 0, -1))
    check(prepare(path, probe=str(raw.native), **geometry(raw)), raw)


@pytest.mark.parametrize("axes", ["yx", "grid", "xyz", "xyz first"])
def test_positions_in_one_array_with_other_axes(axes: str, raw: Raw, tmp_path: Path) -> None:
    places = np.stack([raw.y, raw.x])
    stored = {
        "yx": places,
        "grid": places.reshape(2, ROWS, COLUMNS),
        "xyz": np.stack([raw.x, raw.y, 0 * raw.x], axis=1),
        "xyz first": np.stack([raw.x, raw.y, 0 * raw.x]),
    }[axes]
    path = keys_of(raw, tmp_path, raw.counts, places=stored)
    options = {"order": axes[:2] if axes != "grid" else "yx", "unit": "m", "positions": "places"}
    check(prepare(path, probe=str(raw.native), **options, **geometry(raw)), raw)


def test_a_distance_in_another_unit_is_named_and_not_the_positions(raw: Raw) -> None:
    numbers = geometry(raw) | {"distance_m": 1000.0}
    with pytest.raises(InputError, match=r"the distance must be between .* received 1000 m"):
        prepare(raw.keys(), probe=str(raw.native), **numbers)


def keys_of(raw: Raw, folder: Path, frames: Any, **more: Any) -> Path:
    path = folder / "faulty.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = frames
        file["motors/y_um"], file["motors/x_um"] = raw.y * 1e6, raw.x * 1e6
        for key, value in more.items():
            file[key] = value
    return path
