"""Raw data as they come from beamlines, with something wrong that only its maker knew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.findings import recorded_findings
from ptychopinn.workflows.prepare import prepare
from raw_files import ENERGY, Raw


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return Raw(tmp_path_factory.mktemp("raw"))


def written(folder: Path, raw: Raw, frames: Any, **more: Any) -> Path:
    path = folder / "data.h5"
    with h5py.File(path, "w") as file:
        file["frames"], file["y_um"], file["x_um"] = frames, raw.y * 1e6, raw.x * 1e6
        for name, value in more.items():
            file[name] = value
    return path


def read(path: Path, raw: Raw, **more: Any) -> pp.Scan:
    return prepare(path, **{"pixel_size_m": 1e-8, "probe": str(raw.native)} | more)


def messages(scan: pp.Scan, name: str) -> list[str]:
    return [one.message for one in recorded_findings(scan.provenance) if one.name == name]


@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_of_length_one_does_not_hide_the_positions(
    axis: int, raw: Raw, tmp_path: Path
) -> None:
    scan = read(written(tmp_path, raw, np.expand_dims(raw.counts, axis)), raw)
    np.testing.assert_array_equal(scan.diffraction[:], raw.counts)
    apart = scan.positions_px - raw.scan.positions_px
    assert np.ptp(apart, axis=0).max() < 1e-6


@pytest.mark.parametrize(("key", "value"), [("scale_factor", 0.5), ("add_offset", -250.0)])
def test_packed_numbers_are_an_error(key: str, value: float, raw: Raw, tmp_path: Path) -> None:
    path = written(tmp_path, raw, raw.counts)
    with h5py.File(path, "r+") as file:
        file["frames"].attrs[key] = value
    with pytest.raises(pp.InputError, match=f"packed ones, with the attribute {key}"):
        read(path, raw)
    with h5py.File(path, "r+") as file:
        file["frames"].attrs[key] = {"scale_factor": 1.0, "add_offset": 0.0}[key]
    read(path, raw)


def test_dark_frames_that_take_light_away_are_said(raw: Raw, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(100, 3, raw.counts.shape)
    for level, said in ((100.0, 0), (160.0, 1)):
        frames = (raw.counts + noise).astype(np.float32)
        path = written(tmp_path, raw, frames, dark=np.full((32, 32), level))
        found = messages(read(path, raw, dark="dark", units="counts"), "dark-frames")
        assert len(found) == said
    assert "of the same exposure and gain" in found[0]


def test_what_a_flat_field_masks_is_said(raw: Raw, tmp_path: Path) -> None:
    flat = np.ones((32, 32))
    flat[:3] = np.nan
    flat[10, 10] = 0
    path = written(tmp_path, raw, raw.counts, flat=flat)
    (message,) = messages(read(path, raw, flat="flat"), "flat-field")
    assert "masked 97 of 1024 pixels" in message


def test_images_that_are_missing_are_named_by_their_numbers(raw: Raw, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for k, frame in enumerate(raw.counts):
        if k not in (17, 30):
            tifffile.imwrite(tmp_path / f"scan_7_{k + 100:05d}.tif", frame)
    with pytest.raises(pp.InputError, match=r"leave out those of 2 patterns \(17, 30\)"):
        read(tmp_path, raw, positions=str(raw.table()))


def test_patterns_without_any_structure_end_the_search_for_a_probe(
    raw: Raw, tmp_path: Path
) -> None:
    frames = np.zeros_like(raw.counts)
    frames[:, 16, 16] = 1000
    scan = read(written(tmp_path, raw, frames), raw, probe="auto")
    assert messages(scan, "probe-from-nothing")


def test_a_recipe_beside_another_file(raw: Raw, tmp_path: Path) -> None:
    """Each sentence names what the file has, or what of the recipe does not belong to it."""
    path = written(tmp_path, raw, raw.counts, dead=np.zeros((32, 32), "u1"))
    recipe = {"patterns": "frames", "positions": "y_um,x_um", "mask": "dead"}
    read(path, raw, recipe=recipe)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["data/counts"], file["y_um"], file["x_um"] = raw.counts, raw.y * 1e6, raw.x * 1e6
    with pytest.raises(pp.InputError, match=r"as 'frames' in .*; probably patterns='data/counts'"):
        read(other, raw, recipe=recipe)
    with pytest.raises(pp.InputError, match=r"'dead' .* received data/counts.* leave out the opt"):
        read(other, raw, recipe=recipe, patterns="data/counts")
    with pytest.raises(pp.InputError, match="received nothing; name one, or leave the option mask"):
        read(path, raw, recipe=recipe, mask=" ")
    with pytest.raises(pp.InputError, match=r"a Zarr store, received the folder .*, which is none"):
        read(path, raw, recipe=recipe, mask=str(tmp_path))


def test_a_number_of_a_recipe_is_not_that_of_the_next_file(raw: Raw) -> None:
    path, points = raw.eiger(), str(raw.table())
    how = {"positions": points, "probe": str(raw.native), "centre": "16,16"}
    assert not messages(prepare(path, **how, energy_eV=ENERGY * 1.005), "number-replaced")
    said = messages(prepare(path, **how, energy_eV=ENERGY * 1.1), "number-replaced")
    assert len(said) == 1
    assert f"energy_eV=9680 is taken in place of {ENERGY:g}, which is in" in said[0]


@pytest.mark.parametrize("lost", ["frames", "x_um"])
@pytest.mark.parametrize("kind", [h5py.SoftLink("/gone"), h5py.ExternalLink("gone.h5", "/a")])
def test_a_link_that_leads_nowhere_is_what_is_missing(
    kind: Any, lost: str, raw: Raw, tmp_path: Path
) -> None:
    path = written(tmp_path, raw, raw.counts)
    with h5py.File(path, "r+") as file:
        del file[lost]
        file[lost] = kind
    with pytest.raises(pp.InputError, match=rf"'{lost}' is a link to '/?gone"):
        read(path, raw)
