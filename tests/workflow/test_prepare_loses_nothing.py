"""``prepare`` on a full disk, killed, interrupted, refused, and twice at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from training_commands import check_sentence, finished, process, process_on_a_full_disk

import warm_processes
from ptychopinn.cli import run
from ptychopinn.io import load_scan
from raw_files import ENERGY, Raw


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return Raw(tmp_path_factory.mktemp("raw"))


def flags(raw: Raw) -> list[str]:
    return [
        "--energy-ev", str(ENERGY), "--distance-m", "1", "--detector-pixel-m",
        repr(raw.detector_pixel), "--probe", str(raw.native),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def long_scan(raw: Raw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw data that take a while."""
    path = tmp_path_factory.mktemp("long") / "long.h5"
    times = 400
    with h5py.File(path, "w") as file:
        file.create_dataset("frames", data=np.tile(raw.counts, (times, 1, 1)), chunks=(1, 32, 32))
        file["motors/y_um"], file["motors/x_um"] = (np.tile(v, times) * 1e6 for v in (raw.y, raw.x))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_preparing_on_a_full_disk(raw: Raw, tmp_path: Path) -> None:
    """At every size, of the scan and of its recipe."""
    out = tmp_path / "out"
    arguments = ["prepare", raw.keys(), *flags(raw), "-o", out / "scan.h5"]
    assert run([str(part) for part in arguments]) == 0
    before = content(out)
    whole = len(before["scan.h5"])
    for size in (0, 900, whole // 2, whole - 3):
        for folder in (out, tmp_path / f"new{size}"):
            arguments[-1] = folder / "scan.h5"
            command = process_on_a_full_disk(size, *arguments, "--force", "--quiet")
            code, said, err = finished(command)
            assert code == 2 and said == ""
            check_sentence(err, "File too large", str(folder / "scan.h5"))
            assert content(folder) == (before if folder == out else {})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("earlier", [False, True])
def test_stopped_in_the_middle(
    number: signal.Signals, earlier: bool, raw: Raw, long_scan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scan.h5"
    if earlier:
        assert run(["prepare", str(raw.keys()), *flags(raw), "-o", str(out), "--quiet"]) == 0
    before = content(tmp_path)
    arguments = ["prepare", long_scan, *flags(raw), "-o", out, "--force", "--quiet"]
    command = process(*arguments, start_new_session=True)
    end = time.monotonic() + 100
    while not any(p.stat().st_size > 50_000 for p in tmp_path.glob(".ptychopinn-new-*")):
        assert command.poll() is None, finished(command)
        assert time.monotonic() < end
        time.sleep(0.002)
    command.send_signal(number)
    code, said, err = finished(command)
    assert said == "" and "Traceback" not in err
    kept = {name: part for name, part in content(tmp_path).items() if not name.startswith(".")}
    assert kept == before
    if number == signal.SIGKILL:
        assert code == -number and len(list(tmp_path.iterdir())) == len(before) + 1
        # The next command that writes there sweeps.
        assert run(["prepare", str(raw.keys()), *flags(raw), "-o", str(tmp_path / "b.h5")]) == 0
        assert {path.name for path in tmp_path.iterdir()} == {*before, "b.h5"}
    else:
        assert code == 128 + number and content(tmp_path) == before
        check_sentence(err, "stopped by")


def test_of_two_at_once_one_is_refused(raw: Raw, tmp_path: Path) -> None:
    sources = [raw.keys(), raw.nexus(True)]
    out = tmp_path / "scan.h5"
    commands = [
        process("prepare", source, *(flags(raw) if k == 0 else []), "-o", out, "--quiet")
        for k, source in enumerate(sources)
    ]
    done = [finished(command) for command in commands]
    codes = [code for code, _, _ in done]
    assert sorted(codes) == [0, 2], done
    check_sentence(done[codes.index(2)][2], "new file")
    assert load_scan(out).provenance["sources"] == [str(sources[codes.index(0)])]
    assert list(content(tmp_path)) == ["scan.h5"]


@pytest.mark.parametrize(
    "more",
    [
        ["--crop", "40"],
        ["--frames", "50:"],
        ["--probe", "nothing.h5"],
        ["--positions", "nothing"],
        ["--mask", "frames"],
        ["--flat", "frames"],
        ["--recipe", "nothing.yaml"],
        ["--units", "amplitudes"],
        ["--probe", "fzp:diameter=1m"],
    ],
)
def test_a_refused_command_keeps_the_earlier_scan(
    more: list[Any], raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan.h5"
    out.write_text("earlier")
    arguments = ["prepare", str(raw.keys()), *flags(raw), "-o", str(out), *more, "--force"]
    if "--flat" in more:
        with h5py.File(raw.folder / "flat.h5", "w") as file:
            file["flat"] = np.zeros((32, 32))
        arguments[arguments.index("--flat") + 1] = f"{raw.folder / 'flat.h5'}:flat"
    capsys.readouterr()
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert content(tmp_path) == {"scan.h5": b"earlier"}


def test_patterns_that_are_damaged_late_keep_the_earlier_scan(
    raw: Raw, long_scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found only when most of the file is written."""
    damaged = tmp_path / "damaged.h5"
    with h5py.File(long_scan) as source, h5py.File(damaged, "w") as file:
        source.copy("motors", file)
        frames = source["frames"][:]
        file.create_dataset("frames", data=frames, chunks=(1, 32, 32), fletcher32=True)
    with h5py.File(damaged) as file:
        place = file["frames"].id.get_chunk_info_by_coord((15_001, 0, 0)).byte_offset
    stored = bytearray(damaged.read_bytes())
    stored[place + 1000] ^= 4
    damaged.write_bytes(stored)
    out = tmp_path / "out/scan.h5"
    out.parent.mkdir()
    out.write_text("earlier")
    capsys.readouterr()
    assert run(["prepare", str(damaged), *flags(raw), "-o", str(out), "--force", "--quiet"]) == 2
    check_sentence(capsys.readouterr().err, "damaged")
    assert content(out.parent) == {"scan.h5": b"earlier"}


def test_the_recipe_takes_no_other_file(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = raw.keys(), tmp_path / "scan.h5"
    before = source.read_bytes()
    for recipe in (source, out, tmp_path / "." / "scan.h5"):
        arguments = ["prepare", str(source), *flags(raw), "-o", str(out), "--force"]
        capsys.readouterr()
        assert run([*arguments, "--save-recipe", str(recipe)]) == 2
        check_sentence(capsys.readouterr().err, "another file")
    # Where the recipe cannot be written, the scan is not either.
    (tmp_path / "file").write_text("")
    recipe = tmp_path / "file" / "recipe.yaml"
    assert run([*arguments, "--save-recipe", str(recipe)]) == 2
    check_sentence(capsys.readouterr().err, str(recipe.parent))
    assert source.read_bytes() == before and not out.exists()


def test_nothing_can_be_printed(raw: Raw, tmp_path: Path) -> None:
    source = raw.keys()
    renamed = source.rename(source.with_name("σ.h5"))
    with h5py.File(renamed, "r+") as file:
        file["ключ\x1b[31m\n"] = np.zeros(3)
    listed = ["prepare", renamed, "--list"]
    made = ["prepare", renamed, *flags(raw), "-o", tmp_path / "ω.h5", "--force"]
    if Path("/dev/full").exists():
        for arguments in (listed, made):
            with Path("/dev/full").open("w") as full:
                code, err = _into(full.fileno(), arguments)
            assert code == 2
            check_sentence(err, "standard output", "No space left")
        assert load_scan(tmp_path / "ω.h5").M == 40
    for encoding in ("ascii", "cp1252"):
        for arguments in (listed, made):
            command = process(*arguments, env={"PYTHONIOENCODING": encoding}, encoding="latin-1")
            code, said, err = finished(command)
            assert code == 0 and said and "Traceback" not in err, err
            assert "\x1b" not in said


def _into(descriptor: int, arguments: list[Any]) -> tuple[int, str]:
    done = warm_processes.run(
        [sys.executable, "-m", "ptychopinn", *map(str, arguments)],
        stdout=descriptor,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stderr
