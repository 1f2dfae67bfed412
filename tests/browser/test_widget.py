"""The script of the live canvas of notebooks, in a browser: with a stand-in for the model that
a notebook gives it."""

from __future__ import annotations

import base64
import io
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.data.grey import grey_image
from ptychopinn.data.levels import phase_levels

# What a notebook does: the traits of the widget, whose changes are told, and a place to draw.
PAGE = """<!doctype html><meta charset="utf-8"><title>notebook</title><main></main>
<script type="module">
const script = `data:text/javascript;base64,${"SCRIPT"}`;
const { default: widget } = await import(script);
const told = {}, traits = { picture: new DataView(new ArrayBuffer(0)), caption: "", misfits: [] };
const model = {
  get: (name) => traits[name],
  on: (event, work) => { (told[event] ??= new Set()).add(work); },
  off: (event, work) => { told[event].delete(work); },
};
window.give = (name, value) => {
  traits[name] = name === "picture"
    ? new DataView(Uint8Array.from(atob(value), (c) => c.charCodeAt(0)).buffer) : value;
  for (const work of told[`change:${name}`] ?? []) work();
};
window.listeners = () => Object.values(told).reduce((count, all) => count + all.size, 0);
window.end = widget.render({ model, el: document.querySelector("main") });
</script>"""


def picture(side: int) -> str:
    """A phase of ``side`` pixels as the widget sends it."""
    y, x = np.indices((side, side)) / side
    obj = np.exp(1j * np.sin(9 * x) * y).astype(np.complex64)
    file = io.BytesIO()
    grey_image(phase_levels(obj, x > 0.1)[0]).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture
def notebook(browser: Any, tmp_path: Path) -> Any:
    script = (files("ptychopinn.report") / "web" / "live_canvas.js").read_bytes()
    page = browser.new_page(viewport={"width": 700, "height": 700})
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    (tmp_path / "page.html").write_text(
        PAGE.replace("SCRIPT", base64.b64encode(script).decode()), encoding="utf-8"
    )
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function("() => 'end' in window")
    yield page
    page.close()
    assert said == []


def test_the_widget_shows_what_it_is_given(notebook: Any) -> None:
    page = notebook
    # Before there is anything it takes no room, and shows no broken picture.
    assert not page.locator("img").is_visible() and not page.locator("svg").is_visible()
    page.evaluate("([p]) => give('picture', p)", [picture(64)])
    page.wait_for_function("() => document.querySelector('img').naturalWidth === 64")
    first = page.locator("img").bounding_box()
    # A small object is as large as one can see, and what follows lies below it.
    assert first["width"] == first["height"] >= 240
    page.evaluate("() => give('misfits', [0.1, 0.02, 0.004])")
    page.evaluate("() => give('caption', 'pass 3 of 8, 0.004')")
    assert page.get_by_text("pass 3 of 8, 0.004").is_visible()
    drawn = page.locator("svg").bounding_box()
    assert drawn["y"] >= first["y"] + first["height"]
    points = page.locator("polyline").get_attribute("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    # Logarithmic: the first step is 1/5, the second one as well.
    assert heights == sorted(heights) and len(heights) == 3
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.15)
    before = page.locator("img").get_attribute("src")
    page.evaluate("([p]) => give('picture', p)", [picture(600)])
    page.wait_for_function("() => document.querySelector('img').naturalWidth === 600")
    gone = "async (a) => { try { await fetch(a); return false; } catch { return true; } }"
    assert page.evaluate(gone, before), "the picture before is kept for ever"
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.locator("img").bounding_box()["width"] <= 360
    assert page.evaluate("() => listeners()") == 3
    page.evaluate("() => end()")
    assert page.evaluate("() => listeners()") == 0


def test_losses_that_are_negative_have_a_curve(notebook: Any) -> None:
    notebook.evaluate("() => give('misfits', [-3, -3.5, -3.2])")
    points = notebook.locator("polyline").get_attribute("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    assert len(heights) == 3 and heights[0] < heights[2] < heights[1]
    notebook.evaluate("() => give('misfits', [-3])")
    assert not notebook.locator("svg").is_visible()
