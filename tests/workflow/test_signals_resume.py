"""Interrupted runs: what Ctrl-C and SIGTERM leave behind, and that --resume loses nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from training_commands import (
    BACKENDS,
    CNN,
    SHALLOW,
    UNROLLED,
    UNTRIED,
    backend_flags,
    check_sentence,
    files,
    finished,
    infer,
    process,
    read_json,
    same_weights,
    train,
)

from ptychopinn.io.models import load_bundle

pytest.importorskip("torch")
pytest.importorskip("lightning")

# Everything with a state of its own: schedules, early stopping, the probe, accumulated gradients.
RUNS: dict[str, list[Any]] = {
    "unrolled, cosine": [*SHALLOW, "--scheduler", "cosine", "--n-groups", 12, "--epochs", 5],
    "unrolled, probe": [
        *SHALLOW, "--probe-trainable", "--batch-size", 2, "--n-groups", 12, "--epochs", 5,
    ],
    "cnn, plateau": [
        *CNN, "--gridsize", 2, "--scheduler", "plateau", "--plateau-patience", 0,
        "--early-stopping", 4, "--learning-rate", 0.01, "--epochs", 5,
    ],
}  # fmt: skip


def running(
    scan: Path, output: Path, *options: Any, backend: str = "pytorch", anew: bool = False
) -> subprocess.Popen[str]:
    # A group of its own: a signal to it does not reach the tests.
    flags = backend_flags(backend, *options)
    words = [*options, *flags, *UNTRIED]
    return process("train", scan, "-o", output, *words, start_new_session=True, anew=anew)


def wait_for(command: subprocess.Popen[str], path: Path) -> None:
    """Until the file exists; the command must be running then."""
    end = time.monotonic() + 300
    while not path.exists():
        assert command.poll() is None, finished(command)
        if time.monotonic() > end:
            command.kill()
            pytest.fail(f"no {path.name} after 300 s")
        time.sleep(0.01)


def table(folder: Path) -> str:
    return (folder / "metrics.csv").read_text()


@pytest.fixture(scope="module")
def short(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp("short") / "m"
    assert train(scans / "a.h5", folder, *UNROLLED, "--n-groups", 2, "--epochs", 2) == 0
    return folder


@pytest.mark.parametrize(
    ("name", "number", "code", "backend"),
    [
        ("unrolled, cosine", signal.SIGKILL, -9, "pytorch"),
        ("unrolled, probe", signal.SIGTERM, 143, "pytorch"),
        ("cnn, plateau", signal.SIGKILL, -9, "pytorch"),
        ("unrolled, probe", signal.SIGTERM, 143, "tensorflow"),
        ("cnn, plateau", signal.SIGKILL, -9, "tensorflow"),
    ],
)
def test_interrupted_run_is_resumed_to_the_bit(
    name: str, number: signal.Signals, code: int, backend: str, scans: Path, tmp_path: Path
) -> None:
    """The folder is enough: no option is repeated."""
    uninterrupted, folder = tmp_path / "whole", tmp_path / "m"
    assert train(scans / "a.h5", uninterrupted, *RUNS[name], backend=backend) == 0
    command = running(scans / "a.h5", folder, *RUNS[name], backend=backend)
    # The first epoch is over, the second one has begun.
    wait_for(command, folder / "checkpoints/last.ckpt")
    command.send_signal(number)
    assert finished(command)[0] == code
    assert train(scans / "a.h5", folder, "--resume", backend=backend) == 0
    assert same_weights(folder, uninterrupted)
    assert table(folder) == table(uninterrupted)
    keys = ("config", "metrics", "epochs", "stopped_by_signal")
    one, other = (read_json(f / "run.json") for f in (folder, uninterrupted))
    assert [one[k] for k in keys] == [other[k] for k in keys]
    epochs = re.findall(r" epoch (\d)/5: ", (folder / "log.txt").read_text())
    assert epochs == ["1", "2", "3", "4", "5"]


# Schedules are those of one module for both frameworks, each of which meets every network and every
# schedule once.
@pytest.mark.parametrize(
    ("options", "scheduler", "backend"),
    [
        (SHALLOW, "plateau", "pytorch"),
        ([*CNN, "--gridsize", "2"], "constant", "pytorch"),
        (SHALLOW, "plateau", "tensorflow"),
        ([*CNN, "--gridsize", "2"], "constant", "tensorflow"),
    ],
)
def test_run_is_prolonged_to_the_bit(
    options: list[str], scheduler: str, backend: str, scans: Path, tmp_path: Path
) -> None:
    """Two epochs and two more are four, for schedules that do not look ahead."""
    chosen = [*options, "--scheduler", scheduler]
    assert train(scans / "a.h5", tmp_path / "four", *chosen, "--epochs", 4, backend=backend) == 0
    assert train(scans / "a.h5", tmp_path / "two", *chosen, "--epochs", 2, backend=backend) == 0
    assert train(scans / "a.h5", tmp_path / "two", "--resume", "--epochs", 4, backend=backend) == 0
    assert same_weights(tmp_path / "two", tmp_path / "four")
    assert table(tmp_path / "two") == table(tmp_path / "four")


def test_resuming_a_finished_run_changes_nothing(short: Path, scans: Path) -> None:
    before = load_bundle(short), table(short)
    assert train(scans / "a.h5", short, "--resume") == 0
    after = load_bundle(short), table(short)
    assert after[1] == before[1]
    assert after[0].manifest.metrics == before[0].manifest.metrics
    assert all((after[0].weights[k] == v).all() for k, v in before[0].weights.items())


@pytest.mark.parametrize(
    ("number", "options", "backend"),
    [
        (signal.SIGINT, ["--torch-num-workers", 2], "pytorch"),
        (signal.SIGTERM, [], "pytorch"),
        (signal.SIGINT, [], "tensorflow"),
        (signal.SIGTERM, [], "tensorflow"),
    ],
)
def test_signal_saves_the_best_model(
    number: signal.Signals, options: list[Any], backend: str, scans: Path, tmp_path: Path
) -> None:
    """To the whole process group, as a terminal and batch systems send it."""
    folder = tmp_path / "m"
    chosen = [*SHALLOW, "--epochs", 1000, *options]
    command = running(scans / "a.h5", folder, *chosen, backend=backend)
    wait_for(command, folder / "checkpoints/last.ckpt")
    os.killpg(command.pid, number)
    code, out, err = finished(command, timeout=60)
    assert code == 128 + number, err
    assert out.startswith("stopped early, best model so far: ")
    assert "Traceback" not in err and "Error" not in err
    assert f"stopped by signal {int(number)}" in err
    record = read_json(folder / "run.json")
    assert record["stopped_by_signal"] == number and record["metrics"]["epoch"] >= 1
    assert load_bundle(folder).manifest.metrics == record["metrics"]
    assert infer(folder, scans / "b.h5", tmp_path / "r", backend=backend) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_signal_in_the_first_epoch(
    backend: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The present weights are saved; there is no epoch to go on from, and the user is told."""
    folder = tmp_path / "m"
    command = running(scans / "a.h5", folder, *SHALLOW, "--n-groups", 1000, backend=backend)
    wait_for(command, folder / "config.json")
    command.send_signal(signal.SIGINT)
    code, _, err = finished(command, timeout=60)
    assert code == 130, err
    assert "no epoch was finished" in err and "Traceback" not in err
    assert files(folder) == {"wts.h5.zip", "run.json", "log.txt", "config.json"}
    assert load_bundle(folder).manifest.metrics == {}
    assert train(scans / "a.h5", folder, "--resume", backend=backend) == 2
    check_sentence(capsys.readouterr().err, "finished epoch", "--force")


def test_ctrl_c_before_the_training(scans: Path, tmp_path: Path) -> None:
    """While packages are loaded: one sentence, nothing written."""
    command = running(scans / "a.h5", tmp_path / "m", *SHALLOW, anew=True)
    assert command.stderr is not None
    assert command.stderr.readline().startswith("INFO probe")
    command.send_signal(signal.SIGINT)
    code, out, err = finished(command)
    assert code == 130 and out == ""
    assert err.strip() == "ptychopinn: stopped by the user."
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--learning-rate", "0.1"], "--learning-rate 0.1 where it has 0.002"),
        (["--architecture", "cnn"], "no meaning for the architecture cnn"),
        (["--width", "4"], "--width 4 where it has 8"),
        (["--epochs", "1"], "has finished 2"),
        (["--force"], "both --resume and --force"),
    ],
)
def test_resuming_with_other_options(
    options: list[str],
    expected: str,
    short: Path,
    scans: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {p: p.read_bytes() for p in short.rglob("*") if p.is_file()}
    assert train(scans / "a.h5", short, "--resume", *options) == 2
    check_sentence(capsys.readouterr().err, expected)
    assert {p: p.read_bytes() for p in short.rglob("*") if p.is_file()} == before


def test_resuming_with_another_backend(
    short: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The optimisers keep different things; without a word the run goes on with its own."""
    folder = tmp_path / "m"
    chosen = [*SHALLOW, "--n-groups", 2, "--scheduler", "constant"]
    assert train(scans / "a.h5", folder, *chosen, "--epochs", 1, backend="tensorflow") == 0
    for run, own, other in (
        (short, "pytorch", "tensorflow"),
        (folder, "tensorflow", "pytorch"),
    ):
        before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
        capsys.readouterr()
        flags = ["--resume", "--backend", other]
        assert train(scans / "a.h5", run, *flags, backend="tensorflow") == 2
        check_sentence(capsys.readouterr().err, f"received {other} where it has {own}")
        assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    assert train(scans / "a.h5", folder, "--resume", "--epochs", 2, backend="tensorflow") == 0
    assert load_bundle(folder).manifest.backend == "tensorflow"


def test_resuming_with_another_scan(
    short: Path, scans: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for chosen in (scans / "b.h5", [scans / "a.h5", scans / "b.h5"]):
        assert train(chosen, short, "--resume") == 2
        check_sentence(capsys.readouterr().err, "its own scans")


def test_resuming_what_is_no_run(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(scans / "a.h5", tmp_path / "none", "--resume") == 2
    check_sentence(capsys.readouterr().err, "earlier run", "config.json")
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text("{}")
    assert train(scans / "a.h5", tmp_path / "m", "--resume") == 2
    check_sentence(capsys.readouterr().err, "finished epoch")
    (tmp_path / "m/checkpoints").mkdir()
    (tmp_path / "m/checkpoints/last.ckpt").write_bytes(b"PK")
    assert train(scans / "a.h5", tmp_path / "m", "--resume") == 2
    check_sentence(capsys.readouterr().err, "last.ckpt")
