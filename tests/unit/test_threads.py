"""The number of threads follows what other processes leave free."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from ptychopinn.machine.threads import DECIDED, Threads, available, chosen, cores, usual
from ptychopinn.ops.numpy import NumpyOps


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DECIDED, raising=False)


def test_what_the_user_asks_for_is_taken() -> None:
    assert Threads(2, asked=7).number == 7
    assert Threads(2, asked=7).look() == 7


def test_the_variable_of_openmp_is_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DECIDED, "5")
    assert Threads(5).look() == usual(5) == 5


@pytest.mark.parametrize(("asked", "number"), [("1", 1), ("", 8), ("0", 8), ("4,2", 8), ("99", 8)])
def test_it_is_one_for_numpy_too(asked: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose transforms do not look at it."""
    monkeypatch.setenv(DECIDED, asked)
    monkeypatch.setattr("ptychopinn.machine.threads.available", lambda: 8)
    assert chosen() == NumpyOps().threads == number


def test_never_more_than_the_cores_that_this_process_may_use() -> None:
    assert 1 <= available() <= len(cores())
    assert 1 <= Threads(10_000).number <= available()
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    program = "from ptychopinn.machine.threads import *; print(available(), Threads(64).number)"
    done = subprocess.run([sys.executable, "-c", one + program], capture_output=True, text=True)
    assert done.stdout == "1 1\n", done.stderr


def test_busy_processes_are_seen() -> None:
    """With one on every core there is a single thread left for this one."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in cores()]
    try:
        time.sleep(1)
        chosen = Threads(len(cores()))
        time.sleep(0.3)
        assert chosen.look() == 1
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_a_machine_that_tells_nothing_is_taken_for_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not Linux: no file says what other processes do."""
    from pathlib import Path

    from ptychopinn.machine import threads

    for name in ("_STAT", "_LOADAVG"):
        monkeypatch.setattr(threads, name, Path(os.devnull) / "none")
    assert Threads(len(cores())).look() == available()
