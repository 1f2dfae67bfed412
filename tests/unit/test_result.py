"""The result and its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.io.reconstructions import RESULT_FILE, load_reconstruction
from ptychopinn.physics.geometry import footprint

ARRAYS = ("object", "origin_px", "weight", "probe", "positions_px", "losses")


def example(**changes: Any) -> Reconstruction:
    rng = np.random.default_rng(5)

    def field(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    weight = rng.random((61, 74))
    weight[:3] = 0
    values: dict[str, Any] = {
        "object": field(61, 74),
        "origin_px": np.array([-7, 12]),
        "weight": weight,
        "probe": field(2, 32, 32),
        "positions_px": rng.uniform((9, 28), (38, 70), size=(20, 2)),
        "pixel_size_m": 8.5e-9,
        "energy_eV": 8800.0,
        "distance_m": 1.92,
        "losses": np.array([0.5, 0.25, 0.2]),
        "name": "a scan",
        "provenance": {"made": {"by": ["test", 1, None]}},
    }
    return Reconstruction(**(values | changes))


def first_pixels(path: Path, n: int) -> np.ndarray:
    """Where ptychodus puts the first pixel of each patch on the object array: (M, 2) as (y, x).

    It counts from the middle (W-1)/2 of the object and from the middle (N-1)/2 of the patch.
    """
    with h5py.File(path) as file:
        attrs = file["object"].attrs
        _, height, width = file["object"].shape
        y = (file["probe_position_y_m"][()] - attrs["center_y_m"]) / attrs["pixel_height_m"]
        x = (file["probe_position_x_m"][()] - attrs["center_x_m"]) / attrs["pixel_width_m"]
        middle = np.stack([y + (height - 1) / 2, x + (width - 1) / 2], axis=1)
        return middle - (n - 1) / 2


def test_the_layout_is_that_of_a_ptychodus_product(tmp_path: Path) -> None:
    result = example()
    path = result.save(tmp_path)
    assert path == tmp_path / RESULT_FILE
    with h5py.File(path) as file:
        assert set(file) == {
            "object", "object_layer_spacing_m", "probe", "probe_position_indexes",
            "probe_position_x_m", "probe_position_y_m", "loss_epochs", "loss_values", "ptychopinn",
        }  # fmt: skip
        assert set(file.attrs) == {
            "name", "comments", "detector_object_distance_m", "photon_energy_eV",
            "probe_photon_count", "exposure_time_s", "mass_attenuation_m2_per_kg",
            "tomography_angle_deg", "focus_object_distance_m", "tilt_angle_deg", "far_field",
        }  # fmt: skip
        assert file["object"].shape == (1, 61, 74)
        assert file["object"].dtype == np.complex64
        assert set(file["object"].attrs) == {
            "center_x_m", "center_y_m", "pixel_width_m", "pixel_height_m",
        }  # fmt: skip
        assert file["probe"].shape == (1, 2, 32, 32)
        assert file["probe"].dtype == np.complex64
        assert set(file["probe"].attrs) == {"pixel_width_m", "pixel_height_m"}
        assert file["object_layer_spacing_m"].shape == (0,)
        assert file["probe_position_indexes"][()].tolist() == list(range(20))
        assert file["probe_position_indexes"].dtype == np.int64
        assert file["loss_epochs"][()].tolist() == [1, 2, 3]
        assert file["loss_values"].dtype == np.float64
        assert file.attrs["photon_energy_eV"] == 8800.0
        assert file.attrs["far_field"]
        photons = (np.abs(result.probe) ** 2).sum()
        assert file.attrs["probe_photon_count"] == pytest.approx(photons, abs=1)
        own = file["ptychopinn"]
        assert own.attrs["format"] == "ptychopinn-reconstruction"
        assert own.attrs["format_version"] == 1
        assert json.loads(own.attrs["provenance"]) == {"made": {"by": ["test", 1, None]}}


@settings(deadline=None)  # it writes files
@given(
    st.tuples(st.integers(-500, 500), st.integers(-500, 500)),
    st.sampled_from([None, 1e-9, 3.7e-8]),
)
def test_the_centre_maps_positions_to_the_canvas(
    tmp_path_factory: pytest.TempPathFactory, origin: tuple[int, int], pixel: float | None
) -> None:
    start = example()
    moved = start.positions_px - start.origin_px + np.array(origin)
    result = example(origin_px=origin, positions_px=moved, pixel_size_m=pixel)
    path = result.save(tmp_path_factory.mktemp("product") / "product.h5")
    n = result.N
    np.testing.assert_allclose(
        first_pixels(path, n), result.positions_px - result.origin_px - n / 2, atol=1e-8
    )


@pytest.mark.parametrize("known", [True, False])
def test_round_trip(tmp_path: Path, known: bool) -> None:
    unknown = {"pixel_size_m": None, "energy_eV": None, "distance_m": None}
    result = example(**({} if known else unknown))
    result.save(tmp_path / "x.h5")
    again = load_reconstruction(tmp_path / "x.h5")
    for key in ARRAYS:
        np.testing.assert_array_equal(getattr(again, key), getattr(result, key))
        assert getattr(again, key).dtype == getattr(result, key).dtype
    for key in ("pixel_size_m", "energy_eV", "distance_m", "name", "provenance"):
        assert getattr(again, key) == getattr(result, key)


def test_the_way_to_the_detector_is_kept(tmp_path: Path) -> None:
    """Else the patterns of a near-field result would be predicted as those of the far field."""
    given = {"pixel_size_m": 4e-8, "energy_eV": 8e3, "distance_m": 0.02}
    result = example(**given, propagation="near-field", focus_distance_m=0.5)
    found = load_reconstruction(result.save(tmp_path / "near.h5"))
    assert (found.propagation, found.focus_distance_m) == ("near-field", 0.5)
    np.testing.assert_array_equal(found.propagator.kernel, result.propagator.kernel)
    with h5py.File(tmp_path / "near.h5") as file:
        assert not file.attrs["far_field"]
    far = load_reconstruction(example().save(tmp_path / "far.h5"))
    assert (far.propagation, far.focus_distance_m) == ("far-field", None)


def test_unknown_pixel_size_is_one_and_said(tmp_path: Path) -> None:
    example(pixel_size_m=None, distance_m=None).save(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["object"].attrs["pixel_width_m"] == 1.0
        assert file.attrs["detector_object_distance_m"] == 0.0
        assert not file["ptychopinn"].attrs["pixel_size_known"]
        assert "unknown" in file.attrs["comments"]


def test_a_long_provenance_fits(tmp_path: Path) -> None:
    provenance = {"history": ["x" * 1000] * 300}
    example(provenance=provenance).save(tmp_path / "x.h5")
    assert load_reconstruction(tmp_path / "x.h5").provenance == provenance


def test_a_product_of_ptychodus_is_read(tmp_path: Path) -> None:
    result = example()
    path = result.save(tmp_path / "product.h5")
    with h5py.File(path, "r+") as file:
        del file["ptychopinn"]
        del file["loss_values"], file["loss_epochs"]
        file.attrs["probe_energy_eV"] = file.attrs["photon_energy_eV"]
        del file.attrs["photon_energy_eV"]
    again = load_reconstruction(path)
    np.testing.assert_array_equal(again.object, result.object)
    np.testing.assert_allclose(again.positions_px, result.positions_px - result.origin_px)
    assert again.origin_px.tolist() == [0, 0]
    assert again.energy_eV == 8800.0
    assert again.losses.shape == (0,)
    assert set(np.unique(again.weight)) <= {0.0, 1.0}


def test_footprint_marks_what_the_probe_lit() -> None:
    y, x = np.indices((32, 32)) - 16
    probe = (np.hypot(y, x) <= 5).astype(np.complex64)[None]
    lit = footprint(np.array([[20.2, 30.0], [40.0, 30.0]]), probe, (64, 64))
    yy, xx = np.indices((64, 64))
    expected = (np.hypot(yy - 20, xx - 30) <= 5) | (np.hypot(yy - 40, xx - 30) <= 5)
    np.testing.assert_array_equal(lit, expected.astype(np.float32))


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    example().save(tmp_path)
    with pytest.raises(InputError, match="force=True"):
        example().save(tmp_path)
    example(name="second").save(tmp_path, force=True)
    assert load_reconstruction(tmp_path).name == "second"


def damage_nothing_there(path: Path) -> None:
    path.unlink()


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def damage_text(path: Path) -> None:
    path.write_text("not HDF5")


def damage_foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["other"] = 1


def damage_object_is_a_group(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["object"]
        file.create_group("object")


def damage_layers(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        attrs = dict(file["object"].attrs)
        layers = np.repeat(file["object"][()], 2, axis=0)
        del file["object"]
        file["object"] = layers
        file["object"].attrs.update(attrs)


def damage_newer(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["ptychopinn"].attrs["format_version"] = 99


def damage_weight_shape(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["ptychopinn/weight"]
        file["ptychopinn/weight"] = np.ones((3, 3))


def damage_provenance(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["ptychopinn"].attrs["provenance"] = "{"


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing_there,
        damage_truncated,
        damage_text,
        damage_foreign,
        damage_object_is_a_group,
        damage_layers,
        damage_newer,
        damage_weight_shape,
        damage_provenance,
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, damage: Any) -> None:
    path = example().save(tmp_path)
    damage(path)
    with pytest.raises(InputError) as caught:
        load_reconstruction(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"object": np.ones((3, 4, 5))}, "object"),
        ({"object": np.full((61, 74), np.nan)}, "finite"),
        ({"origin_px": (0.5, 0)}, "whole"),
        ({"origin_px": (1, 2, 3)}, "origin_px"),
        ({"weight": np.ones((3, 3))}, "weight"),
        ({"weight": -np.ones((61, 74))}, "weight"),
        ({"probe": np.ones((4, 5))}, "probe"),
        ({"probe": np.full((4, 4), np.inf)}, "probe"),
        ({"positions_px": np.ones((4, 3))}, "positions_px"),
        ({"positions_px": np.full((4, 2), np.nan)}, "positions_px"),
        ({"pixel_size_m": 0.0}, "pixel_size_m"),
        ({"losses": np.ones((2, 2))}, "losses"),
        ({"provenance": {"path": Path("x")}}, "provenance"),
    ],
)
def test_the_contract_is_checked(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        example(**changes)


def test_it_is_immutable_and_owns_its_arrays() -> None:
    obj = np.ones((61, 74), dtype=np.complex64)
    result = example(object=obj)
    obj[0, 0] = 7
    assert result.object[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        result.object[0, 0] = 2
    assert replace(result, name="b").name == "b"
