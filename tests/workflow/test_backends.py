"""Both backends through the real commands: any bundle on any backend, and never both at once."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_commands import (
    BACKENDS,
    CNN,
    SHALLOW,
    UNROLLED,
    UNTRIED,
    check_sentence,
    files,
    infer,
    read_json,
    train,
)

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.config import Config, validated
from ptychopinn.data.normalization import prepare
from ptychopinn.errors import InputError
from ptychopinn.io.models import load_bundle
from ptychopinn.io.reconstructions import load_reconstruction
from ptychopinn.ops.selector import KINDS as KINDS_OF
from ptychopinn.ops.selector import get_ops
from ptychopinn.solvers.network import network_solver

pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("tensorflow")

ROOT = Path(__file__).parents[2]
CORE = ROOT / ".venv-core" / "bin" / "python"
KINDS: dict[str, list[str]] = {
    "unrolled": [*UNROLLED, "--n-groups", "2"],
    "unrolled supervised": [*SHALLOW, "--n-groups", "2", "--mode", "supervised"],
    # A bundle does not know how its network was trained.
    "cnn 1 pinn": [*CNN, "--gridsize", "1"],
    "cnn 2 supervised": [*CNN, "--gridsize", "2", "--mode", "supervised"],
}


OPERATOR = ["--fno-width", "4", "--fno-modes", "3"]
BLOCKS = [*OPERATOR, "--fno-blocks", "2"]
NETWORKS: dict[str, list[str]] = {
    "fno": [*BLOCKS, "--head", "cos_sin"],
    "fno_vanilla": [*BLOCKS, "--gridsize", "2", "--fno-input-transform", "sqrt"],
    "ffno": [*BLOCKS, "--head", "real_imaginary", "--mode", "supervised"],
    "neuralop_uno": [*OPERATOR, "--gridsize", "3"],
    "hybrid_resnet": [*OPERATOR, "--fno-blocks", "3", "--resnet-blocks", "1"],
    "vit": ["--vit-width", "8", "--vit-depth", "1", "--vit-heads", "2"],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_patch_network_is_trained_by_the_command_and_used_by_all(
    name: str, scans: Path, tmp_path: Path
) -> None:
    flags = [*NETWORKS[name], "--epochs", 1, "--n-groups", 8, "--architecture", name]
    by = BACKENDS[name == "fno"]
    assert train(scans / "a.h5", tmp_path / "m", *flags, "--no-probe-check", backend=by) == 0
    bundle = load_bundle(tmp_path / "m")
    model = validated(Config, bundle.manifest.config).model
    assert (model.architecture, bundle.manifest.backend) == (name, by)
    scan = prepare(pp.load_scan(scans / "b.h5"))
    found = []
    for backend in ("numpy", *BACKENDS):
        xp = get_ops(backend, KINDS_OF[backend].execution())  # type: ignore[index,arg-type]
        solver = network_solver(xp, model, bundle.weights, 64 << 20)
        found.append(list(solver.run(scan))[-1].result().canvas)
    one, *others = found
    seen = one.weight > 0.05 * one.weight.max()
    for other in others:
        assert np.abs(one.object - other.object)[seen].max() < 1e-4 * np.abs(one.object).max()


@pytest.mark.parametrize("name", ["hybrid", "hybrid_resnet_convnext_bottleneck"])
def test_a_network_that_is_not_built_is_refused_with_the_nearest(
    name: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(scans / "a.h5", tmp_path / "m", "--architecture", name) == 2
    check_sentence(capsys.readouterr().err, f"received '{name}'", "nearest is 'hybrid_resnet'")
    assert not (tmp_path / "m").exists()


@pytest.fixture(scope="module")
def trained(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Folder of a model of this kind, trained for an epoch by this backend, once."""
    folder = tmp_path_factory.mktemp("trained")

    @functools.cache
    def make(kind: str, backend: str) -> Path:
        output = folder / f"{kind} {backend}"
        assert train(scans / "a.h5", output, *KINDS[kind], "--epochs", 1, backend=backend) == 0
        return output

    return make


@pytest.mark.parametrize("by", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_gives_the_same_on_both(
    kind: str, by: str, trained: Callable[[str, str], Path], scans: Path, tmp_path: Path
) -> None:
    model = trained(kind, by)
    assert load_bundle(model).manifest.backend == by
    record = read_json(model / "run.json")
    assert record["backend"] == by
    names = {"pytorch": {"torch", "lightning"}, "tensorflow": {"tensorflow", "keras"}}
    assert set(record["versions"]) >= {"ptychopinn", "numpy"} | names[by]
    results, truth = [], pp.load_scan(scans / "b.h5")
    for backend in BACKENDS:
        folder = tmp_path / backend
        code = infer(model, scans / "b.h5", folder, backend=backend)
        record = read_json(folder / "run.json")
        assert record["backend"] == backend
        assert code == {"good": 0, "doubtful": 0, "poor": 3}[record["fit"]["verdict"]]
        result = load_reconstruction(folder)
        results.append((result, record["fit"], pp.evaluate(result, truth=truth).metrics))
    (one, fit, score), (other, other_fit, other_score) = results
    assert other_fit["residual"] == pytest.approx(fit["residual"], rel=1e-3)
    seen = one.weight > 0.05 * one.weight.max()
    scale = np.abs(one.object[seen]).max()
    assert np.abs(one.object - other.object)[seen].max() < 1e-4 * scale
    for name, value in score.items():
        if isinstance(value, float) and np.isfinite(value):
            assert other_score[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_both_write_the_same_files(trained: Callable[[str, str], Path]) -> None:
    one, other = (trained("unrolled", backend) for backend in BACKENDS)
    assert files(one) == files(other)
    a, b = (load_bundle(folder) for folder in (one, other))
    assert {k: v.shape for k, v in a.weights.items()} == {k: v.shape for k, v in b.weights.items()}
    first, second = ((f / "metrics.csv").read_text().splitlines()[0] for f in (one, other))
    assert first == second


# --- one and not the other ------------------------------------------------------------------------

WATCHED = """
import sys
from ptychopinn.cli import run
for arguments in {commands!r}:
    assert run(arguments) in (0, 3), arguments
foreign = {foreign!r}
print(sorted({{name.split(".")[0] for name in sys.modules}} & set(foreign)))
"""


@pytest.mark.parametrize(
    ("backend", "foreign"),
    [("pytorch", ("tensorflow", "keras")), ("tensorflow", ("torch", "lightning"))],
)
def test_a_backend_never_imports_the_other(
    backend: str, foreign: tuple[str, ...], scans: Path, tmp_path: Path
) -> None:
    """Not even when a setting of Keras names the other, and nothing is written into the home."""
    out = ["--backend", backend, "--quiet"]
    model, result = str(tmp_path / "m"), str(tmp_path / "r")
    small = [*UNROLLED, "--iterations", "2", "--n-groups", "2", "--epochs", "1"]
    commands = [
        ["train", str(scans / "a.h5"), "-o", model, *small, *out, *UNTRIED],
        ["infer", model, str(scans / "b.h5"), "-o", result, *out, *UNTRIED],
    ]
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "KERAS_BACKEND": "torch"}
    environment.pop("KERAS_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED.format(commands=commands, foreign=foreign)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    assert not (home / ".keras").exists()


@pytest.mark.parametrize(
    ("backend", "flags", "named"),
    [
        ("tensorflow", ["--torch-threads", "1"], "--torch-threads"),
        ("tensorflow", ["--no-torch-deterministic"], "--torch-deterministic"),
        ("pytorch", ["--tf-logger", "none"], "--tf-logger"),
        (None, ["--tf-threads", "1"], "--tf-threads"),
    ],
)
def test_options_of_the_other_backend_are_refused(
    backend: str | None,
    flags: list[str],
    named: str,
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["train", str(scans / "a.h5"), "-o", str(tmp_path / "m"), *flags]
    chosen = [] if backend is None else ["--backend", backend]
    assert run([*arguments, *chosen]) == 2
    other = "pytorch" if named.startswith("--torch") else "tensorflow"
    check_sentence(capsys.readouterr().err, named, f"add --backend {other}")
    assert not (tmp_path / "m").exists()


def test_execution_options_name_their_backend(scans: Path) -> None:
    """In Python: options of one with the name of the other are an error, alone they choose it."""
    scan = pp.load_scan(scans / "a.h5")
    config = pp.Config(
        model={"iterations": 1, "width": 4, "levels": 1},
        data={"n_groups": 1, "subscan_patterns": 20},
        training={"epochs": 1},
    )
    model = pp.train(scan, config, execution=pp.TFExecution(logger="none"), no_mend="all")
    assert model.bundle.manifest.backend == "tensorflow"
    assert pp.train(scan, config, no_mend="all").bundle.manifest.backend == "pytorch"
    for verb in (pp.train, pp.reconstruct):
        given: tuple[Any, ...] = (scan, config) if verb is pp.train else (scan, model)
        with pytest.raises(InputError, match="those of the pytorch backend, received a TFExec"):
            verb(*given, backend="pytorch", execution=pp.TFExecution())  # type: ignore[operator]


def test_threads_of_tensorflow_cannot_be_changed_later(
    trained: Callable[[str, str], Path], scans: Path
) -> None:
    import tensorflow as tf

    tf.zeros(1)
    scan = pp.load_scan(scans / "a.h5")
    with pytest.raises(InputError, match="before it computes anything, received 7"):
        pp.reconstruct(scan, trained("unrolled", "pytorch"), execution=pp.TFExecution(threads=7))


# --- no framework at all --------------------------------------------------------------------------


@pytest.mark.skipif(not CORE.exists(), reason="there is no environment without a framework")
def test_an_installation_without_a_framework(
    trained: Callable[[str, str], Path], scans: Path, tmp_path: Path
) -> None:
    """Everything but training works, and finds the same object."""

    def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
        clean = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        return subprocess.run(
            [str(CORE), "-m", "ptychopinn", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=clean,
        )

    packages = subprocess.run([str(CORE), "-m", "pip", "list"], capture_output=True, text=True)
    assert not {"torch", "tensorflow", "keras", "lightning"} & set(packages.stdout.lower().split())
    scan = tmp_path / "scan.h5"
    assert command("simulate", scan, "--N", 32, "--patterns", 64).returncode == 0
    model, result = trained("unrolled", "tensorflow"), tmp_path / "result"
    assert infer(model, scans / "b.h5", result) in (0, 3)
    for thing in (scan, model / "wts.h5.zip", result / "reconstruction.h5"):
        assert command("inspect", thing).returncode == 0
    assert command("evaluate", result, "--truth", scans / "b.h5").returncode == 0
    doctor = command("doctor", "--json")
    assert doctor.returncode == 0
    assert json.loads(doctor.stdout)["backends"] == ["numpy"]
    found = {f["name"]: f for f in json.loads(doctor.stdout)["findings"]}
    for package, extra in (("torch", "pytorch"), ("tensorflow", "tensorflow")):
        assert found[package]["status"] == "missing"
        assert found[package]["remedy"] == f"pip install 'ptychopinn[{extra}]'"
    refused = command("train", scan, "-o", tmp_path / "none")
    assert refused.returncode == 2
    check_sentence(refused.stderr, "'ptychopinn[pytorch]'", "'ptychopinn[tensorflow]'")
    assert not (tmp_path / "none").exists()
    for number, verb in enumerate(
        (["reconstruct", scan], ["infer", model, scan], ["refine", tmp_path / "0", "--passes", 3])
    ):
        done = command(*verb, "-o", tmp_path / str(number))
        assert done.returncode in (0, 3), done.stderr
        assert json.loads((tmp_path / str(number) / "run.json").read_text())["backend"] == "numpy"
    assert (tmp_path / "0" / "reconstructed_phase.png").exists()
    assert run(["reconstruct", str(scan), "-o", str(tmp_path / "theirs")]) in (0, 3)
    ours, theirs = (load_reconstruction(tmp_path / name).object for name in ("0", "theirs"))
    assert np.abs(ours - theirs).max() < 1e-3
