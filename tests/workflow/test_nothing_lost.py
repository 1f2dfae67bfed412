"""Commands that are refused, fail, are killed or meet each other lose nothing of what was there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from training_commands import (
    BACKENDS,
    SHALLOW,
    UNROLLED,
    UNTRIED,
    backend_flags,
    check_sentence,
    files,
    finished,
    infer,
    process,
    process_on_a_full_disk,
    read_json,
    same_weights,
    train,
)

from ptychopinn.cli import run
from ptychopinn.io import load_scan
from ptychopinn.io.models import load_bundle
from ptychopinn.training.checkpoint import read_checkpoint
from ptychopinn.training.loggers import TensorBoardLog

pytest.importorskip("torch")
pytest.importorskip("lightning")

QUICK = [*UNROLLED, "--n-groups", "2", "--epochs", "1"]
SIMULATE = ["--patterns", "36", "--N", "32", "--seed", "3"]


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


@pytest.fixture(scope="module")
def model(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    assert train(scans / "a.h5", folder, *QUICK) == 0
    return folder


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copied"
    shutil.copytree(model, folder)
    return folder


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 60 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


# --- a full disk ----------------------------------------------------------------------------------


def test_simulating_on_a_full_disk(full_disk: Path) -> None:
    code, out, err = finished(process("simulate", full_disk / "y.h5", *SIMULATE))
    assert code == 2 and out == ""
    check_sentence(err, "No space left", "y.h5")
    assert files(full_disk) == set()


def test_replacing_a_scan_on_a_full_disk(full_disk: Path) -> None:
    few = ["--patterns", "4", "--N", "32"]
    assert run(["simulate", str(full_disk / "y.h5"), *few]) == 0
    before = content(full_disk)
    for extra in ([], ["--preview", full_disk / "y.png"]):
        chosen = SIMULATE if not extra else few
        command = process("simulate", full_disk / "y.h5", *chosen, *extra, "--force")
        code, out, err = finished(command)
        assert code == 2 and out == ""
        check_sentence(err, "No space left")
        assert content(full_disk) == before


@pytest.mark.parametrize("size", [0, 2000, 50_000])
def test_results_on_a_full_disk(size: int, model: Path, scans: Path, tmp_path: Path) -> None:
    """Arrays, pictures, tables and the log, whatever comes first."""
    result = tmp_path / "r"
    assert infer(model, scans / "b.h5", result) == 0
    truth = ["evaluate", result, "--truth", scans / "b.h5"]
    assert run([str(part) for part in truth]) == 0
    before = content(result)
    flags = backend_flags("pytorch")
    for arguments in (["infer", model, scans / "a.h5", "-o", result, *UNTRIED, *flags], truth):
        command = process_on_a_full_disk(size, *arguments, "--force")
        code, out, err = finished(command)
        assert code == 2 and out == ""
        assert "Traceback" not in err and "Logging error" not in err
        # Without room for a byte, there is none for temporary files either.
        assert "File too large" in err or (size == 0 and "No usable temporary directory" in err)
        assert content(result) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_on_a_full_disk(backend: str, copied: Path, scans: Path, tmp_path: Path) -> None:
    before = content(copied)
    for size, folder in ((500, copied), (20_000, copied), (20_000, tmp_path / "new")):
        options = ["-o", folder, *SHALLOW, "--n-groups", "2", "--epochs", "1", "--seed", "9"]
        options += [*UNTRIED, *backend_flags(backend), *(["--force"] if folder == copied else [])]
        command = process_on_a_full_disk(size, "train", scans / "a.h5", *options)
        code, out, err = finished(command)
        assert code == 2 and out == "", err
        assert "Traceback" not in err and "Logging error" not in err and "File too large" in err
        assert content(copied) == before
    assert not (tmp_path / "new/wts.h5.zip").exists()


def test_a_recipe_and_a_notebook_on_a_full_disk(tmp_path: Path) -> None:
    assert run(["init", "-o", str(tmp_path)]) == 0
    before = content(tmp_path)
    command = process_on_a_full_disk(700, "init", "-o", tmp_path, "--force")
    code, out, err = finished(command)
    assert code == 2 and out == ""
    check_sentence(err, "recipe.yaml", "File too large")
    assert content(tmp_path) == before


@pytest.mark.parametrize("failing", [1, 2])
def test_a_log_that_cannot_be_written_costs_no_epoch(
    failing: int,
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tensorboard")
    options = [*UNROLLED, "--n-groups", "4", "--epochs", "3", "--torch-logger", "tensorboard"]
    assert train(scans / "a.h5", tmp_path / "whole", *options) == 0
    write = TensorBoardLog._write

    def full(self: TensorBoardLog, metrics: Any, epoch: int) -> None:
        if epoch == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, metrics, epoch)

    monkeypatch.setattr(TensorBoardLog, "_write", full)
    capsys.readouterr()
    model = tmp_path / "m"
    assert train(scans / "a.h5", model, *options) == 2
    check_sentence(capsys.readouterr().err, "No space left", "tensorboard")
    monkeypatch.setattr(TensorBoardLog, "_write", write)
    assert read_checkpoint(model / "checkpoints/last.ckpt").state["epoch"] == failing
    assert train(scans / "a.h5", model, "--resume") == 0
    assert same_weights(model, tmp_path / "whole")


def test_a_picture_that_is_shown_costs_no_result(
    full_disk: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(OSError), (full_disk / "other").open("wb") as file:
        while file.write(bytes(512)):
            file.flush()
    words = ["refine", str(scans / "a.h5"), "-o", str(tmp_path / "r"), "--passes", "2"]
    shown = ["--live", str(full_disk / "now.png")]
    assert run([*words, *shown, *UNTRIED, "--backend", "numpy", "--quiet"]) in (0, 3)
    said = [line for line in capsys.readouterr().err.splitlines() if "shown no more" in line]
    assert len(said) == 1 and "No space left" in said[0]
    assert (tmp_path / "r/reconstruction.h5").exists()
    assert files(full_disk) == {"other"}


@pytest.mark.parametrize(
    ("name", "more", "word"),
    [
        ("a.h5", ["--force"], "end in"),
        ("log", ["--force"], "end in"),
        ("old.png", [], "earlier results"),
        ("folder.png", ["--force"], "folder"),
        (f"{'x' * 300}.png", [], "too long"),
        ("old.png/x.png", ["--force"], "folder"),
    ],
)
def test_a_picture_that_is_shown_takes_no_other_file(
    name: str,
    more: list[str],
    word: str,
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(scans / "a.h5", tmp_path)
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "folder.png").mkdir()
    before = content(tmp_path)
    for command in ("refine", "reconstruct"):
        words = [command, tmp_path / "a.h5", "-o", tmp_path / "r", "--live", tmp_path / name, *more]
        assert run([str(part) for part in words]) == 2
        check_sentence(capsys.readouterr().err, word)
        assert content(tmp_path) == before


# --- refused, failed, killed ----------------------------------------------------------------------


def test_refused_training_keeps_the_earlier_run(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused late: only when the subsets are drawn it shows that there are too few patterns."""
    assert run(["simulate", str(tmp_path / "few.h5"), *SIMULATE]) == 0
    before = content(copied)
    capsys.readouterr()
    assert train(tmp_path / "few.h5", copied, "--force") == 2
    check_sentence(capsys.readouterr().err)
    assert content(copied) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_replacement_keeps_the_earlier_run_and_is_resumed(
    backend: str, copied: Path, scans: Path, tmp_path: Path
) -> None:
    options = [*SHALLOW, *UNTRIED, "--n-groups", 12, "--epochs", 3, "--seed", 8]
    assert train(scans / "a.h5", tmp_path / "whole", *options, backend=backend) == 0
    before = content(copied)
    flags = [*options, *backend_flags(backend), "--force"]
    command = process("train", scans / "a.h5", "-o", copied, *flags)
    wait_for(command, copied / ".ptychopinn-unfinished/checkpoints/last.ckpt")
    # Nobody else comes in between.
    assert train(scans / "a.h5", copied, "--resume") == 2
    command.kill()
    finished(command)
    after = content(copied)
    assert {name: after[name] for name in before} == before
    assert train(scans / "a.h5", copied, "--resume", backend=backend) == 0
    assert same_weights(copied, tmp_path / "whole")
    assert files(copied) == files(tmp_path / "whole")
    assert read_json(copied / "config.json")["training"]["seed"] == 8


def wait_for(command: subprocess.Popen[str], path: Path) -> None:
    """Until the file exists; the command must be running then."""
    end = time.monotonic() + 300
    while not path.exists():
        assert command.poll() is None, finished(command)
        if time.monotonic() > end:
            command.kill()
            pytest.fail(f"no {path.name} after 300 s")
        time.sleep(0.01)


def test_interrupted_replacement_takes_the_place(copied: Path, scans: Path) -> None:
    """Ctrl-C saves what there is, here too."""
    flags = [*UNROLLED, "--epochs", 1000, "--seed", 8, *backend_flags("pytorch"), "--force"]
    flags += UNTRIED
    command = process("train", scans / "a.h5", "-o", copied, *flags, start_new_session=True)
    wait_for(command, copied / ".ptychopinn-unfinished/checkpoints/last.ckpt")
    command.send_signal(signal.SIGINT)
    code, out, err = finished(command)
    assert code == 130 and out.startswith("stopped early"), err
    assert load_bundle(copied).manifest.seed == 8
    assert not (copied / ".ptychopinn-unfinished").exists()


def test_what_a_killed_command_left_is_swept(scans: Path, tmp_path: Path) -> None:
    result = tmp_path / "r"
    stale = result / ".ptychopinn-new-0123456789ab"
    stale.mkdir(parents=True)
    (stale / "reconstruction.h5").write_text("half")
    (result / ".ptychopinn-new-0123456789ab.h5").write_text("half")
    (result / ".ptychopinn-lock").write_text("")
    assert run(["reconstruct", str(scans / "a.h5"), "-o", str(result), "--quiet"]) in (0, 3)
    assert not [name for name in os.listdir(result) if name.startswith(".")]  # noqa: PTH208


# --- two at once ----------------------------------------------------------------------------------


def test_of_two_trainings_in_one_folder_one_is_refused(scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    flags = [*QUICK, *UNTRIED, *backend_flags("pytorch")]
    commands = [process("train", scans / f"{name}.h5", "-o", folder, *flags) for name in "ab"]
    done = [finished(command) for command in commands]
    codes = [code for code, _, _ in done]
    assert sorted(codes) == [0, 2], done
    check_sentence(done[codes.index(2)][2].splitlines()[-1] + "\n")
    scan = read_json(folder / "run.json")["scans"][0]
    assert scan.endswith(f"{'ab'[codes.index(0)]}.h5")
    assert load_bundle(folder).manifest.statistics["scans"] == [load_scan(scan).name]


@pytest.mark.parametrize("force", [False, True])
def test_a_command_waits_for_no_other(
    force: bool, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While one trains, every command that writes into the folder is refused."""
    folder = tmp_path / "m"
    flags = [*UNROLLED, *UNTRIED, "--epochs", 1000, *backend_flags("pytorch")]
    command = process("train", scans / "a.h5", "-o", folder, *flags)
    try:
        wait_for(command, folder / "checkpoints/last.ckpt")
        more: list[Any] = ["--force"] if force else []
        for arguments in (
            ["train", scans / "a.h5", *QUICK],
            ["reconstruct", scans / "a.h5"],
            ["compare", scans / "a.h5"],
            ["pretrain", "--scans", "1"],
        ):
            given = [*arguments, "-o", folder, *more]
            capsys.readouterr()
            assert run([str(part) for part in given]) == 2
            check_sentence(capsys.readouterr().err)
    finally:
        command.kill()
        finished(command)


# --- no name --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "{a}", "-o", ""],
        ["infer", "pretrained", "{a}", "-o", ""],
        ["reconstruct", "{a}", "-o", " "],
        ["refine", "{a}", "--output", ""],
        ["compare", "{a}", "--output="],
        ["pretrain", "-o", ""],
        ["evaluate", "{a}", "--truth", "{a}", "-o", ""],
        ["convert", "{a}", ""],
        ["simulate", ""],
        ["simulate", "x.h5", "--preview", ""],
    ],
)
def test_an_empty_name_is_not_the_current_folder(
    arguments: list[str], scans: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([part.format(a=scans / "a.h5") for part in arguments]) == 2
    check_sentence(capsys.readouterr().err, "empty", "name")
