"""The pages of ``ptychopinn serve`` as somebody uses them, in a browser."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from shutil import copytree
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from browsing import WAIT_MS, Open, Served

import ptychopinn as pp
from ptychopinn.serving.live_tiles import LiveTiles

PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
# Passes that nobody waits for.
ENDLESS = "100000"


@pytest.fixture(scope="session")
def expect(chromium: str) -> Any:
    from playwright.sync_api import expect

    expect.set_options(timeout=WAIT_MS)
    return expect


def started(page: Any, scan: str, output: str, expect: Any) -> None:
    """A refinement that goes on until it is stopped."""
    page.get_by_role("link", name="Refine", exact=True).click()
    expect(page.get_by_label("Result or scan")).to_have_value(scan)
    page.get_by_label("New folder for the result").fill(output)
    page.get_by_label("Passes, at most").fill(ENDLESS)
    page.get_by_label("Refine the probe").check()
    page.get_by_label("Backend").select_option("numpy")
    page.get_by_role("button", name="Start").click()


# How the parts of what a job shows look by now: object, probe, a measured pattern, its model.
LOOKS = "() => [...document.querySelectorAll('.beside canvas')].map((c) => c.toDataURL())"


def test_from_a_scan_to_a_result_that_is_kept(opened: Open, served: Served, expect: Any) -> None:
    page = opened(viewport=DESK)
    # The token is out of the address at once.
    expect(page).to_have_url(f"{served.address}/#/runs")
    page.get_by_role("link", name="Scans").click()
    page.get_by_role("link", name="scan.h5", exact=True).click()
    expect(page.get_by_text("It can be reconstructed.")).to_be_visible()
    expect(page.get_by_text("225", exact=True)).to_be_visible()
    started(page, "scan.h5", "watched", expect)

    # Another person sees the same.
    other = opened(viewport=DESK)
    other.get_by_role("link", name=re.compile("Jobs")).click()
    expect(other.locator(".badge.running")).to_be_visible()
    expect(page.locator(".badge.running")).to_be_visible()
    for name in ("Phase of job 1", "Mode 1 of the probe", "Measured pattern", "Modelled pattern"):
        expect(page.get_by_role("img", name=re.compile(name)).first).to_be_visible()
    expect(page.get_by_text("of 225 of 225 looked at")).to_be_visible()
    before = page.evaluate(LOOKS)
    assert len(set(before)) == len(before) == 8
    # Object and probe change while they are watched, and what is modelled with them.
    page.wait_for_function(
        f"(before) => {{ const now = ({LOOKS})();"
        " return [0, 1].every((k) => now[k] !== before[k]); }",
        arg=before,
    )
    expect(page.get_by_role("img", name=re.compile("^misfit: from"))).to_be_visible()
    expect(page.get_by_label("What the command says")).to_contain_text("pass 1/")

    # For everybody, on a phone as well.
    assert looked_at(page) == []
    page.set_viewport_size(PHONE)
    assert looked_at(page, axe=False) == []

    # Closed and opened again, it is still there; the other one stops it.
    address = page.url
    page.close()
    page = other.context.new_page()
    page.goto(address)
    expect(page.get_by_role("alert")).to_contain_text("token")
    page.get_by_label("Token").fill(served.key)
    page.get_by_role("button", name="Open").click()
    expect(page.locator(".badge.running")).to_be_visible()
    other.get_by_role("button", name="Stop job 1").click()
    expect(other.locator(".badge.stopped")).to_be_visible()
    expect(page.locator(".badge.stopped")).to_be_visible()
    page.get_by_role("link", name="Result: watched").click()
    expect(page.locator(".badge.good")).to_be_visible()
    with page.expect_download() as kept:
        page.get_by_role("button", name="Download run.json").click()
    record = json.loads(kept.value.path().read_text())
    assert kept.value.suggested_filename == "run.json" and record["fit"]["verdict"] == "good"


def test_a_part_is_unpacked_as_it_was_shown(opened: Open, tmp_path: Path) -> None:
    rng, made = np.random.default_rng(0), tmp_path / "now.live"
    canvas = rng.integers(0, 256, (300, 270), np.uint8)
    canvas[:, 250:] = 0
    head = {"format": "ptychopinn-live", "version": 1, "pass": 1,
            "parts": [{"kind": "canvas", "shape": canvas.shape, "limits": [-1, 1]}]}  # fmt: skip
    made.write_bytes(json.dumps(head).encode() + b"\n" + canvas.tobytes())
    page = opened()
    for _, message in LiveTiles().of(1, made).values():
        about, levels = page.evaluate(
            """async (bytes) => {
              const { unpacked } = await import("/live.js");
              const { about, levels } = await unpacked(new Uint8Array(bytes).buffer);
              return [about, [...levels]];
            }""",
            list(message),
        )
        (y, x), (height, width) = about["at"], about["size"]
        part = canvas[y : y + height, x : x + width]
        assert np.array_equal(np.reshape(levels, (height, width)), part)


def test_two_results_side_by_side(opened: Open, expect: Any) -> None:
    page = opened(viewport=DESK)
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()
    page.get_by_label("Compare long").check()
    page.get_by_label("Compare short").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("long leaves the least residual on this scan.")).to_be_visible()
    expect(page.locator(".badge.good")).to_be_visible()
    expect(page.locator(".badge.doubtful")).to_be_visible()
    page.wait_for_function(
        "() => { const shown = [...document.images].filter((i) => i.src);"
        " return shown.length > 1 && shown.every((i) => i.complete && i.naturalWidth > 50); }"
    )


def test_two_results_behind_one_slider(opened: Open, served: Served, expect: Any) -> None:
    copytree(served.folder / "short", served.folder / "copies" / "again")
    page = opened(viewport=DESK)
    # A result without a report has no slider.
    page.goto(f"{served.address}/#/compare/long,short")
    expect(page.get_by_text("long leaves the least residual on this scan.")).to_be_visible()
    expect(page.get_by_role("button", name="Compare with a slider")).to_have_count(0)
    page.goto(f"{served.address}/#/compare/short,copies%2Fagain")
    with page.context.expect_page() as both:
        page.get_by_role("button", name="Compare with a slider").click()
    both = both.value
    both.locator("html[data-ready=yes]").wait_for()
    slider = both.get_by_role("slider", name="how much of this result is shown")
    expect(slider).to_be_visible()
    for name in ("← short", "copies/again →"):
        expect(both.get_by_text(name, exact=True)).to_be_visible()
    look = "() => document.querySelector('canvas.picture').toDataURL()"
    before = both.evaluate(look)
    slider.press("Home")
    assert both.evaluate(look) != before
    both.locator("canvas.picture").hover()
    expect(both.get_by_text(re.compile(r"px.*: phase .* \| copies/again: phase "))).to_be_visible()


def test_words_of_the_table_are_not_torn(opened: Open, expect: Any) -> None:
    page = opened(viewport={"width": 1200, "height": 900})
    expect(page.get_by_role("link", name="short", exact=True)).to_be_visible()
    torn = page.evaluate(
        """() => [...document.querySelectorAll("thead th, td")].filter((cell) => {
          const words = document.createRange();
          words.selectNodeContents(cell);
          const lines = new Set([...words.getClientRects()].map((line) => line.top));
          return cell.children.length === 0 && !/\\s/.test(cell.textContent) && lines.size > 1;
        }).map((cell) => cell.textContent)"""
    )
    assert torn == [] and looked_at(page, axe=False) == []


def test_without_the_token_nothing_is_shown(opened: Open, served: Served, expect: Any) -> None:
    page = opened(key=False)
    expect(page.get_by_role("alert")).to_contain_text("received none")
    for wrong in ("wrong", f"{served.address}/#token=wrong", "ä"):
        page.get_by_label("Token").fill(wrong)
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert")).to_contain_text("token")
        assert "scan.h5" not in page.content()
        expect(page.get_by_label("Token")).to_have_value("")
    page.get_by_label("Token").fill(served.token)
    page.get_by_role("button", name="Open").press("Enter")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()


def test_by_keyboard_alone(opened: Open, served: Served, expect: Any) -> None:
    page = opened(viewport=DESK)
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()

    def reach(name: str) -> None:
        """Tab until this has the focus, which must be seen."""
        for _ in range(60):
            page.keyboard.press("Tab")
            found = page.evaluate(
                "() => { const e = document.activeElement, s = getComputedStyle(e);"
                " return [e.getAttribute('aria-label') || e.labels?.[0]?.textContent"
                " || e.textContent, s.outlineStyle, e.offsetWidth]; }"
            )
            if found[0].strip() == name:
                assert found[1] != "none", f"nobody sees that {name} has the focus"
                return
        raise AssertionError(f"{name} cannot be reached")

    reach("Skip to content")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "content"
    page.goto(f"{served.address}/#/scans")
    expect(page.get_by_role("heading", name="Scans")).to_be_visible()
    reach("scan.h5")
    page.keyboard.press("Enter")
    expect(page.get_by_text("It can be reconstructed.")).to_be_visible()
    reach("Refine")
    page.keyboard.press("Enter")
    expect(page.get_by_label("New folder for the result")).to_be_visible()
    reach("New folder for the result")
    page.keyboard.press("Control+a")
    page.keyboard.type("typed")
    reach("Passes, at most")
    page.keyboard.type(ENDLESS)
    reach("Start")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"#/job/\d+$"))
    job = page.locator(".badge.running, .badge.queued")
    expect(job).to_be_visible()
    name = page.url.rpartition("/")[2]
    reach(f"Stop job {name}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text=re.compile("ends|stopped"))).to_be_visible()
    expect(page.locator(".badge.stopped, .badge.failed")).to_be_visible()


def test_the_cursor_of_a_report_stays_on_the_picture(browser: Any, served: Served) -> None:
    page = browser.new_page()
    page.goto((served.folder / "short" / "report.html").as_uri())
    page.locator("html[data-ready=yes]").wait_for()
    picture, reading = page.locator("canvas.picture"), page.locator("output.reading").first

    def pressed(key: str, times: int) -> str:
        for _ in range(times):
            picture.press(key)
        return str(reading.inner_text())

    for corner in (("Shift+ArrowLeft", "Shift+ArrowUp"), ("Shift+ArrowRight", "Shift+ArrowDown")):
        for key in corner:
            assert pressed(key, 20) == pressed(key, 1)
    # Where the picture is larger than the window, what the cursor is at comes into it.
    looks = "() => document.querySelector('canvas.picture').toDataURL()"
    pressed("+", 6)
    before = page.evaluate(looks)
    pressed("Shift+ArrowLeft", 3)
    assert page.evaluate(looks) != before
    page.close()


def test_a_report_shows_every_slice(browser: Any, tmp_path: Path) -> None:
    made = {"patterns": 36, "N": 32, "slices": 2, "slice_spacing_m": 8e-6}
    thick = pp.simulate(object="leaves", seed=1, **made)
    config = pp.PhysicsConfig(passes=3, slices=2, slice_spacing_m=8e-6)
    pp.refine(thick, None, config, backend="numpy").save_page(tmp_path / "report.html", thick)
    page = browser.new_page()
    errors: list[Any] = []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto((tmp_path / "report.html").as_uri())
    page.locator("html[data-ready=yes]").wait_for()
    looks = "() => document.querySelector('canvas.picture').toDataURL()"
    seen = set()
    for name in ("phase", "slice 1: phase", "slice 2: phase", "slice 2: amplitude"):
        page.locator(".controls select").first.select_option(label=name)
        seen.add(page.evaluate(looks))
        assert name in page.locator(".stage > .ends:not([hidden])").first.inner_text()
    assert len(seen) == 4 and not errors
    page.locator("canvas.picture").press("ArrowLeft")
    assert "slice 2: amplitude" in page.locator("output.reading").first.inner_text()
    page.close()


def test_the_interface_describes_itself(opened: Open, served: Served, expect: Any) -> None:
    page = opened(viewport=DESK)
    page.get_by_role("link", name="API", exact=True).click()
    expect(page.get_by_role("heading", name="POST /api/jobs", exact=True)).to_be_visible()
    refine = page.get_by_role("table", name="JSON for POST /api/jobs: Refine")
    expect(refine.get_by_role("row", name="source", exact=False)).to_contain_text("needed")
    with page.context.expect_page() as plain:
        page.get_by_role("link", name="openapi.json").click(modifiers=["Control"])
    expect(plain.value.get_by_text('"openapi"')).to_be_visible()


VIEWS = {
    "runs": "Runs", "scans": "Scans", "jobs": "Jobs", "jobs/refine/scan.h5": "Jobs",
    "run/long": "long", "run/short": "short", "compare/long,short": "Side by side",
    "scan/scan.h5": "scan.h5", "scan/damaged.h5": "damaged.h5", "run/none": "That did not work",
    "job/99": "That did not work", "interface": "For scripts",
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_every_view(
    opened: Open, served: Served, expect: Any, scheme: str
) -> None:
    page = opened(color_scheme=scheme, viewport=PHONE)
    faults = []
    for view, title in VIEWS.items():
        page.goto(f"{served.address}/#/{quote(view, safe='/,')}")
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
        expect(page.locator("[aria-busy]")).to_have_count(0)
        faults += [(view, fault) for fault in looked_at(page)]
        told = "doctor --report" in page.locator("main").inner_text()
        failed = title == "That did not work" or view == "scan/damaged.h5"
        assert told == failed or title == "Jobs", view
        page.set_viewport_size(DESK)
        faults += [(view, fault) for fault in looked_at(page, axe=False)]
        page.set_viewport_size(PHONE)
    broken = page.context.new_page()
    broken.set_viewport_size(PHONE)
    broken.goto(f"{served.address}/nothing")
    expect(broken.get_by_text("doctor --report")).to_be_visible()
    faults += [("error", fault) for fault in looked_at(broken)]
    asked = opened(key=False, color_scheme=scheme, viewport=PHONE)
    expect(asked.get_by_role("alert")).to_be_visible()
    faults += [("token", fault) for fault in looked_at(asked)]
    page.goto(f"{served.address}/#/run/short")
    with page.context.expect_page() as report:
        page.get_by_role("button", name="Open the report").click()
    report = report.value
    report.locator("html[data-ready=yes]").wait_for()
    report.set_viewport_size(PHONE)
    faults += [("report", fault) for fault in looked_at(report)]
    assert not faults, "\n".join(map(str, faults))


def test_what_keeps_people_out_is_found(browser: Any) -> None:
    page = browser.new_page()
    faint = "<p style='width: 3000px; color: #aaa; background: #bbb'>some words</p>"
    page.set_content(f"{faint}<button></button>")
    found = " ".join(looked_at(page))
    assert "wide" in found and "button-name" in found and "color-contrast" in found
    page.close()


def looked_at(page: Any, axe: bool = True) -> list[str]:
    """What keeps people from using what is shown."""
    found = []
    wide, room = page.evaluate(
        "() => { const e = document.documentElement; return [e.scrollWidth, e.clientWidth]; }"
    )
    if wide > room:
        found.append(f"{wide} pixels wide where there are {room}")
    if axe:
        if not page.evaluate("() => 'axe' in window"):
            page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
        answer = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
        found += [
            f"{fault['id']}: {fault['help']}: {[n['target'] for n in fault['nodes']][:3]}"
            for fault in answer["violations"]
            if fault["impact"] in ("serious", "critical")
        ]
    return found
