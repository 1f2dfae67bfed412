"""Ctrl-C, SIGTERM and SIGHUP: every command ends in one sentence and leaves nothing half done, and
what is finished is saved."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_commands import BACKENDS, backend_flags, files, finished, process, read_json

import ptychopinn as pp
from ptychopinn.config import RefineConfig
from ptychopinn.entry import ENDING
from ptychopinn.io.reconstructions import load_reconstruction

pytest.importorskip("torch")

RESULT = {
    "reconstruction.h5", "reconstructed_amplitude.png", "reconstructed_phase.png", "run.json",
    "log.txt", "report.html",
}  # fmt: skip
DEFAULT_PASSES = RefineConfig().passes


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough that a pass takes a while."""
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    pp.save_scan(pp.simulate(N=64, patterns=400, photons=1e6, seed=9), path)
    return path


def started(*arguments: Any, backend: str = "pytorch", **options: Any) -> subprocess.Popen[str]:
    # A group of its own: a signal to it does not reach the tests.
    return process(*arguments, *backend_flags(backend), start_new_session=True, **options)


def wait_until_answered(command: subprocess.Popen[str]) -> None:
    """Until the program has begun: before that a signal ends the interpreter itself."""
    status = Path(f"/proc/{command.pid}/status")
    if not status.exists():  # not Linux
        time.sleep(0.5)
        return
    while command.poll() is None:
        caught = re.search(r"^SigCgt:\s*(\w+)", status.read_text(), re.MULTILINE)
        if caught is None or int(caught.group(1), 16) >> (ENDING[-1] - 1) & 1:
            return
        time.sleep(0.01)


def lines_until(command: subprocess.Popen[str], words: str) -> None:
    """Read what the command says until it says this."""
    assert command.stderr is not None
    said = []
    for line in command.stderr:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"never said '{words}': {''.join(said)}")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    pytest.importorskip(request.param.replace("py", ""))
    yield request.param


@pytest.mark.parametrize("number", ENDING)
def test_refine_saves_the_finished_passes(
    number: signal.Signals, backend: str, scan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    options = ("--passes", 10_000, "--stagnation", 0, "--uncertainty")
    command = started("refine", scan, "-o", folder, *options, backend=backend)
    lines_until(command, "INFO pass 3/10000: misfit")
    # To the group and to the process, as timeout does.
    os.killpg(command.pid, number)
    command.send_signal(number)
    code, _, err = finished(command)
    assert code == 128 + number, err
    assert f"stopped by signal {int(number)}" in err and "Traceback" not in err
    assert files(folder) == RESULT
    record, result = read_json(folder / "run.json"), load_reconstruction(folder)
    assert record["stopped_by_signal"] == number
    assert record["stages"][-1]["passes"] == len(result.losses) >= 3
    assert result.uncertainty is None


def test_reconstruct_saves_the_better_of_what_it_has(
    backend: str, scan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    command = started("reconstruct", scan, "-o", folder, "--refine", "always", backend=backend)
    lines_until(command, f"INFO pass 1/{DEFAULT_PASSES}: misfit")
    command.send_signal(signal.SIGTERM)
    code, _, err = finished(command)
    assert code == 143, err
    assert "Traceback" not in err
    assert files(folder) == RESULT
    record = read_json(folder / "run.json")
    assert record["stopped_by_signal"] == signal.SIGTERM
    assert [s["stage"] for s in record["stages"]] in (["network"], ["network", "refinement"])
    assert load_reconstruction(folder).provenance["fit"]["verdict"] == "good"


@pytest.mark.parametrize("verb", ["reconstruct", "infer"])
def test_a_signal_during_the_uncertainty_saves_the_object(
    verb: str, scan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    model = ["pretrained"] if verb == "infer" else []
    command = started(verb, *model, scan, "-o", folder, "--uncertainty")
    lines_until(command, "INFO the uncertainty")
    command.send_signal(signal.SIGINT)
    code, _, err = finished(command)
    assert code == 130, err
    assert "Traceback" not in err
    assert files(folder) == RESULT
    assert load_reconstruction(folder).uncertainty is None


def test_an_earlier_result_survives_when_nothing_new_is_finished(
    scan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    assert finished(started("refine", scan, "-o", folder, "--passes", 1))[0] in (0, 3)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command = started("refine", scan, "-o", folder, "--passes", 10_000, "--force", anew=True)
    time.sleep(1)  # while packages are loaded
    command.send_signal(signal.SIGTERM)
    code, out, err = finished(command)
    if "INFO pass 1/" not in err:  # a fast machine may have finished one by then
        assert (code, out, err) == (143, "", "ptychopinn: stopped by SIGTERM.\n")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("verb", ["simulate", "convert", "inspect", "evaluate", "compare"])
def test_any_command_at_any_moment(
    verb: str, number: signal.Signals, scan: Path, tmp_path: Path
) -> None:
    """One sentence or a whole result, and no temporary file."""
    arguments: dict[str, list[Any]] = {
        "simulate": [tmp_path / "s.h5", "--N", 64, "--patterns", 2000],
        "convert": [scan, tmp_path / "s.npz"],
        "inspect": [scan],
        "evaluate": [scan, "--truth", scan, "-o", tmp_path / "e"],
        "compare": [scan, "-o", tmp_path / "c", "--with", "refine"],
    }
    for delay in (0.0, 0.3, 0.8, 1.5):
        command = process(verb, *arguments[verb], start_new_session=True, anew=True)
        wait_until_answered(command)
        time.sleep(delay)
        command.send_signal(number)
        code, out, err = finished(command)
        assert code in {128 + number, 0, 2}, (out, err)
        assert "Traceback" not in err
        assert not [name for name in files(tmp_path) if Path(name).name.startswith(".")]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_program_begins_or_ends(
    number: signal.Signals, moment: str, tmp_path: Path
) -> None:
    """While the first packages are loaded, and when everything is written."""
    script = (
        "import atexit, importlib.abc, signal, sys\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'click':\n"
        f"            signal.raise_signal({int(number)})\n"
        f"if '{moment}' == 'before':\n"
        "    sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['ptychopinn', '--version']\n"
        "from ptychopinn.entry import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    if '{moment}' == 'after':\n"
        f"        atexit.register(signal.raise_signal, {int(number)})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 128 + number
    assert "Traceback" not in done.stderr and "stopped by" in done.stderr


def test_a_framework_is_imported_whole_before_a_signal_is_answered(
    scan: Path, tmp_path: Path
) -> None:
    """Within its extension modules an exception ends the process with an abort."""
    script = (
        "import atexit, importlib.abc, signal, sys\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch.autograd.gradcheck':\n"
        f"            signal.raise_signal({int(signal.SIGTERM)})\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"sys.argv = ['ptychopinn', 'refine', {str(scan)!r}, '-o', {str(tmp_path / 'o')!r},\n"
        "    '--backend', 'pytorch', '--no-mend', 'all', '--quiet']\n"
        "from ptychopinn.entry import main\n"
        "atexit.register(lambda: print('torch.fft' in sys.modules, file=sys.stderr))\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr.split("\n")[:2] == ["ptychopinn: stopped by SIGTERM.", "True"]
    assert not files(tmp_path)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_after_the_last_word_does_not_change_the_exit_code(
    number: signal.Signals, scan: Path, tmp_path: Path
) -> None:
    """While the interpreter is taken down Python has put the system's handlers back."""
    for delay in (0.01, 0.03, 0.05):
        command = process("evaluate", scan, "--truth", scan, "-o", tmp_path / "e", anew=True)
        lines_until(command, "name the result of a reconstruction")
        time.sleep(delay)
        command.send_signal(number)
        assert finished(command)[0] in {2, 128 + number}
