"""The Python interface: what a scientist types, and what comes back."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp

FEW = pp.RefineConfig(passes=2)


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(N=32, patterns=49, photons=1e6, seed=4, step_px=3.0)


@pytest.fixture(scope="module")
def result(scan: pp.Scan) -> pp.Reconstruction:
    return pp.reconstruct(scan, backend="numpy")


# --- one noun for a result ------------------------------------------------------------------------


def test_every_verb_hands_back_a_result_that_knows_its_fit_and_its_times(
    scan: pp.Scan, result: pp.Reconstruction
) -> None:
    refined = pp.refine(scan, result, FEW, backend="numpy")
    for found, stage in ((result, "network"), (refined, "refinement")):
        assert isinstance(found, pp.Reconstruction)
        assert isinstance(found.fit, pp.Misfit)
        assert found.fit.summary() == found.provenance["fit"]
        assert {stage, "misfit"} <= set(found.seconds)
        assert found.backend == "numpy" == found.provenance["backend"]
    again = pp.misfit(refined, scan)
    assert again.residual == pytest.approx(refined.fit.residual, rel=1e-5)  # type: ignore[union-attr]


def test_fit_and_times_are_not_part_of_the_file(result: pp.Reconstruction, tmp_path: Path) -> None:
    read = pp.load_reconstruction(result.save(tmp_path / "r.h5"))
    assert read.fit is None and read.seconds == {} and read.backend is None
    assert read.provenance == result.provenance


def test_amplitude_and_phase_are_those_of_the_object(result: pp.Reconstruction) -> None:
    assert result.amplitude.shape == result.phase.shape == result.object.shape
    np.testing.assert_allclose(result.amplitude * np.exp(1j * result.phase), result.object, 1e-5)


def test_crop_keeps_every_pixel_in_its_place(scan: pp.Scan, result: pp.Reconstruction) -> None:
    """Pixels of the box are found again at the same scan position."""
    result = replace(result, uncertainty=np.arange(result.object.size).reshape(result.object.shape))
    for margin in (0, 5):
        part = result.crop(margin)
        low = np.ceil(scan.positions_px.min(axis=0)) - margin
        high = np.floor(scan.positions_px.max(axis=0)) + margin
        np.testing.assert_array_equal(part.origin_px, low)
        assert part.object.shape == tuple((high - low + 1).astype(int))
        y, x = part.origin_px - result.origin_px
        height, width = part.object.shape
        for name in ("object", "weight", "uncertainty"):
            whole = getattr(result, name)[y : y + height, x : x + width]
            np.testing.assert_array_equal(getattr(part, name), whole)
        np.testing.assert_array_equal(part.positions_px, result.positions_px)
    whole = result.crop(10_000)
    np.testing.assert_array_equal(whole.object, result.object)
    np.testing.assert_array_equal(whole.origin_px, result.origin_px)


def test_a_cropped_result_is_scored_like_the_whole(
    scan: pp.Scan, result: pp.Reconstruction
) -> None:
    whole, part = (pp.evaluate(r, truth=scan).metrics for r in (result, result.crop(16)))
    assert part["phase_psnr_db"] == pytest.approx(whole["phase_psnr_db"], abs=0.1)


@pytest.mark.parametrize("margin", [-1, 1.5, "2", None, np.nan])
def test_crop_takes_whole_margins_only(result: pp.Reconstruction, margin: Any) -> None:
    with pytest.raises(pp.InputError, match="margin_px must be a whole number"):
        result.crop(margin)


def test_positions_on_a_line_leave_nothing_to_crop_to(result: pp.Reconstruction) -> None:
    line = result.positions_px.copy()
    line[:, 0] = line[0, 0] + 0.5 - line[0, 0] % 1
    with pytest.raises(pp.InputError, match="give a margin_px"):
        replace(result, positions_px=line).crop()
    assert replace(result, positions_px=line).crop(4).object.shape[0] == 8


def test_a_plot_is_a_figure_that_pyplot_does_not_know(
    result: pp.Reconstruction, tmp_path: Path
) -> None:
    code = "import sys, ptychopinn as pp; pp.load_reconstruction(sys.argv[1]).plot()"
    asked = "; assert 'matplotlib.pyplot' not in sys.modules"
    saved = result.save(tmp_path / "r.h5")
    subprocess.run([sys.executable, "-c", code + asked, str(saved)], check=True)
    figure = result.plot()
    amplitude, phase = figure.axes[:2]
    seen = result.weight > 0
    shown = amplitude.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), ~seen)
    np.testing.assert_allclose(shown[seen], result.amplitude[seen], rtol=1e-5)
    turned = np.exp(1j * (phase.images[0].get_array()[seen] - result.phase[seen]))
    np.testing.assert_allclose(turned, turned[0], rtol=0, atol=1e-4)
    # The axes speak of scan positions: in the middle of the first pixel stands the origin.
    left, right, bottom, top = amplitude.images[0].get_extent()
    assert (top + 0.5, left + 0.5) == tuple(result.origin_px)
    assert (bottom - top, right - left) == result.object.shape
    measured = replace(result, pixel_size_m=1e-8).plot()
    assert measured.axes[0].get_xlabel() == "x [µm]"
    assert measured.axes[0].images[0].get_extent()[0] == pytest.approx(left * 0.01)


def test_a_result_without_light_can_still_be_plotted(result: pp.Reconstruction) -> None:
    replace(result, weight=np.zeros_like(result.weight)).plot().canvas.draw()
    replace(result, object=np.zeros_like(result.object)).plot()


def test_nouns_say_what_they_are_on_one_line(scan: pp.Scan, result: pp.Reconstruction) -> None:
    for noun, words in (
        (scan, ("49 patterns", "32 x 32", scan.name)),
        (result, (f"{result.object.shape[0]} x", "49 positions", "residual")),
        (pp.load_model(), ("unrolled", "parameters", "simulated scans")),
    ):
        text = repr(noun)
        assert "\n" not in text and len(text) < 160, text
        for word in words:
            assert word in text, (word, text)


# --- the scan comes first -------------------------------------------------------------------------


def test_the_old_order_is_refused_in_a_sentence_that_says_so(
    scan: pp.Scan, result: pp.Reconstruction
) -> None:
    wrong: list[tuple[Any, str]] = [
        (lambda: pp.reconstruct("pretrained", scan), r"reconstruct\(scan, model\)"),  # type: ignore[arg-type]
        (lambda: pp.reconstruct(pp.load_model(), scan), r"reconstruct\(scan, model\)"),  # type: ignore[arg-type]
        (lambda: pp.refine(result, scan), r"refine\(scan, start, config\)"),  # type: ignore[arg-type]
        (lambda: pp.iterate(result, start=scan), r"iterate\(scan, config, start\)"),  # type: ignore[arg-type]
        (lambda: pp.iterate(FEW, scan), r"iterate\(scan, config, start\)"),  # type: ignore[arg-type]
        (lambda: pp.train(pp.Config(), scan), r"train\(scans, config\)"),  # type: ignore[arg-type]
        (lambda: pp.compare(["pretrained"], scan), r"compare\(scan, methods\)"),  # type: ignore[arg-type]
    ]
    for call, order in wrong:
        with pytest.raises(pp.InputError, match=f"the scan comes first.*write {order}"):
            call()


def test_a_path_is_no_scan(tmp_path: Path) -> None:
    for call in (pp.reconstruct, pp.refine, pp.iterate, pp.train):
        for value in ("scan.h5", tmp_path, None, np.zeros((4, 32, 32))):
            with pytest.raises(pp.InputError, match=r"a Scan was expected first.*load_scan"):
                call(value)  # type: ignore[operator]


def test_what_is_no_model_is_refused(scan: pp.Scan) -> None:
    for value in (None, 3, {"weights": 1}):
        with pytest.raises(pp.InputError, match="a model or the path of one"):
            pp.reconstruct(scan, value, backend="numpy")  # type: ignore[arg-type]


# --- one noun for a model -------------------------------------------------------------------------


def test_a_model_is_saved_and_read_again(scan: pp.Scan, tmp_path: Path) -> None:
    model = pp.load_model()
    assert model.source == "pretrained" and model.config.model.architecture == "unrolled"
    assert model.history == {} and math.isnan(model.seconds)
    again = pp.load_model(model.save(tmp_path / "wts.h5.zip"))
    assert again.manifest == model.manifest and again.config == model.config
    assert set(again.weights) == set(model.weights)
    np.testing.assert_array_equal(again.probe, model.probe)
    # The file that was saved is a model like any other: nothing follows it by default.
    blurred = replace(scan, probe=np.roll(scan.probe, 4, axis=-1) + 0.5 * scan.probe[:, ::-1])
    options: Any = {"backend": "numpy", "no_mend": "all"}
    by = [pp.reconstruct(blurred, m, **options) for m in (model, again, "pretrained")]
    stages = [[s["stage"] for s in found.provenance["stages"]] for found in by]
    assert stages == [["refinement"], ["network"], ["refinement"]]


def test_a_bundle_whose_weights_are_of_another_network_is_no_model() -> None:
    bundle = pp.load_model().bundle
    weights = dict(bundle.weights)
    del weights["out.bias"]
    with pytest.raises(pp.InputError, match=r"'out\.bias'"):
        pp.Model(pp.Bundle(bundle.manifest, weights, bundle.probe))


# --- iteration ------------------------------------------------------------------------------------


def test_iterations_are_watched_stopped_and_gone_on_with(scan: pp.Scan) -> None:
    for step in pp.iterate(scan, pp.RefineConfig(passes=50), backend="numpy"):
        if step.number == 3:
            found = step.result()
            break
    whole = pp.refine(scan, None, pp.RefineConfig(passes=3), backend="numpy", no_mend="all")
    np.testing.assert_array_equal(found.object, whole.object)
    assert found.fit.residual == whole.fit.residual  # type: ignore[union-attr]
    assert found.provenance["stages"] == whole.provenance["stages"]
    (further,) = pp.iterate(scan, pp.RefineConfig(passes=1), found, backend="numpy")
    assert len(further.result().losses) == 1
    assert [s["passes"] for s in further.result().provenance["stages"]] == [3, 1]


def test_iterations_have_the_units_of_the_scan(scan: pp.Scan) -> None:
    config = pp.RefineConfig(passes=3, refine_probe=True)
    for step in pp.iterate(replace(scan, probe=scan.probe * 3), config, backend="numpy"):
        found = step.result()
    power = [float((np.abs(r) ** 2).sum()) for r in (found.probe, scan.probe)]
    assert power[0] == pytest.approx(9 * power[1], rel=1e-3)
    assert pp.misfit(found, scan).scale == pytest.approx(1, abs=0.01)


def test_a_result_that_is_out_of_date_is_refused(scan: pp.Scan) -> None:
    first, second = pp.iterate(scan, FEW, backend="numpy")
    with pytest.raises(pp.InputError, match="pass 1 after pass 2"):
        first.result()
    assert second.result().fit is not None


def test_iterate_refuses_at_once_what_refine_refuses(scan: pp.Scan) -> None:
    other = pp.simulate(N=32, patterns=49, seed=5, step_px=3.0)
    start = pp.refine(other, None, FEW, backend="numpy", no_mend="all")
    with pytest.raises(pp.InputError, match="refined with its own scan"):
        pp.iterate(scan, FEW, start)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda s, r: pp.refine(s, None, {"passes": 1}), "config must be a RefineConfig"),
        (lambda s, r: pp.refine(s, None, 5, model="background"), "config must be a RefineConfig"),
        (lambda s, r: pp.iterate(s, FEW, s), "start must be a Reconstruction"),
        (lambda s, r: pp.refine(s, s), "start must be a Reconstruction"),
        (lambda s, r: pp.refine(s, execution=5), "execution options must be one of"),
        (lambda s, r: pp.reconstruct(s, backend="xx"), "backend must be one of"),
        (lambda s, r: pp.reconstruct(s, no_mend=3), "no_mend must be all or names"),
        (lambda s, r: pp.train(s, 3), "config must be a Config"),
        (lambda s, r: pp.evaluate(s, r), "result must be a Reconstruction"),
        (lambda s, r: pp.evaluate(r, 3), "truth must be a Scan"),
        (lambda s, r: replace(s, energy_eV="8 keV"), "energy_eV must be positive"),
        (lambda s, r: pp.simulate(object="file"), "object='file' needs"),
        (lambda s, r: pp.simulate(probe_file="x.npy"), "probe='file' together"),
    ],
)
def test_arguments_of_another_kind_are_refused_in_a_sentence(
    call: Any, expected: str, scan: pp.Scan, result: pp.Reconstruction
) -> None:
    with pytest.raises(pp.InputError) as refused:
        call(scan, result)
    assert expected in str(refused.value) and "--" not in str(refused.value)


# --- progress -------------------------------------------------------------------------------------


class Heard:
    """A listener of one's own."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.steps = 0
        self.done: list[int] = []

    def epoch(self, number: int, steps: int) -> None:
        self.epochs.append(number)

    def step(self, loss: float, patterns_per_s: float) -> None:
        self.steps += 1

    def epoch_done(self, number: int, metrics: Any) -> None:
        self.done.append(number)


def test_every_verb_tells_how_far_it_is(scan: pp.Scan) -> None:
    few = pp.Config(
        model={"width": 4, "levels": 2, "iterations": 1, "updates": 1},  # type: ignore[arg-type]
        data={"n_groups": 2, "subscan_patterns": 16},  # type: ignore[arg-type]
        training={"epochs": 2},  # type: ignore[arg-type]
    )
    verbs: dict[str, Any] = {
        "reconstruct": lambda p: pp.reconstruct(scan, backend="numpy", progress=p),
        "refine": lambda p: pp.refine(scan, None, FEW, backend="numpy", no_mend="all", progress=p),
        "iterate": lambda p: list(pp.iterate(scan, FEW, backend="numpy", progress=p)),
        "compare": lambda p: pp.compare(
            scan, ["pretrained", "refine"], backend="numpy", progress=p
        ),
        "train": lambda p: pp.train(scan, few, probe_check=False, progress=p),
        "pretrain": lambda p: pp.pretrain(few, 1, progress=p),
    }
    for name, verb in verbs.items():
        heard = Heard()
        verb(heard)
        assert heard.steps > 0 and heard.epochs and heard.epochs == heard.done, name
        with pytest.raises(pp.InputError, match="progress must be True"):
            verb("yes")


BAR = """
import sys
import ptychopinn as pp
scan = pp.simulate(N=32, patterns=36, seed=1)
pp.refine(
    scan, None, pp.RefineConfig(passes=3), backend="numpy", no_mend="all", progress={progress}
)
"""


@pytest.mark.parametrize("progress", [True, None, False])
def test_a_bar_is_drawn_on_stderr_and_only_when_asked_for(progress: bool | None) -> None:
    """In a terminal; whatever is drawn, standard output stays that of the user."""
    import os
    import pty

    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", BAR.format(progress=progress)],
        stderr=theirs,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    drawn = b""
    try:
        while block := os.read(ours, 4096):
            drawn += block
    except OSError:  # the terminal of a program that has ended
        pass
    os.close(ours)
    out, _ = child.communicate()
    assert child.returncode == 0 and out == b"", drawn
    assert (b"pass 3/3" in drawn) == (progress is True)
    assert progress or drawn == b""
