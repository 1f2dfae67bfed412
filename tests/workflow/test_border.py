"""Whatever happens, a command ends with one sentence and exit code 2."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from training_commands import check_sentence, finished, process

import ptychopinn as pp
import warm_processes
from ptychopinn.cli import border, run

LINUX = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scan.h5 and its result."""
    folder = tmp_path_factory.mktemp("border")
    scan = pp.simulate(N=32, patterns=36, photons=1e6, seed=3, step_px=3.0)
    pp.save_scan(scan, folder / "scan.h5")
    result = pp.refine(scan, None, pp.RefineConfig(passes=2), no_mend="all")
    result.save(folder / "reconstruction.h5")
    return folder


@LINUX
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["inspect", "scan.h5"],
        ["inspect", "scan.h5", "--json"],
        ["inspect", "reconstruction.h5"],
        ["evaluate", "reconstruction.h5", "--truth", "scan.h5", "--force"],
        ["convert", "scan.h5", "scan.npz", "--force"],
        ["simulate", "new.h5", "--patterns", "9", "--N", "32", "--force"],
    ],
)
def test_standard_output_is_full(arguments: list[str], place: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = warm_processes.run(
            [sys.executable, "-m", "ptychopinn", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=place, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    check_sentence(done.stderr, "standard output", os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_letters_that_the_output_does_not_have(encoding: str, place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Ψ-Проба-試料"
    folder.mkdir()
    shutil.copy(place / "scan.h5", folder / "σ.h5")
    shutil.copy(place / "reconstruction.h5", folder)
    environment = {"PYTHONIOENCODING": encoding}
    for arguments in (
        ["convert", folder / "σ.h5", folder / "ω.npz"],
        ["inspect", folder / "σ.h5"],
        ["evaluate", folder, "--truth", folder / "σ.h5"],
        ["refine", folder / "σ.h5", "-o", folder / "ρ", "--passes", "1"],
    ):
        code, out, err = finished(process(*arguments, env=environment, encoding="latin-1"))
        assert code in (0, 3), err
        assert "Traceback" not in err
        assert out
    code, _, err = finished(
        process("inspect", folder / "не.h5", env=environment, encoding="latin-1")
    )
    assert code == 2
    check_sentence(err, "does not exist")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux only")
def test_names_that_are_no_text(place: Path) -> None:
    name = os.fsdecode(b"n\xff\xfe")
    shutil.copy(place / "scan.h5", place / f"{name}.h5")
    for arguments in (
        ["inspect", f"{name}.h5"],
        ["convert", f"{name}.h5", f"{name}.npz"],
        ["inspect", f"{name}.npz"],
        ["convert", f"{name}.npz", f"{name}.cxi"],
        ["reconstruct", f"{name}.npz", "-o", name],
        ["refine", name, "-o", f"{name}-refined", "--passes", "1"],
        ["evaluate", name, "--data", f"{name}.h5"],
        ["evaluate", name, "--truth", f"{name}.h5", "-o", f"{name}-evaluated"],
        ["simulate", f"{name}-new.h5", "--patterns", "9", "--N", "32", "--preview", f"{name}.png"],
    ):
        code, _, err = finished(process(*arguments, cwd=place))
        assert code in (0, 3), err
        assert "Traceback" not in err
    code, _, err = finished(process("inspect", f"{name}.gone", cwd=place))
    assert code == 2
    check_sentence(err, "does not exist")


LONG = "x" * 300


@pytest.mark.parametrize("name", [LONG, "circle", "folder.h5", "scan.h5/x"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "{}"],
        ["inspect", "{}/x.h5"],
        ["reconstruct", "{}", "-o", "out"],
        ["reconstruct", "scan.h5", "-o", "{}/x/y"],
        ["reconstruct", "scan.h5", "-o", "out", "--probe", "{}"],
        ["infer", "{}", "scan.h5", "-o", "out"],
        ["refine", "{}", "-o", "out"],
        ["refine", "reconstruction.h5", "--scan", "{}", "-o", "out"],
        ["evaluate", "{}", "--truth", "scan.h5"],
        ["evaluate", "reconstruction.h5", "--truth", "{}"],
        ["train", "scan.h5", "-o", "out", "--config", "{}"],
        ["train", "scan.h5", "-o", "out", "--from", "{}"],
        ["convert", "{}", "out.cxi"],
        ["compare", "scan.h5", "-o", "out", "--with", "{}"],
        ["simulate", "{}"],
        ["simulate", "out.h5", "--config", "{}"],
        ["simulate", "out.h5", "--preview", "{}.png"],
        ["simulate", "out.h5", "--probe", "file", "--probe-file", "{}"],
    ],
)
def test_impossible_names(
    arguments: list[str],
    name: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in ("scan.h5", "reconstruction.h5"):
        shutil.copy(place / file, tmp_path)
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "circle").symlink_to("ring")
    (tmp_path / "ring").symlink_to("circle")
    if arguments[-1] == "{}.png":
        (tmp_path / "folder.h5.png").mkdir()
    if (arguments[-1], name) in (("{}/x/y", "folder.h5"), ("{}.png", "circle")):
        pytest.skip("this is possible")
    before = {path.name for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    assert run([argument.format(name) for argument in arguments]) == 2
    check_sentence(capsys.readouterr().err)
    assert {path.name for path in tmp_path.iterdir()} == before


def test_what_nobody_foresaw(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence that asks for a report, and where it comes from on request."""

    @click.command()
    def broken() -> None:
        raise ZeroDivisionError("of its own")

    assert run([], broken) == 2
    check_sentence(capsys.readouterr().err, "ZeroDivisionError", "of its own", "report it",
                   f"{border.DEBUG}=1")  # fmt: skip
    monkeypatch.setenv(border.DEBUG, "1")
    assert run([], broken) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "in broken" in shown


def test_memory_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def greedy() -> None:
        np.ones((1 << 50, 1 << 10), np.uint8)

    assert run([], greedy) == 2
    check_sentence(capsys.readouterr().err, "must fit into memory")


def test_what_an_error_held_does_not_crash_the_end(tmp_path: Path) -> None:
    """A virtual dataset of HDF5 that outlives the library does; errors hold what they met."""
    import h5py

    with h5py.File(tmp_path / "scan.cxi", "w") as file:
        layout = h5py.VirtualLayout((4, 32, 32), "u2")
        layout[:] = h5py.VirtualSource("gone.h5", "data", (4, 32, 32))
        file["cxi_version"] = 160
        file.create_virtual_dataset("entry_1/data_1/data", layout)
        file["entry_1/data_1/translation"] = np.zeros((4, 3))
        file["entry_1/instrument_1/name"] = "any"
    for command in (["inspect"], ["reconstruct", "-o", "run"]):
        code, _, err = finished(process(command[0], "scan.cxi", *command[1:], cwd=tmp_path))
        assert code == 2
        check_sentence(err, "gone.h5")


def test_errors_that_were_raised_within_one_another() -> None:
    first, second = ValueError("one"), ValueError("other")
    first.__context__, second.__context__ = second, first
    border.let_go(first)


def test_a_working_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run(["doctor"]) == 2
    assert "must run in a folder that exists" in capsys.readouterr().err
