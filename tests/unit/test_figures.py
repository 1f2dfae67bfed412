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
from ptychopinn.evaluation.beside import Compared
from ptychopinn.evaluation.prediction import predict_patterns
from ptychopinn.report.colours import CIRCLE, PHASE, limits, phases
from ptychopinn.report.curves import save_loss_curve
from ptychopinn.report.drawing import write
from ptychopinn.report.page import save_evaluation
from ptychopinn.report.pictures import save_amplitude, save_phase, view
from ptychopinn.report.plots import FIGURES
from ptychopinn.report.report_data import page_data

RED = (0xB3, 0x26, 0x1E)
UNSEEN = (0xC6, 0xD3, 0xE3)


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


def test_patterns_of_positions_whose_errors_are_known(pair: Any) -> None:
    """As refined positions have them: a few of the positions were taken with the errors of all."""
    result, scan = pair
    spread = np.tile(0.01 * np.eye(2), (len(result.positions_px), 1, 1))
    refined = replace(result, position_covariance=spread)
    assert refined.plot("patterns", scan).axes
    page = page_data(refined, Compared.of(refined, scan))
    assert page["patterns"]["groups"] and "patterns_note" not in page


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


def test_unseen_pixels_have_a_colour_of_their_own(tmp_path: Path, pair: Any) -> None:
    weight = np.ones((90, 100))
    weight[30:60, 30:60] = 0
    save_phase(replace(pair[0], weight=weight), tmp_path / "p.png")
    assert share_of(tmp_path / "p.png", UNSEEN) > 0.05


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


def test_phases_are_a_circle_only_where_they_wrap() -> None:
    ramp = np.linspace(0, 6 * np.pi, 10_000).reshape(100, 100)
    wide = phases(np.exp(1j * ramp))
    assert (wide.colours, wide.low, wide.high) == (CIRCLE, -np.pi, np.pi)
    narrow = phases(np.exp(1j * np.linspace(-0.5, 0.5, 10_000).reshape(100, 100)))
    assert narrow.colours == PHASE
    assert (narrow.low, narrow.high) == pytest.approx((-0.5, 0.5), abs=0.01)


def test_a_picture_that_spans_less_than_the_circle_is_cut_where_it_is_empty() -> None:
    """Most of it at 0 and a little up to 4 rad: nothing wraps."""
    steps = np.concatenate((np.zeros(9000), np.linspace(0, 4.0, 1000))).reshape(100, 100)
    found = phases(np.exp(1j * steps))
    assert not found.cyclic
    assert found.high - found.low == pytest.approx(4.0, abs=0.1)
    np.testing.assert_allclose(np.ptp(found.values), 4.0, atol=1e-3)


def test_limits_are_those_of_the_scanned_area_and_not_symmetric(pair: Any) -> None:
    result, _ = pair
    obj = result.object.copy()
    obj[:5] *= 10 * np.exp(2.0j)
    figure = replace(result, object=obj).plot("amplitude")
    low, high = figure.axes[0].images[0].get_clim()
    assert 0.5 < low < high < 1.2
    low, high = (
        replace(result, object=np.exp(1j * np.abs(np.angle(obj))))
        .plot("phase")
        .axes[0]
        .images[0]
        .get_clim()
    )
    assert abs(low + high) > 0.1 * (high - low)
    assert limits(np.ma.masked_all((3, 3))) == (0.0, 1.0)


@pytest.mark.parametrize("pixel", [None, 5e-9])
def test_every_figure_of_a_result(pair: Any, pixel: float | None, tmp_path: Path) -> None:
    result, scan = pair
    curve = np.stack((np.linspace(0, 1, 20), np.linspace(1, 0, 20), np.full(20, 50.0)))
    modes = np.concatenate((result.probe, 0.3 * np.roll(result.probe, 4, 1)))
    full = replace(
        result, pixel_size_m=pixel, losses=np.array([0.5, 0.1, 0.02]), half_split=curve,
        uncertainty=np.full(result.object.shape, 0.1), probe=modes,
        slices=np.stack((np.sqrt(result.object),) * 2),
        effects={"slices": np.array([2, 8e-6, 5e-9, 1.5e-10])},
    )  # fmt: skip
    for name in FIGURES:
        figure = full.plot(name, scan)
        write(figure, tmp_path / f"{name}.png")
        bars = [a for axes in figure.axes for a in axes.artists if type(a).__name__ == "ScaleBar"]
        known = pixel is not None and name in (
            "amplitude",
            "phase",
            "complex",
            "slices",
            "coverage",
            "uncertainty",
            "probe",
        )
        assert len(bars) == known, name
    assert "mode 2: " in full.plot("probe").axes[1].get_title()
    assert "slice 2 of 2: 8 µm downstream" in full.plot("slices").axes[1].get_title()
    maps = {one["name"]: one for one in page_data(full, Compared.of(full, scan))["maps"]}
    assert maps["slice 2: phase"]["limits"] == pytest.approx(
        [end / 2 for end in maps["phase"]["limits"]], abs=0.02
    )
    assert len(list(tmp_path.iterdir())) == len(FIGURES)
    assert len(scan.plot().axes) >= 3
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_figures_without_what_they_need_are_refused(pair: Any) -> None:
    result, _ = pair
    for name, words in (
        ("misfit", "give it as data"),
        ("patterns", "give it as data"),
        ("passes", "refine it"),
        ("resolution", "uncertainty=True"),
        ("uncertainty", "uncertainty=True"),
        ("slices", "refine with them"),
        ("picture", "one of overview, amplitude"),
    ):
        with pytest.raises(InputError, match=words):
            result.plot(name)


def test_moves_and_error_ellipses_are_drawn_to_be_seen(pair: Any) -> None:
    result, scan = pair
    m = len(scan.positions_px)
    moves = np.random.default_rng(0).normal(size=(m, 2)) * 0.01
    moved = replace(result, positions_px=scan.positions_px + moves + 3.0)
    covariance = np.tile(np.diag([0.04, 0.01]), (m, 1, 1))
    given = replace(scan, object=None)
    figure = replace(moved, position_covariance=covariance).plot("positions", given)
    words = figure.axes[0].get_title()
    assert "times as long" in words and "nine of ten" in words
    # A shift of all is none.
    assert float(words.split("up to ")[1].split()[0]) < 0.1
    (ellipses,) = [c for c in figure.axes[0].collections if type(c).__name__ == "EllipseCollection"]
    larger = float(words.split("drawn ")[1].split()[0])
    np.testing.assert_allclose(ellipses.get_widths(), larger * 2 * 2.146 * 0.2, rtol=1e-3)
    np.testing.assert_allclose(np.abs(ellipses.get_angles()), 90)


def test_patterns_of_some_positions_are_those_of_all(pair: Any) -> None:
    result, scan = pair
    found = Compared.of(result, scan).patterns([4, 17])
    np.testing.assert_allclose(found.modelled, predict_patterns(result)[[4, 17]], rtol=1e-5)
    np.testing.assert_array_equal(found.measured, scan.diffraction[[4, 17]])
    # What was found of the beam is part of it.
    beam = replace(result, effects={"beam-current": np.linspace(0.5, 1.5, 30)})
    part = Compared.of(beam, scan).patterns([4, 17]).modelled
    np.testing.assert_allclose(part, predict_patterns(beam)[[4, 17]], rtol=1e-5)


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
