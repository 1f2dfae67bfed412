"""What a first user met: one test per fault."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from training_commands import SHALLOW, UNROLLED, check_sentence, read_json, train

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.cli import train as train_command
from ptychopinn.cli.border import as_flags
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.propagators import fourier_shift
from ptychopinn.workflows.train import pretrain
from ptychopinn.workflows.verbs import load_model

pytest.importorskip("torch")
pytest.importorskip("lightning")

FAST = ["--backend", "pytorch", "--torch-threads", "1", "--quiet"]


def simulated(seed: int, **options: Any) -> Scan:
    settings: dict[str, Any] = {"N": 32, "patterns": 81, "photons": 1e6, "step_px": 3.0}
    return pp.simulate(**{**settings, **options, "seed": seed})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project: raw/scan.h5, raw/other.h5 of the same shape, and the result of scan.h5."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "raw").mkdir()
    pp.save_scan(simulated(1), folder / "raw" / "scan.h5")
    pp.save_scan(simulated(2), folder / "raw" / "other.h5")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run(["reconstruct", "raw/scan.h5", "-o", "result", *FAST]) == 0
    finally:
        os.chdir(before)
    return folder


# --- a result remembers its scan ------------------------------------------------------------------


def test_refine_from_another_folder(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another scan has the name that was typed."""
    (tmp_path / "raw").mkdir()
    shutil.copy(place / "raw" / "other.h5", tmp_path / "raw" / "scan.h5")
    monkeypatch.chdir(tmp_path)
    assert run(["refine", str(place / "result"), "-o", "r", "--passes", "1", *FAST]) == 0
    assert read_json(tmp_path / "r" / "run.json")["scan"] == str(place / "raw" / "scan.h5")


def test_refine_refuses_another_scan_of_the_same_shape(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(place / "raw" / "other.h5")
    assert run(["refine", str(place / "result"), "--scan", other, "-o", str(tmp_path / "r")]) == 2
    check_sentence(capsys.readouterr().err, "its own scan", "counts and positions",
                   "give that one as --scan, read with the same --units and --photons")  # fmt: skip
    assert not (tmp_path / "r").exists()


def test_refine_notices_that_the_scan_was_replaced(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "raw", tmp_path / "raw")
    assert run(["reconstruct", str(tmp_path / "raw" / "scan.h5"), "-o", str(tmp_path / "r"),
                *FAST]) == 0  # fmt: skip
    shutil.copy(tmp_path / "raw" / "other.h5", tmp_path / "raw" / "scan.h5")
    assert run(["refine", str(tmp_path / "r"), "-o", str(tmp_path / "again")]) == 2
    check_sentence(capsys.readouterr().err, "its own scan")


def test_refine_finds_a_scan_that_moved_along(place: Path, tmp_path: Path) -> None:
    """And takes the same scan in another format."""
    shutil.copytree(place / "result", tmp_path / "new" / "result")
    content = pp.load_reconstruction(place / "result")
    gone = {**content.provenance["scan"], "file": "/nowhere/scan.h5"}
    replace(content, provenance={**content.provenance, "scan": gone}).save(
        tmp_path / "new" / "result", force=True
    )
    shutil.copy(place / "raw" / "scan.h5", tmp_path / "new" / "scan.h5")
    options = ["--passes", "1", *FAST]
    result = str(tmp_path / "new" / "result")
    assert run(["refine", result, "-o", str(tmp_path / "one"), *options]) == 0
    pp.convert(place / "raw" / "scan.h5", tmp_path / "scan.cxi")
    assert run(["refine", result, "--scan", str(tmp_path / "scan.cxi"), "-o", str(tmp_path / "two"),
                *options]) == 0  # fmt: skip


def test_what_was_said_about_a_scan_is_said_again(place: Path, tmp_path: Path) -> None:
    """Else the scan could not be read, or is another one than the result was made from."""
    scan, source = pp.load_scan(place / "raw" / "scan.h5"), tmp_path / "more.npz"
    flat = np.random.default_rng(0).normal(1, 0.02, (32, 32)).clip(0.9, 1.1)
    counts = scan.diffraction[:] / flat
    y, x = scan.positions_px.T
    np.savez(source, diff3d=np.concatenate([counts[:1], counts]).astype(np.float32), xcoords=x,
             ycoords=y, probeGuess=scan.probe)  # fmt: skip
    said = ["--frames", "1:", "--units", "counts"]
    assert run(["reconstruct", str(source), "-o", str(tmp_path / "r"), *said, *FAST]) == 0
    options = ["--passes", "1", *FAST]
    assert run(["refine", str(tmp_path / "r"), "-o", str(tmp_path / "more"), *options]) == 0
    assert len(pp.load_reconstruction(tmp_path / "more").positions_px) == scan.M
    assert run(["evaluate", str(tmp_path / "more"), "--data", str(source)]) == 0
    # Who says something else means it.
    assert run(["refine", str(tmp_path / "r"), "-o", str(tmp_path / "other"), *options, "--frames",
                ":81"]) == 2  # fmt: skip
    # What was cut already is not cut again.
    pp.save_scan(pp.load_scan(source, frames="1:", units="counts"), tmp_path / "cut.h5")
    assert run(["reconstruct", str(tmp_path / "cut.h5"), "-o", str(tmp_path / "c"), *FAST]) == 0
    assert run(["refine", str(tmp_path / "c"), "-o", str(tmp_path / "d"), *options]) == 0


def test_refine_from_python_refuses_it_too(place: Path) -> None:
    result = pp.load_reconstruction(place / "result")
    other = pp.load_scan(place / "raw" / "other.h5")
    with pytest.raises(pp.InputError, match="its own scan"):
        pp.refine(other, result, pp.RefineConfig(passes=1))
    # Positions that moved in a refinement do not make another scan of it.
    scan = pp.load_scan(place / "raw" / "scan.h5")
    config = pp.RefineConfig(passes=2, refine_positions=True, positions_from=0)
    moved = pp.refine(scan, result, config)
    assert not np.array_equal(moved.positions_px, scan.positions_px)
    pp.refine(scan, moved, pp.RefineConfig(passes=1))


def test_resume_refuses_another_scan(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same shape, positions, probe and mean counts."""
    scan = pp.load_scan(place / "raw" / "scan.h5")
    turned = replace(scan, diffraction=np.roll(scan.diffraction[:], 1, axis=0), object=None)
    pp.save_scan(turned, tmp_path / "turned.h5")
    model = tmp_path / "m"
    assert train(place / "raw" / "scan.h5", model, *UNROLLED, "--epochs", 1, "--quiet") == 0
    before = (model / "wts.h5.zip").read_bytes()
    capsys.readouterr()
    assert train(tmp_path / "turned.h5", model, "--resume", "--epochs", 2, "--quiet") == 2
    check_sentence(capsys.readouterr().err, "its own scans", "whose counts are others")
    assert (model / "wts.h5.zip").read_bytes() == before
    # The same scan in another format is the same scan.
    native = place / "raw" / "scan.h5"
    shutil.copy(native, tmp_path / "copy.h5")
    assert train(tmp_path / "copy.h5", model, "--resume", "--epochs", 2, "--quiet") == 0
    manifest = pp.load_bundle(model / "wts.h5.zip").manifest
    assert len(manifest.statistics["scan_fingerprints"]) == 1


# --- the same from Python -------------------------------------------------------------------------


def off(scan: Scan) -> Scan:
    """The scan with a probe that does not fit."""
    k = np.fft.fftfreq(scan.N)
    blurred = np.fft.ifft2(np.fft.fft2(scan.probe) * np.exp(60j * (k[:, None] ** 2 + k**2)))
    return replace(scan, probe=fourier_shift(NumpyOps(), blurred, np.ones(2)).astype(np.complex64))


def test_python_does_what_the_command_does(tmp_path: Path) -> None:
    pp.save_scan(off(simulated(9)), tmp_path / "off.h5")
    untried = ["--no-mend", "alternatives"]
    run(["reconstruct", str(tmp_path / "off.h5"), "-o", str(tmp_path / "r"), *FAST, *untried])
    execution = pp.TorchExecution(threads=1)
    scan = pp.load_scan(tmp_path / "off.h5")
    mine = pp.reconstruct(
        scan, "pretrained", backend="pytorch", execution=execution, no_mend=["alternatives"]
    )
    its = pp.load_reconstruction(tmp_path / "r")
    assert mine.provenance["stages"] == its.provenance["stages"]
    assert [s["stage"] for s in mine.provenance["stages"]] == ["refinement"]
    assert np.array_equal(mine.object, its.object)
    network = pp.reconstruct(scan, "pretrained", backend="pytorch", execution=execution,
                             refine="never", no_mend="all")  # fmt: skip
    assert [s["stage"] for s in network.provenance["stages"]] == ["network"]
    with pytest.raises(pp.InputError, match="auto, always, never, received 'sometimes'"):
        pp.reconstruct(scan, "pretrained", refine="sometimes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("turn", "words"),
    [(lambda p: p[:, ::-1], "axes swapped"), (lambda p: p * (-1, 1), "y reversed")],
)
def test_train_turns_swapped_axes(
    turn: Callable[[Any], Any], words: str, place: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    scan = pp.load_scan(place / "raw" / "scan.h5")
    pp.save_scan(
        replace(scan, positions_px=turn(scan.positions_px), object=None), tmp_path / "s.h5"
    )
    options = (*SHALLOW, "--epochs", 1, "--quiet")
    assert train(place / "raw" / "scan.h5", tmp_path / "right", *options) == 0
    capsys.readouterr()
    assert train(tmp_path / "s.h5", tmp_path / "m", *options, tries=True) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("WARNING")
    assert f"the positions were turned ({words})" in line
    right, turned = (pp.load_bundle(tmp_path / name / "wts.h5.zip") for name in ("right", "m"))
    assert turned.manifest.metrics == pytest.approx(right.manifest.metrics, rel=1e-3)
    # As they are, when the user says so.
    options = (*options, "--no-mend", "orientation", "--force")
    assert train(tmp_path / "s.h5", tmp_path / "m", *options, tries=True) == 0
    assert "turned" not in capsys.readouterr().err


# --- evaluate, compare ----------------------------------------------------------------------------


def evaluate(result: Path, *options: object) -> int:
    return run(["evaluate", str(result), *map(str, options), "--force", "--json"])


@pytest.mark.parametrize("role", ["--truth", "--data"])
def test_evaluate_refuses_a_foreign_scan(
    role: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another scan of the same shape, one of another size, and another object at the same
    positions."""
    scan = pp.load_scan(place / "raw" / "scan.h5")
    pp.save_scan(simulated(4, patterns=100), tmp_path / "larger.h5")
    steady = {"jitter_px": 0.0}
    for number in (1, 2):
        pp.save_scan(simulated(number, **steady), tmp_path / f"raster{number}.h5")
    assert run(["reconstruct", str(tmp_path / "raster1.h5"), "-o", str(tmp_path / "r"),
                *FAST]) == 0  # fmt: skip
    for result, other, words in (
        (place / "result", place / "raw" / "other.h5", "at other positions"),
        (place / "result", tmp_path / "larger.h5", "at other positions"),
        (tmp_path / "r", tmp_path / "raster2.h5", "does not explain"),
    ):
        before = sorted(result.iterdir())
        capsys.readouterr()
        assert evaluate(result, role, other) == 2, other
        check_sentence(capsys.readouterr().err, "must belong to the result", words)
        assert sorted(result.iterdir()) == before
    assert scan.object is not None
    assert evaluate(place / "result", role, place / "raw" / "scan.h5", "-o", tmp_path / "e") == 0


def test_evaluate_takes_what_belongs_to_the_result(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another format, corrected positions, another exposure, a part of the scan, the whole of it;
    and anything for a result that does not know its scan."""
    scan = pp.load_scan(place / "raw" / "scan.h5")
    result = place / "result"
    pp.convert(place / "raw" / "scan.h5", tmp_path / "same.cxi")
    rng = np.random.default_rng(0)
    shaken = replace(scan, positions_px=scan.positions_px + rng.normal(0, 0.2, (scan.M, 2)))
    pp.save_scan(shaken, tmp_path / "shaken.h5")
    exposed = replace(scan, diffraction=rng.poisson(scan.diffraction[:] * 2.0).astype(np.uint32),
                      probe=scan.probe * np.float32(np.sqrt(2)))  # fmt: skip
    pp.save_scan(exposed, tmp_path / "exposed.h5")
    pp.save_scan(scan.select(slice(20, 60)), tmp_path / "part.h5")
    capsys.readouterr()
    for name, other in (("same.cxi", False), ("shaken.h5", False), ("exposed.h5", True),
                        ("part.h5", True)):  # fmt: skip
        assert evaluate(result, "--truth", tmp_path / name, "-o", tmp_path / "e") == 0, name
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert any("not the scan" in note for note in notes) == other, name
    part = pp.reconstruct(scan.select(slice(20, 60)), "pretrained", backend="pytorch")
    assert pp.evaluate(part, truth=scan).metrics
    stranger = replace(pp.load_reconstruction(result), provenance={})
    assert pp.evaluate(stranger, truth=pp.load_scan(place / "raw" / "other.h5")).metrics


# --- convert, inspect, infer ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.cxi", "a_dp.hdf5", "folder", "training.h5"])
def test_an_unknown_pixel_size_stays_unknown(name: str, place: Path, tmp_path: Path) -> None:
    to: Any = "ptychodus-training" if name.startswith("training") else None
    done = pp.convert(place / "raw" / "scan.h5", tmp_path / name, to=to)
    assert any("the pixel size is unknown" in loss for loss in done.losses)
    assert pp.load_scan(tmp_path / name).pixel_size_m is None
    # Also on the way on, where it is not lost for a second time.
    done = pp.convert(tmp_path / name, tmp_path / "back.npz")
    assert not any("pixel size" in loss for loss in done.losses)
    done = pp.convert(
        place / "raw" / "scan.h5", tmp_path / f"known-{name}", to=to, pixel_size_m=1e-8
    )
    assert not any("unknown" in loss for loss in done.losses)
    assert pp.load_scan(tmp_path / f"known-{name}").pixel_size_m == pytest.approx(1e-8)


@pytest.mark.parametrize(
    ("to", "name"),
    [
        (None, "back_dp.npz"),
        (None, "back_para.cxi.npz"),
        ("fold_slice", "a.npz"),
        ("npz", "a.h5"),
        ("cxi", "a.npz"),
        ("native", "a.cxi"),
        ("ptychodus", "a.npz"),
        ("ptychodus-training", "a.npz"),
        (None, "there.npz"),
        (None, "there.h5"),
    ],
)
def test_the_name_of_a_file_says_what_it_is(
    to: str | None, name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target is never of another kind than its name."""
    pp.convert(place / "raw" / "scan.h5", tmp_path / "star_dp.hdf5")
    for folder in ("there.npz", "there.h5"):
        (tmp_path / folder).mkdir()
    before = sorted(tmp_path.rglob("*"))
    options = [] if to is None else ["--to", to]
    if name == "back_para.cxi.npz":
        assert run(["convert", str(tmp_path / "star_dp.hdf5"), str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes()[:2] == b"PK"
        return
    assert run(["convert", str(tmp_path / "star_dp.hdf5"), str(tmp_path / name), *options]) == 2
    check_sentence(capsys.readouterr().err, name, "rename it")
    assert sorted(tmp_path.rglob("*")) == before


def test_commands_take_the_folder_of_a_result(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(pp.__file__).parent / "pretrained"
    for folder, kind in ((place / "result", "result"), (model, "bundle")):
        assert run(["inspect", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["kind"] == kind
    assert run(["convert", str(place / "result"), str(tmp_path / "product.npz")]) == 0
    pp.convert(place / "raw" / "scan.h5", tmp_path / "pair")
    assert run(["inspect", str(tmp_path / "pair")]) == 0
    capsys.readouterr()
    assert run(["inspect", str(place)]) == 2
    check_sentence(capsys.readouterr().err, "without them")


def test_other_kinds_where_a_scan_is_due(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(pp.__file__).parent / "pretrained"
    for wrong, words in ((place / "result", "a result"), (model, "a model"),
                         (model / "wts.h5.zip", "a model")):  # fmt: skip
        for arguments in (["reconstruct", str(wrong)], ["infer", "pretrained", str(wrong)],
                          ["train", str(wrong)], ["compare", str(wrong)]):  # fmt: skip
            assert run([*arguments, "-o", str(tmp_path / "r"), "--quiet"]) == 2
            check_sentence(capsys.readouterr().err, "a scan was expected", words)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("model", ["pretrained", "pretrained/wts.h5.zip"])
def test_infer_notices_the_swap(
    model: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = Path(pp.__file__).parent / model
    scan = place / "raw" / "scan.h5"
    assert run(["infer", str(scan), str(shipped), "-o", str(tmp_path / "r")]) == 2
    check_sentence(capsys.readouterr().err, "swap them")


def test_a_misspelt_command(capsys: pytest.CaptureFixture[str]) -> None:
    for word, meant in (("recontruct", "reconstruct"), ("Inspect", "inspect"), ("sim", None)):
        assert run([word]) == 2
        shown = capsys.readouterr().err
        assert word in shown
        assert ("Did you mean" in shown) == (meant is not None)
        assert meant is None or f"'{meant}'" in shown


def test_json_is_json_whatever_is_in_the_file(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NaN and infinity in the provenance of a file are null."""
    for source in ("raw/scan.h5", "result/reconstruction.h5"):
        copy = tmp_path / Path(source).name
        shutil.copy(place / source, copy)
        with h5py.File(copy, "r+") as file:
            home = file if "provenance" in file.attrs else file["ptychopinn"]
            home.attrs["provenance"] = '{"a": NaN, "b": [Infinity, {"c": -Infinity}], "d": 1}'
        code = run(["inspect", str(copy), "--json"])
        shown = capsys.readouterr()
        if code == 2:
            check_sentence(shown.err)
            continue
        content = json.loads(shown.out, parse_constant=lambda name: pytest.fail(name))
        assert content["provenance"]["b"] == [None, {"c": None}]


def test_simulate_can_be_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(tmp_path / "a.h5"), "--patterns", "9", "--N", "32",
                "--quiet"]) == 0  # fmt: skip
    assert capsys.readouterr() == ("", "")
    assert pp.load_scan(tmp_path / "a.h5").M == 9


@pytest.fixture(scope="module")
def measured(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan with an object in its file that nobody says is true."""
    path = tmp_path_factory.mktemp("measured") / "scan.h5"
    scan = pp.load_scan(place / "raw" / "scan.h5")
    pp.save_scan(replace(scan, provenance={}), path)
    return path


def test_compare_takes_no_guess_for_the_truth(
    measured: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = place / "raw" / "scan.h5"
    for scan, options, scored in (
        (measured, [], False),
        (raw, [], True),
        (measured, ["--truth", str(raw)], True),
        (measured, ["--truth", str(measured)], True),
    ):
        out = tmp_path / "c"
        assert run(["compare", str(scan), "-o", str(out), "--with", "pretrained", "--force",
                    *options, *FAST]) == 0  # fmt: skip
        (row,) = read_json(out / "comparison.json")["rows"]
        assert ("phase_psnr_db" in row) == scored
    other = str(place / "raw" / "other.h5")
    assert run(["compare", str(measured), "-o", str(tmp_path / "d"), "--with", "pretrained",
                "--truth", other, *FAST]) == 2  # fmt: skip
    assert "must belong" in capsys.readouterr().err


def test_pictures_of_a_comparison_are_aligned_and_scored(measured: Path, place: Path) -> None:
    from ptychopinn.workflows.compare import compare, parse_method, pictures

    methods = [parse_method(word) for word in ("pretrained", "refine-probe")]
    raw = pp.load_scan(place / "raw" / "scan.h5")
    bare = replace(raw, object=None, provenance={})
    for scan, first in ((raw, "truth"), (pp.load_scan(measured), "object in the file"),
                        (bare, "pretrained")):  # fmt: skip
        rows = compare(scan, methods, backend="pytorch")
        shown = pictures(scan, rows)
        assert shown[0][0] == first
        assert len(shown) == (2 if first == "pretrained" else 3)
        reference = shown[0][2]
        for name, words, picture in shown[1:]:
            assert picture.shape == reference.shape
            difference = np.nanmean(np.abs(picture - reference) ** 2)
            assert difference < 0.02 * np.nanmean(np.abs(reference) ** 2), name
            assert words.startswith("residual 0.")
            assert ("dB" in words) == (first == "truth")


def test_the_log_of_a_good_run_says_what_was_done(place: Path) -> None:
    text = (place / "result" / "log.txt").read_text()
    for words in ("reconstruct raw/scan.h5", str(place / "raw" / "scan.h5"), "81 patterns",
                  "network: architecture unrolled", "good fit: residual"):  # fmt: skip
        assert words in text


# --- what the program says of itself --------------------------------------------------------------


def test_the_defaults_of_pretrain_are_those_it_uses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ["--iterations", "1", "--updates", "1", "--width", "4", "--levels", "1"]
    assert run(["pretrain", "-o", str(tmp_path / "m"), *tiny, "--scans", "1", "--quiet"]) == 0
    used = read_json(tmp_path / "m" / "run.json")["config"]
    assert run(["pretrain", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    found = re.findall(
        r"--([a-z-]+)(?:, --[a-z_]+)? (?:INTEGER|FLOAT) (?:(?!--)[^\[])*\[default: ([\d.e-]+)[\],]",
        shown,
    )
    values = {k: v for section in used.values() for k, v in section.items()}
    compared = {n: float(v) for n, v in found if n.replace("-", "_") in values}
    assert {"batch-size", "warmup-steps", "learning-rate"} <= set(compared)
    for name, value in compared.items():
        if f"--{name}" not in tiny:
            assert value == values[name.replace("-", "_")], name


def test_a_pretrained_model_knows_how_it_came_about(tmp_path: Path) -> None:
    """Scans that were seen, not those that were asked for; and what it was trained from."""
    tiny = {"iterations": 1, "updates": 1, "width": 4, "levels": 1}

    class StopAfterTwo:
        steps = 0

        def epoch(self, number: int, steps: int) -> None: ...

        def step(self, loss: float, patterns_per_s: float) -> None:
            self.steps += 1
            if self.steps == 2:
                signal.raise_signal(signal.SIGINT)

        def epoch_done(self, number: int, metrics: Any) -> None: ...

    config = pp.Config(model=tiny, training={"batch_size": 1, "seed": 5})
    execution = pp.TorchExecution(threads=1)
    first = pretrain(config, 50, execution=execution, progress=StopAfterTwo())
    assert first.stopped_by == signal.SIGINT
    assert first.bundle.manifest.statistics == {"simulated_scans": 2}
    second = pretrain(config, 1, start=first, execution=execution)
    statistics: Any = second.bundle.manifest.statistics
    assert statistics["simulated_scans"] == 1
    assert statistics["parent"]["seed"] == 5
    assert statistics["parent"]["statistics"] == {"simulated_scans": 2}
    third = pp.train(simulated(1), pp.Config(model=tiny, data={"n_groups": 4},
                                             training={"epochs": 1}), start=second,
                     backend="pytorch", probe_check=False)  # fmt: skip
    statistics = third.bundle.manifest.statistics
    assert statistics["parent"]["statistics"] == dict(second.bundle.manifest.statistics)


def test_the_card_of_the_shipped_model_counts_its_scans() -> None:
    statistics: Any = load_model().manifest.statistics
    count = 0
    while statistics:
        count += statistics["simulated_scans"]
        statistics = statistics.get("parent", {}).get("statistics")
    card = (Path(__file__).parents[2] / "docs" / "pretrained.md").read_text()
    assert f"{count} simulated scans" in card


def test_documents_agree_on_the_number_of_parameters() -> None:
    bundle = load_model()
    thousands = round(sum(w.size for w in bundle.weights.values()) / 1000)
    docs = Path(__file__).parents[2] / "docs"
    for name, words in (("pretrained.md", "{} thousand parameters"),
                        ("user-guide.md", "| parameters | {} thousand |")):  # fmt: skip
        assert words.format(thousands) in (docs / name).read_text()


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"training": {"epoch": 3}}, ("'training.epoch'", "did you mean 'training.epochs'",
                                      "in the section training", "batch_size")),
        ({"epoch": 3}, ("'epoch'", "did you mean 'training.epochs'")),
        ({"trainig": {"epochs": 3}}, ("'trainig'", "did you mean 'training'")),
        ({"model": {"gridsize": 2}}, ("gridsize has no meaning", "unrolled", "received 2")),
        ({"model": {"mode": "supervised"}, "loss": {"realspace_mae_weight": 0}},
         ("realspace_mae_weight", "raise one")),
        ({"training": {"epochs": "x" * 3000}}, ("epochs must be a valid integer", "...")),
        ({"training": {"learning_rate": 10**6000}}, ("option training.learning_rate must be",)),
    ],
)  # fmt: skip
def test_a_bad_option_is_one_sentence_everywhere(
    options: dict[str, Any],
    words: tuple[str, ...],
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From Python, and from a file."""
    with pytest.raises(pp.InputError) as caught:
        pp.Config(**options)
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value)) < 700
    if "learning_rate" in options.get("training", {}):
        return  # no file holds such a number
    (tmp_path / "c.json").write_text(json.dumps(options))
    assert run(["train", str(place / "raw" / "scan.h5"), "-o", str(tmp_path / "m"), "--config",
                str(tmp_path / "c.json")]) == 2  # fmt: skip
    told = capsys.readouterr().err
    check_sentence(told)
    for word in words:  # a message about the keys of a file keeps them
        assert word in told or as_flags(word, train_command.command.params) in told


def test_other_schemas_say_it_too() -> None:
    for make, words in (
        (lambda: pp.simulate(objct="leaves"), "did you mean 'object'"),
        (lambda: pp.SimulationConfig(N=33), "received 33"),
        (lambda: pp.TorchExecution(thread=2), "did you mean 'threads'"),
        (lambda: pp.TFExecution(thread=2), "did you mean 'threads'"),
        (lambda: pp.RefineConfig(batch_size=3), "the engine physics"),
        (lambda: pp.RefineConfig(pases=3), "did you mean 'passes'"),
    ):
        with pytest.raises(pp.InputError, match=words):
            make()
