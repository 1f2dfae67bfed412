"""Several sources of one scan: what the second says counts as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from ptychopinn.errors import InputError
from ptychopinn.workflows.prepare import prepare
from raw_files import Raw

PARTS = (slice(0, 15), slice(15, 40))


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    return Raw(tmp_path)


def ptyd(raw: Raw, **second: Any) -> list[Path]:
    """Two halves, the second one with other numbers or arrays in ``meta``."""
    paths = [raw.folder / "a.ptyd", raw.folder / "b.ptyd"]
    for path, part in zip(paths, PARTS, strict=True):
        meta = {"energy": 8.8, "distance": 1.0, "psize": raw.detector_pixel, "center": [16.0, 16.0]}
        with h5py.File(path, "w") as file:
            file["chunks/0/data"] = raw.counts[part]
            file["chunks/0/positions"] = np.stack([raw.y, raw.x], axis=1)[part]
            for key, value in {**meta, **(second if path == paths[1] else {})}.items():
                file[f"meta/{key}"] = value
    return paths


@pytest.mark.parametrize(
    ("second", "given", "words"),
    [
        ({"energy": 9.5}, {"energy_eV": 8800}, "the energy of all sources must be the same"),
        ({"distance": 1.2}, {"distance_m": 1.0}, "received 1 m in .* and 1.2 m in"),
        ({"center": [18.0, 16.0]}, {"centre": "16,16"}, "the centre of all sources"),
    ],
)
def test_numbers_of_several_sources_agree(
    second: dict[str, Any], given: dict[str, Any], words: str, raw: Raw
) -> None:
    probe = str(raw.native)
    with pytest.raises(InputError, match=words):
        prepare(ptyd(raw, **second), probe=probe)
    scan = prepare(ptyd(raw, **second), probe=probe, **given)
    np.testing.assert_array_equal(scan.diffraction, raw.counts)


def test_a_pixel_that_is_bad_in_one_source_is_bad(raw: Raw) -> None:
    weights = np.ones((32, 32))
    weights[:, 5] = 0
    scan = prepare(ptyd(raw, weight2d=weights), probe=str(raw.native))
    np.testing.assert_array_equal(scan.good_pixels, weights > 0)


def test_each_source_has_its_own_unit_of_positions(raw: Raw) -> None:
    paths = []
    for part, unit, scale in zip(PARTS, ("um", "mm"), (1e6, 1e3), strict=True):
        path = raw.folder / f"{unit}.h5"
        with h5py.File(path, "w") as file:
            file["frames"] = raw.counts[part]
            for name, values in (("motors/y", raw.y), ("motors/x", raw.x)):
                file[name] = values[part] * scale
                file[name].attrs["units"] = unit
        paths.append(path)
    how = {"probe": str(raw.native), "pixel_size_m": 1e-8}
    places = prepare(paths, **how).positions_px - raw.scan.positions_px
    assert np.abs(places - places[0]).max() < 1e-6
    np.save(raw.folder / "z.npy", raw.counts[15:])
    with pytest.raises(InputError, match=r"expected in all sources, received .*z\.npy without"):
        prepare([paths[0], raw.folder / "z.npy"], **how)


@pytest.mark.parametrize("option", ["dark", "flat", "mask"])
def test_a_name_that_is_no_file_is_not_the_source_itself(option: str, raw: Raw) -> None:
    for name, write in (("a.npy", np.save), ("a.tif", tifffile.imwrite)):
        path = raw.folder / name
        write(path, raw.counts)
        how = {"positions": str(raw.table()), "probe": str(raw.native), "pixel_size_m": 1e-8}
        with pytest.raises(InputError, match=r"received 'typo\.npy', which is no file"):
            prepare(path, **how, **{option: "typo.npy"})


def test_dark_frames_in_a_folder(raw: Raw) -> None:
    folder = raw.folder / "dark"
    folder.mkdir()
    for k in range(4):
        tifffile.imwrite(folder / f"d{k}.tif", np.full((32, 32), 2 + k % 2 * 2, "u2"))
    np.save(raw.folder / "a.npy", raw.counts + np.uint16(3))
    how = {"positions": str(raw.table()), "probe": str(raw.native), "pixel_size_m": 1e-8}
    scan = prepare(raw.folder / "a.npy", dark=str(folder), **how)
    np.testing.assert_array_equal(scan.diffraction, raw.counts)


def test_a_probe_that_is_no_file_is_called_that(raw: Raw) -> None:
    np.save(raw.folder / "a.npy", raw.counts)
    with pytest.raises(InputError, match=r"received 'typo\.npz' which does not exist"):
        prepare(
            raw.folder / "a.npy", positions=str(raw.table()), probe="typo.npz", pixel_size_m=1e-8
        )
