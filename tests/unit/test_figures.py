"""Pictures: they are written, have the promised content, and leave no global state."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.io import imread

from oracle.forward import intensities
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation import evaluate
from ptychopinn.report.curves import save_loss_curve
from ptychopinn.report.drawing import phase_colours
from ptychopinn.report.page import save_evaluation
from ptychopinn.report.pictures import save_amplitude, save_phase, view

RED = (0xB3, 0x26, 0x1E)
GREY = (0x9A, 0x9A, 0x9A)


def share_of(path: Path, colour: tuple[int, int, int]) -> float:
    picture = imread(path)[..., :3].astype(int)
    return float((np.abs(picture - np.array(colour)).max(axis=-1) <= 2).mean())


@pytest.fixture(scope="module")
def pair() -> tuple[Reconstruction, Scan]:
    rng = np.random.default_rng(3)
    y, x = np.indices((90, 100))
    obj = (0.8 + 0.2 * np.cos(y / 6)) * np.exp(0.8j * np.sin(x / 7))
    u, v = np.indices((32, 32)) - 16
    probe = 60 * np.exp(-(u**2 + v**2) / 40)[None] * np.exp(0.02j * (u**2 + v**2))
    positions = rng.uniform((20, 20), (70, 80), size=(30, 2))
    counts = rng.poisson(intensities(obj, probe, positions)).astype(np.float32)
    scan = Scan(diffraction=counts, positions_px=positions, probe=probe, object=obj)
    result = Reconstruction(
        object=obj + 0.02 * rng.normal(size=obj.shape),
        origin_px=(0, 0),
        weight=np.ones(obj.shape),
        probe=probe,
        positions_px=positions,
        name="a name",
    )
    return result, scan


def test_pictures_of_the_object(tmp_path: Path, pair: Any) -> None:
    result, _ = pair
    save_amplitude(result, tmp_path / "a.png")
    save_phase(replace(result, pixel_size_m=5e-9), tmp_path / "p.png")
    for name in ("a.png", "p.png"):
        picture = imread(tmp_path / name)
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 20
        assert share_of(tmp_path / name, RED) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "p.png"}


def test_a_note_is_a_red_banner(tmp_path: Path, pair: Any) -> None:
    odd = replace(pair[0], name="a $name with _no formula")
    note = "POOR FIT: $ " + "long explanation " * 5
    save_amplitude(odd, tmp_path / "a.png", note=note)
    assert share_of(tmp_path / "a.png", RED) > 0.02


def test_unseen_pixels_are_grey(tmp_path: Path, pair: Any) -> None:
    weight = np.ones((90, 100))
    weight[30:60, 30:60] = 0
    save_phase(replace(pair[0], weight=weight), tmp_path / "p.png")
    assert share_of(tmp_path / "p.png", GREY) > 0.05


def test_the_view_is_the_scanned_box_and_a_little_more(pair: Any) -> None:
    result = replace(
        pair[0], origin_px=(-3, 8), positions_px=pair[0].positions_px + np.array([-3, 8])
    )
    picture, (left, right, bottom, top) = view(result)
    low, high = result.positions_px.min(axis=0), result.positions_px.max(axis=0)
    assert picture.shape == (bottom - top, right - left)
    assert low[0] - 6 < top < low[0] - 3
    assert low[1] - 6 < left < low[1] - 3
    assert high[0] + 3 < bottom < high[0] + 7
    row, column = round(top + 0.5) + 3, round(left + 0.5) - 8
    assert picture[0, 0] == result.object[row, column]


def test_phase_colours_are_a_circle_only_when_needed() -> None:
    wide, bound = phase_colours(np.ma.masked_invalid(np.linspace(-3.1, 3.1, 100)))
    assert bound == pytest.approx(np.pi)
    np.testing.assert_allclose(wide(0.0), wide(1.0), atol=0.02)
    narrow, bound = phase_colours(np.ma.masked_invalid(np.linspace(-0.5, 0.5, 100)))
    assert bound == pytest.approx(0.5, abs=0.02)
    assert np.abs(np.array(narrow(0.0)) - np.array(narrow(1.0))).max() > 0.1


@pytest.mark.parametrize("what", ["truth", "data", "both"])
def test_the_evaluation_page(tmp_path: Path, pair: Any, what: str) -> None:
    result, scan = pair
    given = {"truth": {"truth": scan}, "data": {"data": scan}}
    given["both"] = given["truth"] | given["data"]
    save_evaluation(evaluate(result, **given[what]), tmp_path / "e.png")
    assert imread(tmp_path / "e.png").std() > 20
    assert share_of(tmp_path / "e.png", RED) < 0.001


def test_a_poor_fit_is_announced(tmp_path: Path, pair: Any) -> None:
    result, scan = pair
    rough = np.exp(3j * np.random.default_rng(1).normal(size=(90, 100)))
    save_evaluation(evaluate(replace(result, object=rough), data=scan), tmp_path / "e.png")
    assert share_of(tmp_path / "e.png", RED) > 0.005


def test_loss_curve(tmp_path: Path) -> None:
    history = {
        "training": [(1, 0.5), (2, 0.05), (3, 0.01)],
        "validation": [(1, 0.6), (3, float("nan"))],
        "empty": [],
    }
    save_loss_curve(history, tmp_path / "loss.png")
    assert imread(tmp_path / "loss.png").std() > 5
    with pytest.raises(InputError, match="finite"):
        save_loss_curve({"training": [(1, float("nan"))]}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_no_window_system_and_no_global_figures(tmp_path: Path, pair: Any) -> None:
    save_amplitude(pair[0], tmp_path / "a.png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
