"""Files as beamlines write them: what their names say is used, what nobody says is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.io import load_scan
from ptychopinn.io.axis_names import axes_of, places_among
from ptychopinn.simulation import SimulationConfig, simulate
from ptychopinn.sources.columns import read_table
from ptychopinn.sources.overview import overview
from ptychopinn.workflows.prepare import prepare

ENERGY, DISTANCE, PIXEL = 8800.0, 2.0, 2e-8


@pytest.fixture(scope="module")
def scan() -> Scan:
    return simulate(SimulationConfig(N=32, patterns=36, photons=1e5, seed=3))


@pytest.fixture(scope="module")
def um(scan: Scan) -> np.ndarray[Any, Any]:
    """y and x of the scan in micrometres."""
    return scan.positions_px.T * PIXEL * 1e6


def detector_pixel(scan: Scan) -> float:
    return 12.398419843320026e-7 / ENERGY * DISTANCE / (scan.N * PIXEL)


def raster(file: h5py.File, scan: Scan, um: Any) -> None:
    """NeXus: four axes, motors as large as the raster, all units stated."""
    file["entry/excalibur/data"] = scan.diffraction[:].reshape(6, 6, 32, 32)
    for name, values in zip(("t1_sy", "t1_sx"), um, strict=True):
        stored = file.create_dataset(f"entry/excalibur/{name}", data=values.reshape(6, 6) * 1e-3)
        stored.attrs["units"] = "mm"
    numbers = {
        "dcm_enrg/dcm_enrg": (8.8, "keV"),
        "excalibur/distance": (2000.0, "mm"),
        "excalibur/x_pixel_size": (detector_pixel(scan) * 1e6, "um"),
        "zone_plate/focus_distance": (3.0, "mm"),
    }
    for name, (value, unit) in numbers.items():
        file[f"entry/instrument/{name}"] = value
        file[f"entry/instrument/{name}"].attrs["units"] = unit


def groups(file: h5py.File, scan: Scan, um: Any) -> None:
    """Each motor in a group of its own, beside counters; the scan is an entry with a number."""
    file["1.1/instrument/eiger/data"] = scan.diffraction[:]
    file["1.1/measurement/ct24"] = scan.diffraction[:].sum((1, 2)).astype(float)
    for name, values in zip("yx", um, strict=True):
        key = f"1.1/instrument/sam{name}_position/data"
        file[key] = values
        file[key].attrs["units"] = "um"
    file["1.1/instrument/positioners/energy_keV"] = 8.8
    file["1.1/instrument/positioners/distance_m"] = 2.0
    file["1.1/instrument/eiger/det_pixel_um"] = detector_pixel(scan) * 1e6


def wavelength(file: h5py.File, scan: Scan, um: Any) -> None:
    """A wavelength in place of the energy, and an array of both axes whose order nobody says."""
    file["diffamp"] = np.sqrt(scan.diffraction[:]).astype("f4")
    file["points"] = um[::-1]
    file["lambda_nm"] = 1239.8419843320026 / ENERGY
    file["z_m"] = 2.0
    file["ccd_pixel_um"] = detector_pixel(scan) * 1e6


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (raster, {}),
        (groups, {}),
        (wavelength, {"positions": "points", "order": "xy", "unit": "um"}),
    ],
    ids=["raster", "groups", "wavelength"],
)
def test_what_the_names_say_is_used(
    content: Callable[..., None], options: dict[str, str], scan: Scan, um: Any, tmp_path: Path
) -> None:
    source = tmp_path / "raw.h5"
    with h5py.File(source, "w") as file:
        content(file, scan, um)
    line = overview(source).line
    assert line is not None and not {"EV", "M"} & set(line.split()), line
    prepare(source, tmp_path / "scan.h5", probe="gaussian:fwhm=8px", **options)
    new = load_scan(tmp_path / "scan.h5")
    assert new.pixel_size_m == pytest.approx(PIXEL, rel=1e-6)
    assert new.energy_eV == pytest.approx(ENERGY)
    np.testing.assert_allclose(np.ptp(new.positions_px, 0), np.ptp(scan.positions_px, 0), rtol=1e-6)
    np.testing.assert_array_equal(new.diffraction[:], scan.diffraction[:])


def test_numbers_without_a_unit_are_asked_for(scan: Scan, um: Any, tmp_path: Path) -> None:
    source = tmp_path / "raw.h5"
    with h5py.File(source, "w") as file:
        file["exchange/data"] = scan.diffraction[:]
        file["sample/hybrid_y"], file["sample/hybrid_x"] = um
        file["monochromator/energy"], file["detector/distance"] = 8.8, 2.0
    line = overview(source).line or ""
    assert "--energy-ev EV --distance-m M --detector-pixel-m M" in line
    assert "--positions sample/hybrid_y,sample/hybrid_x" in line


def test_the_wavelength_of_electrons_is_no_energy_of_photons(scan: Scan, tmp_path: Path) -> None:
    for length, energy in ((2.5e-12, None), (1e-10, 12398.4)):
        with h5py.File(tmp_path / "raw.h5", "w") as file:
            file["data"], file["wavelength_m"] = scan.diffraction[:], length
        facts = dict(overview(tmp_path / "raw.h5").facts)
        assert ("energy_eV" in facts) == (energy is not None)
        line = overview(tmp_path / "raw.h5").line or ""
        assert ("--energy-ev EV" in line) == (energy is None)


def test_a_small_pixel_is_that_of_the_object(scan: Scan, um: Any, tmp_path: Path) -> None:
    source = tmp_path / "raw.h5"
    with h5py.File(source, "w") as file:
        file["data"], file["positions"], file["pixel_size_nm"] = scan.diffraction[:], um.T, 20.0
    assert "--detector-pixel-m" not in (overview(source).line or "--detector-pixel-m")
    with pytest.raises(InputError, match=r"'positions', which may be theirs; .* order='yx' or"):
        prepare(source, tmp_path / "scan.h5", unit="um", probe="gaussian:fwhm=8px")
    prepare(
        source, tmp_path / "scan.h5", positions="positions", order="yx", unit="um",
        probe="gaussian:fwhm=8px",
    )  # fmt: skip
    assert load_scan(tmp_path / "scan.h5").pixel_size_m == pytest.approx(PIXEL)


@pytest.mark.parametrize(
    ("one", "other", "order"),
    [
        ("samy", "samx", "yx"),
        ("1.1/measurement/samx_position", "1.1/measurement/samy_position", "xy"),
        ("entry/t1_sy", "entry/t1_sx", "yx"),
        ("Average_y_st_fzp", "Average_x_st_fzp", "yx"),
        ("row", "column", "yx"),
        ("trajectory_1", "trajectory_2", None),
        ("fast", "slow", None),
        ("xy", "yx", None),
    ],
)
def test_two_names_tell_their_order(one: str, other: str, order: str | None) -> None:
    assert axes_of(one, other) == order


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("n", "Target_x", "Average_x", "Stdev_x", "Target_y", "Average_y", "Stdev_y"), (5, 2)),
        (("x", "y", "com_x", "com_y"), (1, 0)),
        (("com_x", "com_y"), None),
        (("x_demand", "y_demand", "x_enc", "y_enc"), (3, 2)),
        (("beamtime/y", "beamtime/x"), (0, 1)),
        (("beam_y", "beam_x"), (0, 1)),
        (("y", "x", "y", "x"), (0, 1)),
    ],
)
def test_places_among_other_columns(names: tuple[str, ...], taken: tuple[int, int] | None) -> None:
    assert places_among(names) == taken


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        (",x_um,y_um\n0,1.5,2.5\n1,3,4\n", ("", "x_um", "y_um"), [0, 1.5, 2.5]),
        ("x,y,\n1,2,\n3,4,\n", ("x", "y"), [1, 2]),
        ("x,y,i0\n1,2,\n3,4,5\n", ("x", "y", "i0"), [1, 2, np.nan]),
        ("time;x;y\n2024-05-01 12:00;1,5;2\n12:01;3;4\n", ("time", "x", "y"), [np.nan, 1.5, 2]),
        (
            "!\n%p\nenergy = 8800\n%d\n Col 1 samx DOUBLE\n Col 2 samy DOUBLE\n 1 2\n 3 4\n",
            ("samx", "samy"),
            [1, 2],
        ),
        ("# x y state\n1 2 moving\n3 4 done\n", ("x", "y", "state"), [1, 2, np.nan]),
    ],
)
def test_tables_with_words_and_empty_cells(
    text: str, names: tuple[str, ...], first: list[float], tmp_path: Path
) -> None:
    (tmp_path / "log.csv").write_text(text)
    table = read_table(tmp_path / "log.csv")
    assert table.names == names
    np.testing.assert_array_equal(table.values[0], first)
    assert len(table.values) == 2


def test_a_place_without_a_number_is_left_out(scan: Scan, um: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["data"] = scan.diffraction[:]
    rows = [f"{y},{x},moving" for y, x in um.T]
    rows[7] = f",{um[1, 7]},lost"
    (tmp_path / "log.csv").write_text("\n".join(["y_um,x_um,state", *rows]))
    done = prepare(
        tmp_path / "raw.h5", tmp_path / "scan.h5", positions=str(tmp_path / "log.csv"),
        pixel_size_m=PIXEL, probe="gaussian:fwhm=8px",
    )  # fmt: skip
    assert "position 7" in str(done.provenance["findings"]) and done.M == scan.M - 1
