"""Processes that are forked instead of started: to a test they are like those of ``subprocess``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import warm_processes

pytestmark = pytest.mark.skipif(not warm_processes.LINUX, reason="forks so on Linux only")
pytest.importorskip("torch")

TELLS = """
import os, random, signal, sys
print(sys.argv, os.getcwd(), os.environ.get("LETTER"), os.getppid(), __name__)
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, sys.stdin.read(), flush=True)
print(os.getpgid(0) == os.getpid(), file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


def started(kind: Any, *arguments: Any, **options: Any) -> tuple[int, str, str]:
    process = kind(
        [sys.executable, "-c", TELLS, *map(str, arguments)], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip
    with process:
        out, err = process.communicate("asked", timeout=100)
    return process.returncode, out, err


@pytest.mark.parametrize("session", [False, True])
def test_it_is_like_one_that_is_started_anew(session: bool, tmp_path: Path) -> None:
    options = {"cwd": tmp_path, "start_new_session": session, "env": dict(os.environ)}
    for code in (0, 3):
        forked = started(warm_processes.Popen, code, "é", **options)
        assert forked == started(subprocess.Popen, code, "é", **options)
        assert forked[0] == code and str(os.getpid()) in forked[1]


def loaded(**options: Any) -> str:
    """Whether a process begins with the framework, in words."""
    code = "import sys; print('torch' in sys.modules)"
    done = warm_processes.run(
        [sys.executable, "-c", code], text=True, capture_output=True, **options
    )
    return str(done.stdout.strip())


def test_a_module_that_may_read_a_variable_is_imported_with_it() -> None:
    assert loaded() == "True"
    other = {**os.environ, "LETTER": "a"}
    assert loaded(env=other) == "False"
    assert loaded(env=other, besides={"LETTER"}) == "True"
    assert loaded(preexec_fn=lambda: None) == "False"


def test_signals_reach_it_and_it_leaves_no_trace_in_the_next() -> None:
    waits = "import os, time; os.environ['LETTER'] = 'a'; print(1, flush=True); time.sleep(100)"
    process = warm_processes.Popen([sys.executable, "-c", waits], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=100) == -signal.SIGTERM
    tells = "import os, random; print('LETTER' in os.environ, random.random())"
    said = [
        warm_processes.run([sys.executable, "-c", tells], capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert said[0] != said[1]
    assert {words.split()[0] for words in said} == {"False"}


def test_a_shell_calls_it(tmp_path: Path) -> None:
    command = warm_processes.executable("ptychopinn", tmp_path)
    done = subprocess.run(
        f"{command} inspect gone.h5 2> said || echo $?",
        shell=True, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert "gone.h5" in (tmp_path / "said").read_text()


def test_what_libraries_left_behind_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow sets variables in the process that imports it, dask and MLflow others."""
    monkeypatch.setenv("LETTER", "1")
    assert loaded() == loaded(env=dict(os.environ)) == "True"
    assert loaded(env={**os.environ, "LETTER": "0"}) == "False"
    assert "LETTER" not in warm_processes.cleaned(os.environ)
