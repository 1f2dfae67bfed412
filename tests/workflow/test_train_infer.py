"""The commands train and infer on small simulated scans: what they write, refuse and find out."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
import yaml
from training_commands import (
    ARCHITECTURES,
    BACKENDS,
    CNN,
    SHALLOW,
    UNROLLED,
    UNTRIED,
    check_sentence,
    files,
    finished,
    infer,
    process,
    read_json,
    same_weights,
    train,
)

import warm_processes
from ptychopinn.cli import COMMANDS, run
from ptychopinn.config import Config
from ptychopinn.data.normalization import mean_counts
from ptychopinn.data.scan import Scan
from ptychopinn.io import load_scan, save_scan
from ptychopinn.io.models import load_bundle
from ptychopinn.io.reconstructions import load_reconstruction
from ptychopinn.physics.scaling import reconcile_probe
from ptychopinn.simulation import SimulationConfig, simulate

pytest.importorskip("torch")
pytest.importorskip("lightning")

MODEL_FILES = {
    "wts.h5.zip", "loss.png", "run.json", "log.txt", "config.json", "metrics.csv",
    "checkpoints/best.ckpt", "checkpoints/last.ckpt",
}  # fmt: skip
RESULT_FILES = {
    "reconstruction.h5", "reconstructed_amplitude.png", "reconstructed_phase.png", "run.json",
    "log.txt", "report.html",
}  # fmt: skip
ONE_EPOCH = ["--epochs", "1"]
QUICK = [*UNROLLED, *ONE_EPOCH, "--n-groups", "2"]
# What is written once for both frameworks, which tests/laws compare: each with one kind of network.
EACH_ONCE = [("unrolled", "pytorch"), ("cnn", "tensorflow")]
# Where nobody looks at the object or at how good it is.
ROUGH = [*SHALLOW, *ONE_EPOCH, "--n-groups", "2"]
ROUGHLY = {"unrolled": ROUGH, "cnn": [*CNN, *ONE_EPOCH]}


@pytest.fixture(scope="module")
def model(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an unrolled model trained on a.h5."""
    folder = tmp_path_factory.mktemp("model") / "m"
    assert train(scans / "a.h5", folder, *UNROLLED, "--epochs", "2") == 0
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Callable[[Scan, str], Path]:
    """Write a scan to a file."""

    def save(scan: Scan, name: str = "scan.h5") -> Path:
        return save_scan(scan, tmp_path / name) or tmp_path / name

    return save


@pytest.fixture
def simulated(store: Callable[[Scan, str], Path]) -> Callable[..., Path]:
    """Simulate a scan like a.h5 with other settings, to a file."""

    def make(name: str = "scan.h5", **settings: Any) -> Path:
        values = {"N": 32, "patterns": 100, "photons": 1e6, "seed": 4, **settings}
        return store(simulate(SimulationConfig(**values)), name)

    return make


# --- the whole way --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_simulate_train_infer_evaluate(
    name: str, tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for scan, seed in (("a.h5", 1), ("b.h5", 2)):
        arguments = ["simulate", tmp_path / scan, "--N", 32, "--patterns", 100, "--seed", seed]
        assert run([str(a) for a in arguments]) == 0
    model, result = tmp_path / "model", tmp_path / "result"
    assert train(tmp_path / "a.h5", model, *ARCHITECTURES[name], "--epochs", 2) == 0
    assert files(model) == MODEL_FILES
    manifest = load_bundle(model).manifest
    record = read_json(model / "run.json")
    assert record["config"] == manifest.config == read_json(model / "config.json")
    assert Config(**record["config"]).model_dump(mode="json") == record["config"]
    assert record["epochs"] == 2 and record["stopped_by_signal"] is None
    assert record["metrics"]["epoch"] in (1, 2) and record["command"][0] == "train"
    assert record["statistics"]["patterns"] == 100
    lines = (model / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,") and len(lines) == 3

    code = infer(model, tmp_path / "b.h5", result)
    assert files(result) == RESULT_FILES
    record = read_json(result / "run.json")
    verdict = record["fit"]["verdict"]
    assert code == {"good": 0, "doubtful": 0, "poor": 3}[verdict]
    assert code == 0 or name.startswith("cnn"), "the canvas network is good from the start"
    assert record["patterns"] == 100 and record["command"][:2] == ["infer", str(model)]
    reconstruction = load_reconstruction(result)
    assert len(reconstruction.positions_px) == 100
    assert np.isfinite(reconstruction.object).all() and (reconstruction.weight >= 0).all()

    capsys.readouterr()
    assert run(["evaluate", str(result), "--truth", str(tmp_path / "b.h5"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["coverage"] == 1
    assert files(tmp_path) == {"a.h5", "b.h5"} | {f"model/{f}" for f in MODEL_FILES} | {
        f"result/{f}"
        for f in RESULT_FILES | {"evaluation.json", "evaluation.png", "evaluation.html"}
    }


def test_infer_keeps_an_earlier_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evaluation.json").write_text("{}")
    assert infer(tmp_path / "model", tmp_path / "scan.h5", tmp_path) == 2
    check_sentence(capsys.readouterr().err, "evaluation.json", "--force")
    assert (tmp_path / "evaluation.json").read_text() == "{}"


def test_written_lists_are_true() -> None:
    from ptychopinn.cli import results, runs
    from ptychopinn.report.figure_names import NAMES

    assert set(runs.WRITTEN) == MODEL_FILES | {"mlflow.db"}
    drawn = {"uncertainty.png", *NAMES}
    assert set(results.WRITTEN) == RESULT_FILES | drawn


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_is_trained_further(
    backend: str, model: Path, scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With its own network, which need not be said again; on any backend."""
    options = ["--n-groups", "2", "--subscan-patterns", "50", *ONE_EPOCH]
    further = tmp_path / "further"
    assert train(scans / "a.h5", further, "--from", model, *options, backend=backend) == 0
    before, after = load_bundle(model), load_bundle(further)
    assert after.manifest.statistics["further_trained"] is True
    assert set(after.weights) == set(before.weights)
    # Ten small steps from the same weights, not a new network.
    for name, weight in before.weights.items():
        if name.endswith(".weight"):
            change = np.abs(after.weights[name] - weight).max()
            assert 0 < change < 0.05, name
    refused = tmp_path / "refused"
    options += ["--width", "9"]
    assert train(scans / "a.h5", refused, "--from", model, *options, backend=backend) == 2
    check_sentence(capfd.readouterr().err.splitlines()[-1], "with its own network")
    assert not refused.exists()


@pytest.mark.parametrize(("network", "backend"), EACH_ONCE)
def test_every_pattern_is_used(
    network: str,
    backend: str,
    scans: Path,
    store: Callable[[Scan, str], Path],
    tmp_path: Path,
) -> None:
    """A change of any one pattern changes the result."""
    train(scans / "a.h5", tmp_path / "m", *ROUGHLY[network], backend=backend)
    scan = load_scan(scans / "b.h5")
    infer(tmp_path / "m", scans / "b.h5", tmp_path / "whole", backend=backend)
    whole = load_reconstruction(tmp_path / "whole").object
    for number in (0, scan.M - 1):
        counts = np.array(scan.diffraction)
        counts[number] = counts[number][::-1, ::-1]
        path = store(replace(scan, diffraction=counts), f"changed{number}.h5")
        infer(tmp_path / "m", path, tmp_path / f"r{number}", backend=backend)
        changed = load_reconstruction(tmp_path / f"r{number}").object
        assert np.abs(changed - whole).max() > 1e-4


# --- processes of their own: what the user sees ---------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_output_of_the_commands(backend: str, scans: Path, tmp_path: Path) -> None:
    """One line of result on standard output, plain messages on standard error, nothing twice.

    Also in a job of a batch system, whose variables speak of several tasks.
    """
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    slurm = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "x", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
    model, result = tmp_path / "m", tmp_path / "r"
    chosen = ["--backend", backend]
    command = ("train", scans / "a.h5", "-o", model, *QUICK, "--epochs", 2, *chosen)
    code, out, err = finished(process(*command, cwd=cwd, env=slurm))
    assert code == 0
    assert out.startswith(f"model: {model / 'wts.h5.zip'} (") and out.count("\n") == 1
    lines = err.splitlines()
    assert [line.split()[:2] for line in lines] == [["INFO", "probe"], *[["INFO", "epoch"]] * 2]
    logged = (model / "log.txt").read_text().splitlines()
    assert [line.split(" INFO ")[1] for line in logged] == [line[5:] for line in lines]
    command = ("infer", model, scans / "b.h5", "-o", result, *chosen)
    code, out, err = finished(process(*command, cwd=cwd))
    assert code == 0
    assert all(line.startswith("INFO pass ") for line in err.splitlines())
    assert out.startswith(f"reconstruction: {result / 'reconstruction.h5'} (120 patterns, ")
    assert list(cwd.iterdir()) == []


def test_quiet_says_nothing(scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, result, quiet = tmp_path / "m", tmp_path / "r", ["--quiet", "--force"]
    for backend in BACKENDS:
        assert train(scans / "a.h5", model, *QUICK, *quiet, backend=backend) == 0
        assert infer(model, scans / "b.h5", result, *quiet, backend=backend) == 0
    assert capfd.readouterr() == ("", "")
    assert "epoch 1/1" in (tmp_path / "m/log.txt").read_text()


FRAMEWORKS = ("torch", "lightning", "matplotlib", "tensorflow", "skimage")


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_imports_no_framework(command: str | None) -> None:
    arguments = [*([command] if command else []), "--help"]
    script = (
        "import sys, ptychopinn; from ptychopinn.cli import run\n"
        f"assert run({arguments!r}) == 0\n"
        f"print([m for m in {FRAMEWORKS!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: ptychopinn")
    assert done.stderr == "[]\n"


BLOCK = """
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {blocked!r}:
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
from ptychopinn.cli import main
main({arguments!r})
"""


def without(blocked: set[str], *arguments: Any, anew: bool = True) -> tuple[int, str]:
    """Exit code and standard error of a command where packages cannot be imported.

    To the program that is an installation without them: it looks for them and imports them by the
    finders of Python, which do not find them here.

    anew : whether a package is one that is imported before the program begins to look
    """
    script = BLOCK.format(blocked=blocked, arguments=[str(a) for a in arguments])
    start = subprocess.run if anew else warm_processes.run
    done = start([sys.executable, "-c", script], capture_output=True, text=True)
    return done.returncode, done.stderr


MISSING = [("torch", "pytorch"), ("lightning", "pytorch"), ("tensorflow", "tensorflow")]


@pytest.mark.parametrize(("package", "backend"), MISSING)
def test_training_without_its_packages(
    package: str, backend: str, scans: Path, tmp_path: Path
) -> None:
    arguments = ("train", scans / "a.h5", "-o", tmp_path / "m", "--backend", backend)
    code, err = without({package}, *arguments)
    assert code == 2
    check_sentence(err, f"the package {package}", f"pip install 'ptychopinn[{backend}]'")
    assert not (tmp_path / "m").exists()


def test_training_without_any_framework(scans: Path, tmp_path: Path) -> None:
    arguments = ("train", scans / "a.h5", "-o", tmp_path / "m")
    code, err = without({"torch", "tensorflow"}, *arguments)
    assert code == 2
    check_sentence(err, "'ptychopinn[pytorch]'", "'ptychopinn[tensorflow]'")
    code, err = without({"lightning", "tensorflow"}, *arguments)
    assert code == 2
    check_sentence(err, "the package lightning", "'ptychopinn[pytorch]'")
    assert not (tmp_path / "m").exists()


def test_inference_needs_one_framework(model: Path, scans: Path, tmp_path: Path) -> None:
    """Without the one the other is used, unless the one is asked for."""
    arguments = ("infer", model, scans / "b.h5", "-o", tmp_path / "r")
    for package, backend in MISSING[::2]:
        code, err = without({package}, *arguments, "--backend", backend)
        assert code == 2
        check_sentence(err, f"the package {package}", f"pip install 'ptychopinn[{backend}]'")
    assert not (tmp_path / "r").exists()
    for hidden, used in (
        ({"torch", "lightning"}, "tensorflow"),
        ({"lightning", "tensorflow"}, "pytorch"),
    ):
        assert without(hidden, *arguments, "--force")[0] == 0
        assert read_json(tmp_path / "r/run.json")["backend"] == used


# --- overwriting ----------------------------------------------------------------------------------


def test_results_are_not_overwritten(
    scans: Path, tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, result = tmp_path / "m", tmp_path / "r"
    assert train(scans / "a.h5", model, *ROUGH) == 0
    assert infer(model, scans / "b.h5", result) == 0
    assert run(["evaluate", str(result), "--truth", str(scans / "b.h5")]) == 0
    content = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    capsys.readouterr()
    assert train(scans / "b.h5", model, *ROUGH) == 2
    check_sentence(capsys.readouterr().err, "wts.h5.zip", "--force")
    assert infer(model, scans / "a.h5", result) == 2
    check_sentence(capsys.readouterr().err, "reconstruction.h5", "--force")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == content

    (model / "mine.txt").write_text("kept")
    (model / "checkpoints" / "mine.ckpt").write_text("kept")
    assert train(scans / "b.h5", model, *ROUGH, "--force", "--torch-logger", "none") == 0
    mine = {"mine.txt", "checkpoints/mine.ckpt"}
    assert files(model) == (MODEL_FILES | mine) - {"metrics.csv"}
    assert (model / "wts.h5.zip").read_bytes() != content[model / "wts.h5.zip"]
    assert infer(model, scans / "a.h5", result, "--force") == 0
    assert files(result) == RESULT_FILES, "the evaluation of the replaced result is gone"
    assert "a.h5" in read_json(result / "run.json")["scan"]


REFUSED: dict[str, list[str]] = {
    "no such device": ["--torch-accelerator", "cuda"],
    "precision of a GPU": ["--torch-precision", "16-mixed", "--torch-accelerator", "cpu"],
    "more groups than patterns": [*CNN, "--n-groups", "1000"],
    "pattern size": [*CNN, "--N", "64"],
    "a held-out part too small": [*CNN, "--gridsize", "3", "--validation-fraction", "0.01"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_training_touches_nothing(
    case: str, model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither traces in a new folder, which would be in the way, nor the loss of an earlier run."""
    import torch

    if case == "no such device" and torch.cuda.is_available():
        pytest.skip("there is such a device")
    assert train(scans / "a.h5", tmp_path / "new", *REFUSED[case]) == 2
    check_sentence(capsys.readouterr().err)
    assert not (tmp_path / "new").exists()
    before = {p: p.read_bytes() for p in model.rglob("*") if p.is_file()}
    assert train(scans / "a.h5", model, *REFUSED[case], "--force") == 2
    assert {p: p.read_bytes() for p in model.rglob("*") if p.is_file()} == before


def test_output_must_be_a_folder(
    model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        assert train(scans / "a.h5", output, *ROUGH) == 2
        check_sentence(capsys.readouterr().err, "folder", "file")
        assert infer(model, scans / "b.h5", output) == 2
        check_sentence(capsys.readouterr().err, "folder", "file")


# --- options --------------------------------------------------------------------------------------


def test_flag_over_file_over_default(scans: Path, tmp_path: Path) -> None:
    """A file may be flat and in sections; what it does not say has its default."""
    settings = {
        "model": {"iterations": 2, "width": 8, "levels": 1},
        "training": {"epochs": 7, "seed": 5},
        "learning_rate": "1e-3",
        "n_groups": 2,
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    options = ["--config", tmp_path / "c.yaml", "--epochs", 1, "--no-probe-trainable"]
    assert train(scans / "a.h5", tmp_path / "m", *options) == 0
    config = read_json(tmp_path / "m" / "config.json")
    assert config["training"] == Config().training.model_dump() | {
        "epochs": 1, "seed": 5, "learning_rate": 1e-3,
    }  # fmt: skip
    assert config["model"] == Config().model.model_dump() | settings["model"]
    assert config["data"]["n_groups"] == 2
    (tmp_path / "again.json").write_text(json.dumps(config))
    assert train(scans / "a.h5", tmp_path / "n", "--config", tmp_path / "again.json") == 0
    assert same_weights(tmp_path / "m", tmp_path / "n")


FILES: dict[str, tuple[str, str]] = {
    "unknown key": ("epochz: 3", "'epochz'"),
    "unknown key in a section": ("training: {epochz: 3}", "'training.epochz'"),
    "unknown section": ("train: {epochs: 3}", "'train'"),
    "wrong section": ("model: {epochs: 3}", "'epochs' is not an option of the architecture"),
    "section that is none": ("training: 3", "option training must be a mapping of options"),
    "given twice": ("training: {epochs: 3}\nepochs: 3", "given once"),
    "flat beside no section": ("training: 3\nepochs: 3", "given once"),
    "out of range": ("epochs: 0", "--epochs must be at least 1"),
    "wrong type": ("epochs: many", "'many'"),
    "fraction for a number": ("epochs: 2.5", "2.5"),
    "no such choice": ("architecture: resnet", "'resnet'"),
    "not a number": ("learning_rate: .nan", "--learning-rate must be a finite number"),
    "infinite": ("learning_rate: .inf", "--learning-rate must be a finite number"),
    "not a mapping": ("- epochs", "list"),
    "not YAML": ("a: [", "YAML"),
    "name that is no word": ("3: 4", "3"),
    "execution option": ("accelerator: cpu", "'accelerator'"),
    "no loss": ("nll_weight: 0", "at least one of nll_weight"),
}


@pytest.mark.parametrize("flags", [[], ["--seed", "1"]], ids=["file", "file and flag"])
@pytest.mark.parametrize("case", FILES)
def test_bad_configuration_file(
    case: str,
    flags: list[str],
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, expected = FILES[case]
    (tmp_path / "c.yaml").write_text(text)
    options = ["--config", tmp_path / "c.yaml", *flags]
    assert train(scans / "a.h5", tmp_path / "m", *options) == 2
    check_sentence(capsys.readouterr().err, expected)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--epochs", "0"], "--epochs must be at least 1, received 0"),
        (["--learning-rate", "-1"], "--learning-rate must be greater than 0"),
        (["--learning-rate", "nan"], "--learning-rate must be a finite number"),
        (["--validation-fraction", "0.95"], "--validation-fraction must be"),
        (["--gridsize", "4"], "gridsize"),
        (["--nll-weight", "0"], "--nll-weight"),
        (["--torch-threads", "0"], "--torch-threads must be at least 1"),
        (["--config", "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_bad_flags(
    options: list[str],
    expected: str,
    scans: Path,
    tmp_path: Path,
    elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["train", str(scans / "a.h5"), "-o", str(tmp_path / "m"), *options]) == 2
    check_sentence(capsys.readouterr().err, expected)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "options",
    [["--epochs", "two"], ["--architecture", "resnet"], ["--probe-trainable=yes"], ["--epoch"]],
)
def test_flags_that_are_not_understood(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "-o", str(tmp_path / "m"), *options]) == 2
    assert "Error: " in capsys.readouterr().err


# --- collapse and divergence ----------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [SHALLOW, CNN], ids=["unrolled", "cnn"])
def test_divergence_is_an_error(
    options: list[str],
    backend: str,
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wild = ["--epochs", 2, "--learning-rate", 1e4, "--warmup-steps", 0]
    assert train(scans / "a.h5", tmp_path / "m", *options, *wild, backend=backend) == 1
    err = capsys.readouterr().err
    check_sentence(err, "lower --learning-rate")
    assert not {"wts.h5.zip", "run.json"} & files(tmp_path / "m")
    assert err.splitlines()[-1].removeprefix("ptychopinn: ") in (tmp_path / "m/log.txt").read_text()


def test_divergence_after_resuming_keeps_the_model(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the finished part, with its record and its picture."""
    options = [*UNROLLED, "--scheduler", "constant", "--learning-rate", 1e4, "--epochs", 1]
    # A warm-up of this length keeps the first epoch harmless.
    options += ["--warmup-steps", 1_000_000_000]
    assert train(scans / "a.h5", tmp_path / "m", *options) == 0
    from ptychopinn.training.checkpoint import read_checkpoint, write_checkpoint

    last = tmp_path / "m/checkpoints/last.ckpt"
    found = read_checkpoint(last)
    arrays = {k: v * 1e30 if k.endswith("network.step") else v for k, v in found.arrays.items()}
    assert any(np.abs(array).max() > 1e20 for array in arrays.values())
    write_checkpoint(last, replace(found, arrays=arrays))
    kept = [tmp_path / "m" / name for name in ("wts.h5.zip", "run.json", "loss.png")]
    before = [path.read_bytes() for path in kept]
    assert train(scans / "a.h5", tmp_path / "m", "--resume", "--epochs", 2) == 1
    check_sentence(capsys.readouterr().err, "must stay finite")
    assert [path.read_bytes() for path in kept] == before


def test_scan_of_nothing_is_not_a_collapse(simulated: Callable[..., Path], tmp_path: Path) -> None:
    """A flat object is the right answer when only photon noise distinguishes the patterns."""
    scan = simulated(amplitude=(1, 1), phase=(0, 0), photons=1e4, patterns=60)
    options = [*CNN, "--epochs", 4, "--collapse-patience", 1, "--learning-rate", 1e-5]
    assert train(scan, tmp_path / "m", *options) == 0
    assert infer(tmp_path / "m", scan, tmp_path / "r") == 0


def test_untrained_model_is_called_so(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A short run is no error, but the user hears that the model is worth nothing yet."""
    options = [*CNN, *ONE_EPOCH, "--learning-rate", 1e-6]
    assert train(scans / "a.h5", tmp_path / "m", *options) == 0
    assert "WARNING the model does not fit better than a flat object" in capsys.readouterr().err
    assert infer(tmp_path / "m", scans / "b.h5", tmp_path / "r") == 3


# --- the probe ------------------------------------------------------------------------------------


def wrong_probe(scan: Scan) -> Any:
    """A probe of the right power and size whose phase is noise."""
    phase = np.random.default_rng(0).random(scan.probe.shape)
    return (scan.probe * np.exp(2j * np.pi * phase)).astype(np.complex64)


def test_wrong_probe_is_refused(
    scans: Path,
    store: Callable[[Scan, str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scan = load_scan(scans / "a.h5")
    path = store(replace(scan, probe=wrong_probe(scan)), "wrong.h5")
    assert train(path, tmp_path / "m", *QUICK) == 2
    check_sentence(
        capsys.readouterr().err, "the probe must fit the data", "--probe-trainable", "'lines-1'"
    )
    assert not (tmp_path / "m").exists()
    assert train(path, tmp_path / "m", *QUICK, "--no-probe-check") == 0
    # The right one, given beside the file.
    np.savez(tmp_path / "probe.npz", mine=3 * scan.probe)
    good = ["--probe", f"{tmp_path / 'probe.npz'}:mine"]
    assert train(path, tmp_path / "n", *QUICK, *good) == 0
    assert read_json(tmp_path / "n/run.json")["statistics"]["probe_residual"] < 0.001
    # A poor fit is written, marked, and told by the exit code.
    capsys.readouterr()
    assert infer(tmp_path / "n", path, tmp_path / "r", tries=True) == 3
    check_sentence(capsys.readouterr().err, "poor fit", "residual", "--probe FILE:KEY")
    assert files(tmp_path / "r") == RESULT_FILES
    assert read_json(tmp_path / "r/run.json")["fit"]["verdict"] == "poor"
    assert load_reconstruction(tmp_path / "r").provenance["fit"]["verdict"] == "poor"
    assert "poor fit" in (tmp_path / "r/log.txt").read_text()
    assert infer(tmp_path / "n", path, tmp_path / "s", *good) == 0


def test_probe_is_refined(
    scans: Path,
    store: Callable[[Scan, str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The refined probe fits better, is in the bundle, and is used unless another one is given."""
    settings = SimulationConfig(N=32, patterns=120, photons=1e6, seed=1)
    scan = simulate(settings)
    off = simulate(settings.model_copy(update={"defocus": 0.2})).probe
    path = store(replace(scan, probe=off), "off.h5")
    options = [*UNROLLED, "--epochs", 5, "--n-groups", 20]
    refine = ["--probe-trainable", "--probe-learning-rate", 0.05]
    assert train(path, tmp_path / "fixed", *options) == 0
    assert train(path, tmp_path / "refined", *options, *refine) == 0
    fixed, refined = (
        read_json(tmp_path / name / "run.json")["metrics"]["residual"]
        for name in ("fixed", "refined")
    )
    assert refined < 0.6 * fixed

    def distance(probe: Any) -> float:
        """From the true probe, as a share of its power, up to a complex factor."""
        overlap = abs((scan.probe.conj() * probe).sum()) ** 2
        return float(1 - overlap / (abs(scan.probe) ** 2).sum() / (abs(probe) ** 2).sum())

    kept = load_bundle(tmp_path / "refined").probe
    assert np.array_equal(load_bundle(tmp_path / "fixed").probe, load_scan(path).probe)
    assert distance(kept) < 0.3 * distance(off)

    capsys.readouterr()
    assert infer(tmp_path / "refined", path, tmp_path / "r") == 0
    assert "using the probe refined in training" in capsys.readouterr().err
    used = load_reconstruction(tmp_path / "r").probe
    expected, _ = reconcile_probe(kept, mean_counts(scan))
    assert np.allclose(used, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    np.savez(tmp_path / "probe.npz", probe=off)
    given = ["--probe", tmp_path / "probe.npz"]
    assert infer(tmp_path / "refined", path, tmp_path / "s", *given) in (0, 3)
    assert "refined in training" not in capsys.readouterr().err
    ratio = load_reconstruction(tmp_path / "s").probe / off
    assert np.allclose(ratio[np.abs(off) > 1], ratio[0, 16, 16], rtol=1e-4)


# --- invariances ----------------------------------------------------------------------------------


def assert_same_object(a: Path, b: Path, within: float = 1e-3) -> None:
    one, other = load_reconstruction(a), load_reconstruction(b)
    seen = one.weight > 0.1 * one.weight.max()
    scale = np.abs(one.object[seen]).mean()
    assert np.abs(one.object - other.object)[seen].max() < within * scale


@pytest.mark.parametrize("options", [ROUGH, [*CNN, *ONE_EPOCH]], ids=["unrolled", "cnn"])
def test_flux_does_not_matter(
    options: list[str],
    scans: Path,
    store: Callable[[Scan, str], Path],
    tmp_path: Path,
) -> None:
    """A thousand times the counts, in floats, in training and in reconstruction."""
    model = tmp_path / "m"
    train(scans / "a.h5", model, *options)
    infer(model, scans / "b.h5", tmp_path / "r")
    for name in "ab":
        scan = load_scan(scans / f"{name}.h5")
        counts = scan.diffraction[:].astype(np.float32) * np.float32(1000.25)
        probe = scan.probe * np.float32(np.sqrt(1000.25))
        store(replace(scan, diffraction=counts, probe=probe), f"bright_{name}.h5")
    infer(model, tmp_path / "bright_b.h5", tmp_path / "bright")
    assert_same_object(tmp_path / "r", tmp_path / "bright")
    train(tmp_path / "bright_a.h5", tmp_path / "n", *options)
    infer(tmp_path / "n", scans / "b.h5", tmp_path / "s")
    assert_same_object(tmp_path / "r", tmp_path / "s")


@pytest.mark.parametrize(("network", "backend"), EACH_ONCE)
def test_scale_of_the_probe_does_not_matter(
    network: str, backend: str, scans: Path, tmp_path: Path
) -> None:
    probe = load_scan(scans / "a.h5").probe
    # Each is compared with the first, so that the two ends suffice for a framework that is slow.
    for number, factor in enumerate((1e-6, 1e6) if backend == "tensorflow" else (1e-6, 1, 1e6)):
        np.savez(tmp_path / f"{number}.npz", probe=(factor * probe).astype(np.complex64))
        given = ["--probe", tmp_path / f"{number}.npz"]
        model = tmp_path / f"m{number}"
        assert train(scans / "a.h5", model, *ROUGHLY[network], *given, backend=backend) == 0
        infer(model, scans / "b.h5", tmp_path / f"r{number}", *given, backend=backend)
        assert_same_object(tmp_path / "r0", tmp_path / f"r{number}")


# --- kinds of scans -------------------------------------------------------------------------------


def test_several_scans(scans: Path, tmp_path: Path) -> None:
    assert train([scans / "a.h5", scans / "b.h5"], tmp_path / "m", *ROUGH) == 0
    record = read_json(tmp_path / "m/run.json")
    assert record["statistics"]["patterns"] == 240
    assert record["scans"] == [str(scans / "a.h5"), str(scans / "b.h5")]
    assert infer(tmp_path / "m", scans / "b.h5", tmp_path / "r") == 0


def test_pattern_sizes(
    model: Path,
    scans: Path,
    simulated: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Training needs one size; a canvas network is bound to none, a patch network to its own."""
    large = simulated("large.h5", N=48, patterns=60)
    assert train([scans / "a.h5", large], tmp_path / "m", *QUICK) == 2
    check_sentence(capsys.readouterr().err, "[32, 48]")
    assert not (tmp_path / "m").exists()
    assert infer(model, large, tmp_path / "r") == 0
    assert train(scans / "a.h5", tmp_path / "cnn", *CNN, *ONE_EPOCH) == 0
    capsys.readouterr()
    assert infer(tmp_path / "cnn", large, tmp_path / "s") == 2
    check_sentence(capsys.readouterr().err, "N = 32", "N = 48")
    assert not (tmp_path / "s").exists()
    assert train(large, tmp_path / "odd", *CNN, *ONE_EPOCH) == 0
    assert infer(tmp_path / "odd", large, tmp_path / "t") in (0, 3)


@pytest.mark.parametrize("options", [ROUGH, [*CNN, *ONE_EPOCH]], ids=["unrolled", "cnn"])
def test_what_bad_pixels_hold_does_not_matter(
    options: list[str],
    simulated: Callable[..., Path],
    store: Callable[[Scan, str], Path],
    tmp_path: Path,
) -> None:
    """Dead pixels and a beam stop: hot or dark, training and reconstruction are the same."""
    dark = simulated("dark.h5", dead_pixels=0.02, beam_stop_px=2)
    scan = load_scan(dark)
    assert scan.mask is not None and not scan.mask.all()
    counts = scan.diffraction[:].copy()
    counts[:, ~scan.mask] = 40_000
    hot = store(replace(scan, diffraction=counts), "hot.h5")
    for path, name in ((dark, "dark"), (hot, "hot")):
        assert train(path, tmp_path / name, *options) == 0
        infer(tmp_path / name, path, tmp_path / f"{name}_result")
    assert same_weights(tmp_path / "dark", tmp_path / "hot")
    one, other = (load_reconstruction(tmp_path / f"{n}_result") for n in ("dark", "hot"))
    assert np.array_equal(one.object, other.object)


@pytest.mark.parametrize("options", [ROUGH, [*CNN, *ONE_EPOCH]], ids=["unrolled", "cnn"])
def test_two_probe_modes(
    options: list[str], simulated: Callable[..., Path], tmp_path: Path
) -> None:
    scan = simulated(modes=2)
    assert train(scan, tmp_path / "m", *options, "--probe-trainable") == 0
    assert load_bundle(tmp_path / "m").probe.shape == (2, 32, 32)
    code = infer(tmp_path / "m", scan, tmp_path / "r")
    assert code == 0 or options[0] == "--architecture"
    assert load_reconstruction(tmp_path / "r").probe.shape == (2, 32, 32)


def test_supervised_needs_a_known_object(
    scans: Path,
    store: Callable[[Scan, str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = store(replace(load_scan(scans / "a.h5"), object=None), "unknown.h5")
    assert train(path, tmp_path / "m", *ARCHITECTURES["cnn supervised"]) == 2
    check_sentence(capsys.readouterr().err, "known object", "'lines-1'")
    assert not (tmp_path / "m").exists()


# --- execution ------------------------------------------------------------------------------------


def test_workers_change_nothing(scans: Path, tmp_path: Path) -> None:
    """Patterns are read from the file by two processes."""
    assert train(scans / "a.h5", tmp_path / "m", *ROUGH) == 0
    assert train(scans / "a.h5", tmp_path / "n", *ROUGH, "--torch-num-workers", 2) == 0
    assert same_weights(tmp_path / "m", tmp_path / "n")


@pytest.mark.parametrize("name", ["unrolled", "cnn gridsize 2"])
def test_batches_of_inference_change_nothing(name: str, scans: Path, tmp_path: Path) -> None:
    assert train(scans / "a.h5", tmp_path / "m", *ARCHITECTURES[name], *ONE_EPOCH) == 0
    infer(tmp_path / "m", scans / "b.h5", tmp_path / "r")
    infer(tmp_path / "m", scans / "b.h5", tmp_path / "s", "--torch-inference-batch-mib", 16)
    assert_same_object(tmp_path / "r", tmp_path / "s")


def test_no_logger_writes_no_table(scans: Path, tmp_path: Path, elsewhere: Path) -> None:
    assert train(scans / "a.h5", tmp_path / "m", *ROUGH, "--torch-logger", "none") == 0
    assert files(tmp_path / "m") == MODEL_FILES - {"metrics.csv"}


def logged(kind: str, model: Path) -> dict[str, list[tuple[int, float]]]:
    """(epoch, value) of every metric that the logger has written into the folder of a model."""
    if kind == "tensorboard":
        reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        events = reader.EventAccumulator(str(model / "tensorboard"))
        events.Reload()
        names = events.Tags()["scalars"]
        return {k: [(e.step, e.value) for e in events.Scalars(k)] for k in names}
    # Not through mlflow, which keeps a database open after it was replaced.
    with closing(sqlite3.connect(model / "mlflow.db")) as database:
        parameters = dict(database.execute("select key, value from params"))
        assert parameters["model/architecture"] == "unrolled"
        rows = database.execute("select key, step, value from metrics order by step").fetchall()
        assert database.execute("select count(*) from runs").fetchone() == (1,)
    return {key: [(step, v) for k, step, v in rows if k == key] for key, _, _ in rows}


def pictured(kind: str, model: Path) -> list[int]:
    """Epochs whose phase the logger has kept as a picture, found as its program finds it."""
    if kind == "tensorboard":
        reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        events = reader.EventAccumulator(str(model / "tensorboard"))
        events.Reload()
        return [event.step for event in events.Images("object/phase")]
    with closing(sqlite3.connect(model / "mlflow.db")) as database:
        ((uri,),) = database.execute("select artifact_uri from runs").fetchall()
    pictures = Path(url2pathname(urlparse(uri).path)).glob("images/object~phase+step+*.png")
    return sorted(int(path.name.split("+")[2]) for path in pictures)


def train_logged(
    kind: str, scan: Path, model: Path, home: Path, *options: str, anew: bool = False
) -> None:
    """Train in a process of its own, with an empty home that must stay empty.

    anew : whether what is imported must see that home as well
    """
    home.mkdir(exist_ok=True)
    cache = home.with_name("font-cache")
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "MPLCONFIGDIR": str(cache)}
    arguments = ["train", scan, "-o", model, "--torch-logger", kind, *options, *UNTRIED]
    more = {"anew": True} if anew else {"besides": environment}
    code, _, err = finished(process(*arguments, env=environment, cwd=home, **more))
    assert code == 0, err
    assert all(line.startswith("INFO ") for line in err.splitlines()), err
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_optional_loggers_write_into_the_folder_of_the_run(
    kind: str, scans: Path, tmp_path: Path
) -> None:
    pytest.importorskip(kind)
    model, home = tmp_path / "m", tmp_path / "home"
    train_logged(kind, scans / "a.h5", model, home, *ROUGH, anew=True)
    first = logged(kind, model)
    assert {"train_loss", "val_loss", "explained", "learning_rate"} <= set(first)
    train_logged(kind, scans / "a.h5", model, home, "--resume", "--epochs", "2")
    resumed = logged(kind, model)
    assert resumed["val_loss"][:1] == first["val_loss"]
    assert [epoch for epoch, _ in resumed["val_loss"]] == [1, 2]
    assert pictured(kind, model) == [1, 2]

    train_logged(kind, scans / "a.h5", model, home, *ROUGH, "--seed", "1", "--force")
    replaced = logged(kind, model)
    assert [epoch for epoch, _ in replaced["val_loss"]] == [1]
    assert replaced["val_loss"] != first["val_loss"]
    assert pictured(kind, model) == [1]
    assert train(scans / "a.h5", model, *ROUGH, "--force", "--torch-logger", "none") == 0
    assert files(model) == MODEL_FILES - {"metrics.csv"}


def test_tensorflow_writes_for_tensorboard(scans: Path, tmp_path: Path) -> None:
    """In the way of the other backend, a scalar per metric and epoch."""
    pytest.importorskip("tensorboard")
    logger = ["--tf-logger", "tensorboard"]
    assert train(scans / "a.h5", tmp_path / "m", *ROUGH, *logger, backend="tensorflow") == 0
    (events,) = (tmp_path / "m/tensorboard").iterdir()
    found = logged("tensorboard", tmp_path / "m")
    assert {"train_loss", "val_loss", "learning_rate"} <= set(found)
    assert [epoch for epoch, _ in found["val_loss"]] == [1]
    assert files(tmp_path / "m") == (MODEL_FILES | {f"tensorboard/{events.name}"}) - {"metrics.csv"}


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_loggers_that_are_not_installed(
    package: str, model: Path, scans: Path, tmp_path: Path
) -> None:
    before = {p: p.read_bytes() for p in model.rglob("*") if p.is_file()}
    for folder in (tmp_path / "m", model):
        options = ("-o", folder, *ROUGH, "--torch-logger", package, "--force")
        anew = folder != model
        code, err = without({package}, "train", scans / "a.h5", *options, anew=anew)
        assert code == 2
        check_sentence(err, f"the package {package}", f"pip install 'ptychopinn[{package}]'")
        assert "INFO probe" not in err, "nothing was computed before"
    assert not (tmp_path / "m").exists()
    assert {p: p.read_bytes() for p in model.rglob("*") if p.is_file()} == before


def test_no_part_held_out(scans: Path, tmp_path: Path) -> None:
    """Then the training patterns themselves are watched."""
    for options in (ROUGH, [*CNN, *ONE_EPOCH, "--gridsize", "2"]):
        folder = tmp_path / options[1]
        assert train(scans / "a.h5", folder, *options, "--validation-fraction", 0) == 0
        assert set(read_json(folder / "run.json")["metrics"]) >= {"val_loss", "explained"}


def test_the_scaling_of_the_probe_is_said_and_logged(
    write_npz: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--no-probe-check", "--validation-fraction", "0", "--epochs", "1"]
    assert train(write_npz(), tmp_path / "model", *UNROLLED, *options) == 0
    assert "probe scaled from" in capfd.readouterr().err
    assert "probe scaled from" in (tmp_path / "model" / "log.txt").read_text()
