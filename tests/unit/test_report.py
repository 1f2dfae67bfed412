"""The page of a result: whole, small, safe, and readable by its own script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracle.forward import intensities
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.data.views import PatternView
from ptychopinn.errors import InputError
from ptychopinn.evaluation import evaluate
from ptychopinn.evaluation.beside import Compared
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.io.atomic import replacing
from ptychopinn.report import plots, web_page
from ptychopinn.report.asking import WHAT_TO_SEND
from ptychopinn.report.colours import limits
from ptychopinn.report.figure_names import KINDS, formats_of
from ptychopinn.report.packed import packed_bytes, packed_map, packed_numbers
from ptychopinn.report.report_data import page_data, truth_beside
from ptychopinn.report.web_page import result_page
from ptychopinn.report.written_figures import save_figures

WEB = Path(web_page.__file__).parent / "web"
MOST = 5_000_000


class Page(HTMLParser):
    """The elements of a page, the content of its scripts and styles, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.words = ""
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in in self.inside:
            self.inside[self._in][-1] += data
        else:
            self.words += data

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.inside["script"][0])
        return found


@pytest.fixture(scope="module")
def pair() -> tuple[Reconstruction, Scan]:
    rng = np.random.default_rng(5)
    y, x = np.indices((70, 76))
    obj = (0.9 + 0.1 * np.cos(y / 6)) * np.exp(0.5j * np.sin(x / 7))
    u, v = np.indices((32, 32)) - 16
    probe = 60 * np.exp(-(u**2 + v**2) / 40)[None] * np.exp(0.02j * (u**2 + v**2))
    positions = rng.uniform((18, 18), (52, 58), size=(40, 2))
    counts = rng.poisson(intensities(obj, probe, positions)).astype(np.float32)
    scan = Scan(diffraction=counts, positions_px=positions, probe=probe, object=obj)
    result = Reconstruction(
        object=obj, origin_px=(0, 0), weight=np.ones(obj.shape), probe=probe,
        positions_px=positions, losses=np.array([0.3, 0.1]), name="a name",
    )  # fmt: skip
    return replace(result, fit=misfit(result, scan)), scan


def page_of(pair: tuple[Reconstruction, Scan], **changes: Any) -> Page:
    result = replace(pair[0], **changes)
    return Page(result_page(result, Compared.of(result, pair[1]), ["refine", "scan.h5"]))


def test_the_verdict_comes_first_and_nothing_is_fetched(pair: Any) -> None:
    page = page_of(pair)
    assert page.words.index("Good fit.") < page.words.index("Object")
    assert "ptychopinn refine scan.h5" in page.words
    kinds = [tag for tag, _ in page.elements]
    assert not {"link", "img", "iframe", "object", "embed", "form", "base"} & set(kinds)
    for _, attributes in page.elements:
        assert not {"src", "href", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]


def test_the_policy_of_the_page_knows_its_script_and_style_alone(pair: Any) -> None:
    page = page_of(pair)
    (policy,) = (
        a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None and "default-src 'none'" in policy and "unsafe" not in policy
    for kind, text in (("script", page.inside["script"][1]), ("style", page.inside["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    # An address would not be reached; there is none.
    text = page.inside["script"][1].replace("http://www.w3.org/2000/svg", "")
    assert "http" not in text and "//" not in re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)


def test_hostile_names_are_text(pair: Any) -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\udcff\u202egnp.<!--"
    provenance = {
        "findings": [{"name": hostile, "level": "doubt", "message": hostile, "details": {}}],
        "stages": [{"stage": hostile, hostile: hostile}],
        "scan": {"file": hostile, "name": hostile},
        "backend": hostile,
    }
    result = replace(pair[0], name=hostile, provenance=provenance, backend=hostile)
    text = result_page(
        result, Compared.of(result, pair[1]), ["refine", hostile], {hostile: 1.0}, hostile
    )
    page = Page(text)
    text.encode()
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert "img" not in [tag for tag, _ in page.elements]
    assert page.words.count("<img src=x onerror=alert(2)>") > 5
    assert "\u202e" not in page.words and r"\u202e" in page.words
    assert page.data["name"] == hostile


def test_a_page_from_python_is_written_once(pair: Any, tmp_path: Path) -> None:
    result, scan = pair
    written = result.save_page(tmp_path / "look.html", scan)
    assert "patterns" in Page(written.read_text(encoding="utf-8")).data
    with pytest.raises(InputError, match="must not hold earlier results"):
        result.save_page(written)
    assert "patterns" not in Page(result.save_page(written, force=True).read_text()).data


def test_a_poor_fit_says_why(pair: Any) -> None:
    result, scan = pair
    rough = np.exp(3j * np.random.default_rng(1).normal(size=result.object.shape))
    worse = replace(result, object=rough.astype(np.complex64), fit=None)
    worse = replace(worse, fit=misfit(worse, scan))
    page = Page(result_page(worse, Compared.of(worse, scan), advice="type this"))
    assert "Poor fit." in page.words and "Likely: type this" in page.words
    assert page.words.rstrip().endswith(WHAT_TO_SEND)
    assert WHAT_TO_SEND not in Page(result_page(result, None)).words


def test_settings_are_words_and_not_code(pair: Any) -> None:
    stage = {"stage": "refinement", "scan_axes": {"shear": 0.0004456433973931}, "effects": [],
             "used": ["slices", "background"], "passes": 25, "probe": True}  # fmt: skip
    words = page_of(pair, provenance={"stages": [stage]}).words
    assert "shear 0.000445643" in words and "slices, background" in words and "none" in words
    assert not any(sign in words.partition("To make it again")[0] for sign in ("{", "[]", "(s)"))


def test_the_page_lists_the_effects_that_were_tried(pair: Any) -> None:
    kept = {"effect": "modes:3", "gain": 0.256, "error": 0.016, "kept": True}
    record = {"chosen": "far-field+<b>modes:3", "asked": "auto", "tried": [kept]}
    page = page_of(pair, provenance={"effects_model": record})
    assert "far-field+<b>modes:3" in page.words and not [e for e in page.elements if e[0] == "b"]
    assert "tried modes:3" in page.words and "gain 25.6 % +- 1.6 %" in page.words
    for strange in ({"untried": "why"}, {"chosen": 3, "tried": "x"}, 5):
        words = page_of(pair, provenance={"effects_model": strange}).words
        assert ("Beam, sample and detector" in words) is (strange == {"untried": "why"})


def test_a_result_without_its_scan_has_a_page_too(pair: Any) -> None:
    alone = replace(pair[0], fit=None)
    page = Page(result_page(alone, None))
    assert "not looked at" in page.words
    assert "patterns" not in page.data and "residual" not in page.data["positions"]
    cropped = pair[0].crop()
    data = Page(result_page(cropped, Compared.of(cropped, pair[1]))).data
    assert "patterns" not in data and "position" in data["patterns_note"]


def test_ten_thousand_positions_are_at_most_five_megabytes() -> None:
    """An object and patterns of nothing but noise, which hardly compress, with all there can be."""
    rng = np.random.default_rng(0)
    m, n, side = 10_000, 128, 1150
    grid = np.stack(np.meshgrid(*2 * [np.linspace(65, side - 66, 100)]), axis=-1).reshape(-1, 2)
    obj = rng.normal(size=(side, side)) + 1j * rng.normal(size=(side, side))
    probe = rng.normal(size=(20, n, n)) + 1j * rng.normal(size=(20, n, n))
    counts = rng.poisson(100.0, size=(100, n, n)).astype(np.uint16)
    scan = Scan(
        diffraction=PatternView(counts, np.arange(m) % 100),
        positions_px=grid + rng.normal(size=grid.shape),
        probe=probe,
    )
    result = Reconstruction(
        object=obj, origin_px=(0, 0), weight=np.ones(obj.shape), probe=probe, positions_px=grid,
        losses=rng.random(5000), uncertainty=rng.random(obj.shape), pixel_size_m=1e-8,
        half_split=np.stack((np.linspace(0, 1, 575), rng.random(575), np.full(575, 9.0))),
        provenance={"long": ["x" * 1000] * 1000},
    )  # fmt: skip
    one = replace(
        result, positions_px=grid[:1], object=np.ones((200, 200)), weight=np.ones((200, 200)),
        uncertainty=None, half_split=None,
    )  # fmt: skip
    fit = misfit(one, replace(scan, diffraction=counts[:1], positions_px=grid[:1]))
    many = replace(
        fit, per_pattern=rng.random(m), expected_per_pattern=rng.random(m), positions_px=grid
    )
    result = replace(result, fit=many)
    text = result_page(result, Compared.of(result, scan), ["refine"])
    assert len(text.encode()) <= MOST
    data = Page(text).data
    assert data["positions"]["count"] == m and len(data["patterns"]["numbers"]) >= 20
    assert data["step"] <= 3


def test_maps_keep_the_mean_of_blocks_and_where_they_lie(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _ = pair
    whole = page_data(result, None)
    assert whole["step"] == 1
    monkeypatch.setattr("ptychopinn.report.report_data.MOST_PIXELS", 1000)
    half = page_data(result, None)
    assert half["step"] == 2
    np.testing.assert_allclose(np.array(half["origin"]), np.array(whole["origin"]) + 0.5)


def test_the_truth_lies_where_the_result_does(pair: Any) -> None:
    result, scan = pair
    evaluation = evaluate(result, truth=scan)
    other = truth_beside(result, evaluation, scan)
    y, x = (int(v) for v in other.first_px)
    height, width = other.picture.shape
    found = result.object[y : y + height, x : x + width]
    np.testing.assert_allclose(np.abs(other.picture), np.abs(found), atol=1e-3)
    text = result_page(result, None, evaluation=evaluation, other=other)
    assert Page(text).data["other"]["name"] == "truth"
    assert "NRMSE of the complex object" in Page(text).words


def test_the_script_reads_what_is_packed(pair: Any, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("the script of the page needs Node to be tried without a browser, found none")
    rng = np.random.default_rng(2)
    image = rng.normal(size=(9, 13))
    image[2:4, 5] = np.nan
    ramp = 0.2 * np.arange(40)[:, None] - 0.1 * np.arange(50)[None, :]
    low, high = limits(np.ma.masked_invalid(image), tail=0.0)
    wrapped = np.angle(np.exp(1j * ramp))
    numbers = np.array([1.5, np.nan, -3e8, 0.0])
    packed = {
        "map": packed_map(image, low, high),
        "numbers": packed_numbers(numbers),
        "bytes": packed_bytes(np.array([[-8, 3]], dtype=np.int8)),
        "ramp": {**packed_map(wrapped, -np.pi, np.pi), "name": "phase"},
    }
    (tmp_path / "packed.json").write_text(json.dumps(packed))
    # A module by its name, whatever lies in the folders above.
    shutil.copy(WEB / "decode.js", tmp_path / "decode.cjs")
    (tmp_path / "run.cjs").write_text(
        """
        const { unpacked, layerOf, rampOf, ramped, roundNumbers } = require("./decode.cjs");
        const packed = JSON.parse(require("fs").readFileSync("packed.json"));
        (async () => {
          const list = async (p) => Array.from((await unpacked(p)).values);
          const layer = await layerOf({ maps: [packed.ramp], step: 2, origin: [0, 0] });
          console.log(JSON.stringify({
            map: await list(packed.map), numbers: await list(packed.numbers),
            bytes: await list(packed.bytes), ramp: rampOf(layer),
            flat: ramped(0.3 + 0.2 * 5 + 2 * Math.PI, 5, 7, [0.2, 0], [0, 0], 0),
            ticks: roundNumbers(-0.94, 0.7, 5),
            codes: Array.from((await unpacked(packed.map)).codes),
          }));
        })();
        """
    )
    done = subprocess.run(
        [node, "run.cjs"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(done.stdout)
    values = np.array([np.nan if v is None else v for v in found["map"]]).reshape(image.shape)
    np.testing.assert_allclose(values, image, atol=(high - low) / 4000)
    assert min(found["codes"]) == 0 and max(found["codes"]) == 4095
    shown = [np.nan if v is None else v for v in found["numbers"]]
    np.testing.assert_allclose(shown, numbers.astype(np.float32))
    assert found["bytes"] == [-8, 3]
    np.testing.assert_allclose(found["ramp"], [0.1, -0.05], atol=1e-3)
    assert found["flat"] == pytest.approx(0.3)
    assert found["ticks"] == [-0.5, 0, 0.5]


def test_a_browser_shows_the_page_without_an_error(pair: Any, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("the page is tried in Chromium, which is not installed here")
    result, scan = pair
    (tmp_path / "report.html").write_text(
        result_page(result, Compared.of(result, scan), ["refine"]), encoding="utf-8"
    )
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000",
            "--enable-logging=stderr", "--dump-dom", (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert 'data-ready="yes"' in done.stdout, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    assert "Misfit against pass" in done.stdout and "modelled − measured" in done.stdout


def test_figures_in_every_format(pair: Any, tmp_path: Path) -> None:
    import tifffile

    result = replace(pair[0], pixel_size_m=2e-8)
    with replacing(tmp_path, ["figures/phase.tiff"]) as new:
        save_figures(plots.Look(result), new, formats_of("svg, PDF,tiff"))
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"phase.svg", "phase.pdf", "phase.tiff", "amplitude.tiff", "misfit.pdf"} <= names
    assert not {"patterns.pdf", "uncertainty.tiff"} & names
    with tifffile.TiffFile(tmp_path / "figures/amplitude.tiff") as file:
        image = file.asarray()
        assert image.dtype == np.float32 and file.imagej_metadata["unit"] == "um"
        across, pixels = file.pages[0].tags["XResolution"].value
        assert across / pixels == pytest.approx(50, rel=1e-3)
    shown = result.plot("amplitude").axes[0].images[0].get_array()
    np.testing.assert_allclose(image, shown, rtol=1e-6)


def test_names_of_figures_and_formats() -> None:
    assert tuple(plots.FIGURES) == KINDS
    assert formats_of("png") == ("png",)
    for text in ("gif", "", "png,"):
        with pytest.raises(InputError, match="png, pdf, svg, tiff, with commas between"):
            formats_of(text)
