"""What the tests of the commands train and infer share: small networks, runs, checks."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import warm_processes
from ptychopinn.checks.base import ALTERNATIVES, AXES, LATER
from ptychopinn.cli import run

UNROLLED = [
    "--iterations", "3", "--width", "8", "--levels", "2", "--n-groups", "6",
    "--subscan-patterns", "50",
]  # fmt: skip
# Where it does not matter what the object looks like: TensorFlow traces a third of the graph.
SHALLOW = [*UNROLLED, "--iterations", "1"]
CNN = ["--architecture", "cnn", "--n-filters-scale", "0.25"]
# What else would explain the patterns takes longer to try than the rest of a short command; the
# tests of verdicts and of geometry ask for it.
UNTRIED = [word for name in (*LATER, ALTERNATIVES, AXES) for word in ("--no-mend", name)]
ARCHITECTURES: dict[str, list[str]] = {
    "unrolled": UNROLLED,
    "cnn": CNN,
    "cnn gridsize 2": [*CNN, "--gridsize", "2"],
    "cnn supervised": [*CNN, "--mode", "supervised"],
    "unrolled supervised": [*UNROLLED, "--mode", "supervised"],
}
BACKENDS = ("pytorch", "tensorflow")
# TensorFlow has the threads of the environment, which a process cannot change once it computes.
ONE_THREAD = {"pytorch": ["--torch-threads", "1"], "tensorflow": []}


def backend_flags(backend: str, *options: Any) -> list[str]:
    """The backend, and one thread; a run that is resumed knows its backend."""
    named = [] if "--resume" in options or "--backend" in options else ["--backend", backend]
    return [*named, *ONE_THREAD[backend]]


def train(
    scan: Any, output: Path, *options: Any, backend: str = "pytorch", tries: bool = False
) -> int:
    """``ptychopinn train`` in this process, on one thread; the exit code.

    tries : whether the geometry of the scans is tried before the training.
    """
    scans = scan if isinstance(scan, list) else [scan]
    flags = [*map(str, options), *backend_flags(backend, *options), *([] if tries else UNTRIED)]
    return run(["train", *map(str, scans), "-o", str(output), *flags])


def infer(
    model: Path,
    scan: Path,
    output: Path,
    *options: Any,
    backend: str = "pytorch",
    tries: bool = False,
) -> int:
    """``ptychopinn infer`` in this process, on one thread; the exit code.

    tries : whether other causes of a fit that is not good are tried.
    """
    flags = [*map(str, options), *backend_flags(backend, *options), *([] if tries else UNTRIED)]
    return run(["infer", str(model), str(scan), "-o", str(output), *flags])


def process(*arguments: Any, anew: bool = False, **options: Any) -> subprocess.Popen[str]:
    """A command in a process of its own, on one thread.

    anew : whether the beginning or the end of the process is what the test is about
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    kind = subprocess.Popen if anew else warm_processes.Popen
    return kind(
        [sys.executable, "-m", "ptychopinn", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def process_on_a_full_disk(size: int, *arguments: Any) -> subprocess.Popen[str]:
    """A command of which no file may become larger: a full disk that needs no rights."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    # Python would keep what it compiles cut short, for all processes to come.
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    # Where not a byte fits, what is imported says so.
    if sys.platform != "linux" or size == 0:
        return process(*arguments, env=environment, anew=True, preexec_fn=limit)
    return process(*arguments, env=environment, largest_file=size)


def finished(command: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a process once it has ended."""
    with command:
        try:
            out, err = command.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            command.kill()
            raise
    return command.returncode, out, err


def check_sentence(text: str, *expected: str) -> None:
    """The last line of standard error is one sentence that says what is expected."""
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if not line.startswith(("INFO ", "WARNING "))]
    assert len(lines) == 1, text
    for words in expected:
        assert words in lines[0]
    assert lines[0].startswith("ptychopinn: ") and lines[0].endswith(".")
    assert not re.search(r"[.!?] [A-Z]", lines[0])


def files(folder: Path) -> set[str]:
    """All files below the folder, hidden ones too; other processes may take some away meanwhile."""
    return {
        Path(parent, name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder)
        for name in names
    }


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def same_weights(a: Path, b: Path, within: float = 0.0) -> bool:
    """Whether the bundles in two folders hold the same bits, the probe included.

    within : what each array may differ by instead (root of the sum of squares), relative
    """
    from ptychopinn.io.models import load_bundle

    one, other = load_bundle(a), load_bundle(b)
    assert set(one.weights) == set(other.weights)
    pairs = [(one.probe, other.probe), *((one.weights[n], other.weights[n]) for n in one.weights)]
    # Squares of the smallest differences would be zero.
    if within == 0.0:
        return all(np.array_equal(x, y) for x, y in pairs)
    norm = np.linalg.norm
    return all(norm((x - y).ravel()) <= within * norm(x.ravel()) for x, y in pairs)
