"""The commands reconstruct, refine and pretrain, with the real programs and the shipped model."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_commands import (
    BACKENDS,
    backend_flags,
    check_sentence,
    files,
    finished,
    infer,
    process,
    read_json,
)

import ptychopinn as pp
from oracle.forward import fourier_shift
from ptychopinn.cli import run
from ptychopinn.io import load_scan, save_scan
from ptychopinn.io.models import load_bundle
from ptychopinn.io.reconstructions import load_reconstruction
from ptychopinn.workflows.verbs import load_model

pytest.importorskip("torch")

RESULT = {
    "reconstruction.h5", "reconstructed_amplitude.png", "reconstructed_phase.png", "run.json",
    "log.txt", "report.html",
}  # fmt: skip
ROOT = Path(__file__).parents[2]


def command(
    verb: str, source: Path, output: Path, *options: object, backend: str = "pytorch"
) -> int:
    """A command in this process, on one thread; the exit code."""
    flags = [*map(str, options), *backend_flags(backend, *options)]
    return run([verb, str(source), "-o", str(output), *flags])


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan that nobody trained on."""
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    save_scan(pp.simulate(N=32, patterns=81, photons=1e6, seed=9, step_px=4.0), path)
    return path


@pytest.fixture(scope="module")
def reconstructed(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the reconstruction by a backend, made once."""
    folder = tmp_path_factory.mktemp("reconstructed")

    @cache
    def make(backend: str) -> Path:
        assert command("reconstruct", scan, folder / backend, "--quiet", backend=backend) == 0
        return folder / backend

    return make


# --- reconstruct ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_reconstruct_needs_no_options(
    backend: str, reconstructed: Callable[[str], Path], scan: Path
) -> None:
    folder = reconstructed(backend)
    assert files(folder) == RESULT
    record = read_json(folder / "run.json")
    assert record["model"] == "pretrained"
    assert record["scan"] == str(scan)
    assert record["backend"] == backend
    assert record["patterns"] == 81
    assert record["fit"]["verdict"] == "good"
    (stage,) = record["stages"]
    assert stage["stage"] == "network"
    assert stage["architecture"] == "unrolled"
    assert len(stage["corrections"]) == load_model().config.model.iterations
    assert record["patterns_per_s_network"] > 0
    assert set(record["seconds"]) >= {"load", "network", "misfit", "write", "total"}
    found = load_reconstruction(folder)
    assert found.provenance["stages"] == record["stages"]
    metrics = pp.evaluate(found, truth=load_scan(scan)).metrics
    assert metrics["phase_psnr_db"] > 20


def test_reconstruct_agrees_between_backends(reconstructed: Callable[[str], Path]) -> None:
    one, other = (load_reconstruction(reconstructed(backend)) for backend in BACKENDS)
    well = one.weight > 0.05
    largest = np.abs(one.object[well]).max()
    assert np.abs(one.object - other.object)[well].max() < 1e-4 * largest
    assert one.provenance["stages"] == other.provenance["stages"]


def test_reconstruct_does_not_load_what_it_does_not_need(scan: Path, tmp_path: Path) -> None:
    """The compiler of torch and its algebra take more than a second to import; what is loaded is
    not looked through once more in the end."""
    code = (
        "import atexit, gc, sys; "
        "atexit.register(lambda: print(gc.get_freeze_count(), *sys.modules)); "
        "from ptychopinn.entry import main; main()"
    )
    arguments = ["reconstruct", scan, "-o", tmp_path / "r", "--quiet", "--backend", "pytorch"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    frozen, *modules = done.stdout.split()
    assert int(frozen) > 100_000
    assert "torch" in modules
    assert not {"torch._dynamo", "torch._inductor", "sympy", "lightning"} & {*modules}
    assert "ptychopinn.workflows.train" not in modules


def test_reconstruct_is_infer_with_the_shipped_model(
    reconstructed: Callable[[str], Path], scan: Path, tmp_path: Path
) -> None:
    model = tmp_path / "wts.h5.zip"
    shutil.copy(ROOT / "src" / "ptychopinn" / "pretrained" / "wts.h5.zip", model)
    assert infer(model, scan, tmp_path / "r", "--quiet") == 0
    one, other = load_reconstruction(reconstructed("pytorch")), load_reconstruction(tmp_path / "r")
    assert np.array_equal(one.object, other.object)


def test_reconstruct_always_refines_when_told(scan: Path, tmp_path: Path) -> None:
    assert command("reconstruct", scan, tmp_path / "r", "--refine", "always", "--quiet") == 0
    record = read_json(tmp_path / "r" / "run.json")
    assert [s["stage"] for s in record["stages"]] == ["network", "refinement"]
    assert record["fit"]["residual"] < 1.1 * record["fit"]["expected"]


def test_reconstruct_refines_the_probe_when_it_does_not_fit(scan: Path, tmp_path: Path) -> None:
    """Automatically, from the start; never when told so, and then the files say it."""
    good = load_scan(scan)
    k = np.fft.fftfreq(good.N)
    blurred = np.fft.ifft2(np.fft.fft2(good.probe) * np.exp(60j * (k[:, None] ** 2 + k**2)))
    off = replace(good, probe=fourier_shift(blurred, np.ones(2)).astype(np.complex64))
    save_scan(off, tmp_path / "off.h5")
    command("reconstruct", tmp_path / "off.h5", tmp_path / "auto", "--quiet")
    command("reconstruct", tmp_path / "off.h5", tmp_path / "never", "--refine", "never", "--quiet")
    auto, never = (read_json(tmp_path / name / "run.json") for name in ("auto", "never"))
    assert [s["stage"] for s in never["stages"]] == ["network"]
    # A few passes leave an object that would still change: more follow.
    first, further = auto["stages"]
    assert all((s["stage"], s["refine_probe"]) == ("refinement", True) for s in (first, further))
    assert further["passes"] > first["passes"]
    assert auto["fit"]["residual"] < 0.3 * never["fit"]["residual"]


def test_reconstruct_keeps_what_is_there(
    reconstructed: Callable[[str], Path], scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = reconstructed("pytorch")
    before = {name: (folder / name).read_bytes() for name in RESULT}
    assert command("reconstruct", scan, folder) == 2
    check_sentence(capsys.readouterr().err, "--force")
    assert {name: (folder / name).read_bytes() for name in RESULT} == before


def test_reconstruct_replaces_it_with_force(scan: Path, tmp_path: Path) -> None:
    for name in (*RESULT, "evaluation.json", "notes.txt"):
        (tmp_path / name).write_text("old")
    assert command("reconstruct", scan, tmp_path, "--force", "--quiet") == 0
    assert files(tmp_path) == {*RESULT, "notes.txt"}
    assert load_reconstruction(tmp_path).name


def test_reconstruct_without_a_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("reconstruct", tmp_path / "none.h5", tmp_path / "r") == 2
    check_sentence(capsys.readouterr().err, "none.h5")
    assert files(tmp_path) == set()


# --- refine ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_refine_a_result(
    backend: str, reconstructed: Callable[[str], Path], scan: Path, tmp_path: Path
) -> None:
    """The scan is the one that the record of the result names."""
    source = reconstructed("pytorch")
    assert command("refine", source, tmp_path / "r", "--quiet", backend=backend) == 0
    assert files(tmp_path / "r") == RESULT
    record = read_json(tmp_path / "r" / "run.json")
    assert record["source"] == str(source)
    assert record["scan"] == str(scan)
    assert record["backend"] == backend
    assert [s["stage"] for s in record["stages"]] == ["network", "refinement"]
    assert 1 < record["stages"][1]["passes"] <= record["config"]["passes"]
    assert record["fit"]["residual"] < read_json(source / "run.json")["fit"]["residual"]
    assert record["fit"]["residual"] < 1.1 * record["fit"]["expected"]
    found = load_reconstruction(tmp_path / "r")
    assert len(found.losses) == record["stages"][1]["passes"]
    assert np.array_equal(found.probe, load_reconstruction(source).probe)


def test_refine_a_refined_result_again(
    reconstructed: Callable[[str], Path], tmp_path: Path
) -> None:
    """Every stage is recorded; the file itself may be given."""
    source = reconstructed("pytorch")
    options = ("--passes", 2, "--quiet")
    assert command("refine", source / "reconstruction.h5", tmp_path / "one", *options) == 0
    probe = ("--refine-probe", "--refine-positions", "--positions-from", 0)
    assert command("refine", tmp_path / "one", tmp_path / "two", *options, *probe) == 0
    stages = read_json(tmp_path / "two" / "run.json")["stages"]
    assert [s["stage"] for s in stages] == ["network", "refinement", "refinement"]
    assert [s["passes"] for s in stages[1:]] == [2, 2]
    assert (stages[2]["refine_probe"], stages[2]["refine_positions"]) == (True, True)
    one, two = (load_reconstruction(tmp_path / name) for name in ("one", "two"))
    assert not np.array_equal(one.probe, two.probe)
    assert not np.array_equal(one.positions_px, two.positions_px)


@pytest.mark.parametrize("backend", BACKENDS)
def test_refine_from_nothing(backend: str, scan: Path, tmp_path: Path) -> None:
    assert command("refine", scan, tmp_path / "r", "--quiet", backend=backend) == 0
    record = read_json(tmp_path / "r" / "run.json")
    assert record["source"] == record["scan"] == str(scan)
    assert [s["stage"] for s in record["stages"]] == ["refinement"]
    assert record["fit"]["residual"] < 1.1 * record["fit"]["expected"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_defocused_probe_is_found_within_ten_passes(backend: Any) -> None:
    truth = pp.simulate(N=32, patterns=196, photons=1e7, seed=4, step_px=3.0)
    k = np.fft.fftfreq(truth.N)
    defocused = np.fft.fft2(truth.probe) * np.exp(60j * (k[:, None] ** 2 + k**2))
    scan = replace(truth, probe=np.fft.ifft2(defocused).astype(np.complex64))
    config = pp.RefineConfig(passes=10, refine_probe=True)
    found = pp.refine(scan, None, config, backend=backend, no_mend="all")
    assert pp.evaluate(found, truth=truth).metrics["phase_psnr_db"] > 35


def test_refine_needs_the_scan_of_the_result(
    reconstructed: Callable[[str], Path],
    scan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A result of an earlier version has it from its record, which may be missing, broken or out
    of date, or from --scan."""
    source = tmp_path / "source"
    shutil.copytree(reconstructed("pytorch"), source)
    (source / "run.json").unlink()
    result = load_reconstruction(source)
    earlier = {k: v for k, v in result.provenance["scan"].items() if k != "fingerprint"}
    replace(result, provenance={**result.provenance, "scan": earlier}).save(source, force=True)
    assert command("refine", source, tmp_path / "r") == 2
    check_sentence(capsys.readouterr().err, "run.json", "--scan SCAN")
    (source / "run.json").write_text("{}")
    assert command("refine", source, tmp_path / "r") == 2
    check_sentence(capsys.readouterr().err, "run.json", "--scan SCAN")
    (source / "run.json").write_text(json.dumps({"scan": str(tmp_path / "gone.h5")}))
    assert command("refine", source, tmp_path / "r") == 2
    check_sentence(capsys.readouterr().err, "gone.h5", "--scan SCAN")
    assert not (tmp_path / "r").exists()
    options = ("--scan", scan, "--passes", 1, "--quiet")
    assert command("refine", source, tmp_path / "r", *options) == 0
    assert read_json(tmp_path / "r" / "run.json")["scan"] == str(scan)


def test_refine_refuses_another_scan(
    reconstructed: Callable[[str], Path],
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = scans / "a.h5"
    assert command("refine", reconstructed("pytorch"), tmp_path / "r", "--scan", other) == 2
    check_sentence(capsys.readouterr().err, "its own scan", "81 patterns", "120")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--passes", 0), ("passes",)),
        (("--subsets", 17), ("subsets",)),
        (("--tf-threads", 1), ("tf-threads",)),
    ],
)
def test_refine_refuses_impossible_options(
    scan: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("refine", scan, tmp_path / "r", *options) == 2
    check_sentence(capsys.readouterr().err, *words)
    assert files(tmp_path) == set()


def test_refine_keeps_what_is_there(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reconstruction.h5").write_text("earlier")
    assert command("refine", scan, tmp_path) == 2
    check_sentence(capsys.readouterr().err, "reconstruction.h5", "--force")
    assert files(tmp_path) == {"reconstruction.h5"}
    assert (tmp_path / "reconstruction.h5").read_text() == "earlier"


# --- pretrain -------------------------------------------------------------------------------------

TINY = ("--iterations", 1, "--updates", 2, "--width", 4, "--levels", 1, "--torch-threads", 1)


def pretrain(output: Path, *options: object) -> int:
    return run(["pretrain", "-o", str(output), *map(str, options)])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    assert pretrain(folder, *TINY, "--scans", 3, "--quiet") == 0
    return folder


def test_pretrain_writes_a_model_that_any_backend_applies(
    pretrained: Path, scan: Path, tmp_path: Path
) -> None:
    checkpoint = {"checkpoints/last.ckpt", "config.json", "metrics.csv", "loss.png"}
    assert files(pretrained) == {"wts.h5.zip", "run.json", "log.txt", *checkpoint}
    record = read_json(pretrained / "run.json")
    assert record["stopped_by_signal"] is None
    assert record["config"]["model"]["width"] == 4
    model = load_model(pretrained / "wts.h5.zip")
    assert model.manifest.statistics["simulated_scans"] == 3
    assert set(model.weights) == set(model.config.model.describe().parameter_shapes())
    found = []
    for backend in BACKENDS:
        infer(pretrained / "wts.h5.zip", scan, tmp_path / backend, "--quiet", backend=backend)
        found.append(load_reconstruction(tmp_path / backend))
    well = found[0].weight > 0.05
    difference = np.abs(found[0].object - found[1].object)[well].max()
    assert difference < 1e-4 * np.abs(found[0].object[well]).max()


def test_pretrain_is_reproducible_and_depends_on_the_seed(pretrained: Path, tmp_path: Path) -> None:
    assert pretrain(tmp_path / "again", *TINY, "--scans", 3, "--quiet") == 0
    assert pretrain(tmp_path / "other", *TINY, "--scans", 3, "--seed", 1, "--quiet") == 0
    one, again, other = (
        load_bundle(folder / "wts.h5.zip").weights
        for folder in (pretrained, tmp_path / "again", tmp_path / "other")
    )
    assert all(np.allclose(one[name], again[name], atol=1e-6) for name in one)
    assert any(not np.allclose(one[name], other[name], atol=1e-3) for name in one)


def test_pretrain_further(pretrained: Path, tmp_path: Path) -> None:
    """The architecture is that of the model, which need not be repeated."""
    start = pretrained / "wts.h5.zip"
    options = ("--scans", 2, "--torch-threads", 1, "--seed", 5, "--quiet")
    assert pretrain(tmp_path / "m", "--from", start, *options) == 0
    one, further = (load_bundle(f / "wts.h5.zip").weights for f in (pretrained, tmp_path / "m"))
    assert set(one) == set(further)
    changes = [np.abs(further[k] - one[k]).max() for k in one]
    assert 0 < max(changes) < 0.1


def test_pretrain_refuses_another_architecture(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain(tmp_path / "m", "--from", pretrained / "wts.h5.zip", "--width", 8) == 2
    check_sentence(capsys.readouterr().err, "own network")
    assert not (tmp_path / "m").exists()


def test_pretrain_keeps_what_is_there(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (pretrained / "wts.h5.zip").read_bytes()
    assert pretrain(pretrained, *TINY, "--scans", 2) == 2
    check_sentence(capsys.readouterr().err, "--force")
    assert (pretrained / "wts.h5.zip").read_bytes() == before


def test_pretrain_on_tensorflow_and_further(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same seed gives nearly the same network; the run goes on with more scans."""
    tiny = TINY[: TINY.index("--torch-threads")]
    folder = tmp_path / "m"
    assert pretrain(folder, *tiny, "--scans", 3, "--quiet", "--backend", "tensorflow") == 0
    one, other = (load_model(f / "wts.h5.zip") for f in (pretrained, folder))
    for name, weight in one.weights.items():
        np.testing.assert_allclose(other.weights[name], weight, atol=1e-4)
    assert pretrain(folder, "--resume", "--width", 8) == 2
    check_sentence(capsys.readouterr().err, "--width 8 where it has 4")
    assert pretrain(folder, "--resume", "--scans", 4, "--quiet") == 0
    further = load_model(folder / "wts.h5.zip")
    assert further.manifest.backend == "tensorflow"
    assert further.manifest.statistics == {"simulated_scans": 4}
    assert any(not np.array_equal(further.weights[k], v) for k, v in other.weights.items())


def test_pretrain_saves_what_is_there_when_interrupted(tmp_path: Path) -> None:
    running = process("pretrain", "-o", tmp_path / "m", *TINY, "--scans", 100_000)
    deadline = time.monotonic() + 60
    while not (tmp_path / "m" / "log.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    code, _, err = finished(running)
    assert code == 128 + signal.SIGINT, err
    assert read_json(tmp_path / "m" / "run.json")["stopped_by_signal"] == signal.SIGINT
    load_model(tmp_path / "m" / "wts.h5.zip")


# --- the shipped model ----------------------------------------------------------------------------


def test_the_shipped_model_is_small_and_a_valid_bundle() -> None:
    assert load_model().source == "pretrained"
    assert (ROOT / "src" / "ptychopinn" / "pretrained" / "wts.h5.zip").stat().st_size < 5e6


def test_the_wheel_holds_the_shipped_model() -> None:
    """Built by the rules of pyproject.toml; what it lists is what an installation gets."""
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    listed = {f.distribution_path for f in builder.WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {"ptychopinn/pretrained/wts.h5.zip", "ptychopinn/py.typed"} <= listed
    assert not any("tests" in Path(name).parts for name in listed)
