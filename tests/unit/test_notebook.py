"""What a notebook shows of scans, results, models, scores and options."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import ptychopinn as pp
from ptychopinn.report.bars import ProgressBar

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    scan = replace(pp.simulate(N=32, patterns=60, photons=1e6, seed=2), name=EVIL)
    mask = np.ones((32, 32), bool)
    mask[3, 4] = False
    scan = replace(scan, mask=mask, pixel_size_m=5e-9)
    result = pp.refine(scan, None, pp.RefineConfig(passes=3), no_mend="all")
    return {
        "scan": scan,
        "result": result,
        "evaluation": pp.evaluate(result, truth=scan, data=scan),
        "model": pp.load_model(),
        "config": pp.Config(),
    }


@pytest.mark.parametrize("name", ["scan", "result", "evaluation", "model", "config"])
def test_a_value_shows_itself(name: str, values: dict[str, Any]) -> None:
    value = values[name]
    html = value._repr_html_()
    assert len(html) < 40_000
    assert "<script" not in html
    assert len(repr(value)) < 300
    assert "\n" not in repr(value)
    pictures = re.findall(r"base64,([^\"]+)", html)
    assert len(pictures) == (name in ("scan", "result", "model"))
    for picture in pictures:
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
        assert image.ndim == 3
        assert image.std() > 5, "it shows something"


@pytest.mark.parametrize("name", ["scan", "result", "evaluation", "model"])
def test_a_notebook_shows_a_figure(name: str, values: dict[str, Any]) -> None:
    """Also without pyplot, which tells notebooks how to show those of its own."""
    image = Image.open(io.BytesIO(values[name].plot()._repr_png_()))
    assert image.format == "PNG"
    assert np.asarray(image.convert("L")).std() > 5


def test_a_fit_is_one_line(values: dict[str, Any]) -> None:
    assert len(repr(values["result"].fit)) < 120


@pytest.mark.parametrize(("notebook", "fits"), [(True, True), (False, False)])
def test_a_bar_in_a_notebook_leaves_room_for_its_numbers(notebook: bool, fits: bool) -> None:
    """A terminal is filled; a notebook may be narrow, and cuts off what is at the right."""
    bar = ProgressBar(Console(force_jupyter=notebook, force_terminal=True, width=115), 15)
    bar.epoch(0, 10)
    bar.step(0.25, 300.0)
    shown = io.StringIO()
    Console(file=shown, width=115).print(bar._bar.get_renderable())
    assert "0.25 300 patterns/s" in shown.getvalue()
    assert (len(shown.getvalue().rstrip()) < 80) == fits


def test_options_say_what_is_not_the_default(values: dict[str, Any]) -> None:
    assert repr(pp.RefineConfig(passes=12)) == "PhysicsConfig(passes=12)"
    alone = pp.evaluate(values["result"], truth=values["scan"])
    assert alone.verdict is None and "verdict" not in repr(alone)


def test_what_matters_is_said(values: dict[str, Any]) -> None:
    assert "60 of 32 x 32" in values["scan"]._repr_html_()
    assert "bad pixels" in values["scan"]._repr_html_()
    shown = values["result"]._repr_html_()
    assert values["result"].fit.verdict in shown
    assert "photon noise" in shown
    assert "unrolled" in values["model"]._repr_html_()
    assert "training.epochs" in values["config"]._repr_html_()
