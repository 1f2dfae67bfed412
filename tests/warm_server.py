"""A process that has loaded a framework and waits to be a command: see warm_processes.py.

It computes nothing and has one thread, so a fork of it is what a process started anew is once it
has imported the same modules.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import random
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

# What the commands import before or while they compute: of these packages all modules, except those
# that import what most commands do without.
PACKAGES = (
    "checks", "data", "evaluation", "io", "machine", "networks", "physics", "probes", "report",
    "simulation", "solvers", "training", "workflows",
)  # fmt: skip
ELSEWHERE = {"batch", "batch_work", "cluster", "live_widget", "stations"}
COMMANDS = ("simulate", "train", "infer", "reconstruct", "refine", "evaluate", "inspect", "convert")
OTHERS = (
    "ptychopinn", "ptychopinn.cli", "scipy.fft", "scipy.ndimage", "scipy.optimize",
    "scipy.spatial", "h5py", "hdf5plugin", "safetensors.numpy", "rich.logging", "rich.table",
    "skimage.metrics", "skimage.registration", "PIL.Image", "logging.handlers",
)  # fmt: skip
FIGURES = ("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib_scalebar.scalebar")
FRAMEWORKS = {
    "pytorch": ("ptychopinn.ops.torch", "ptychopinn.ops.torch_engine"),
    "tensorflow": ("ptychopinn.ops.tensorflow", "ptychopinn.ops.tensorflow_engine"),
}
MOST = 1 << 20  # bytes of a request
# Streams of this process, which libraries may have kept.
kept: list[Any] = []


def names(framework: str) -> Iterator[str]:
    yield from OTHERS
    for package in PACKAGES:
        folder = Path(importlib.import_module(f"ptychopinn.{package}").__path__[0])
        for file in sorted(folder.glob("[!_]*.py")):
            if file.stem not in ELSEWHERE:
                yield f"ptychopinn.{package}.{file.stem}"
    yield from (f"ptychopinn.cli.{name}" for name in COMMANDS)
    yield from FRAMEWORKS[framework]


def loaded(framework: str) -> None:
    """Import what a command of this framework imports; what is not installed is left out."""
    from ptychopinn.report.matplotlib_import import load_matplotlib

    load_matplotlib()
    for name in (*names(framework), *FIGURES):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.startswith("ptychopinn"):
                raise
    # Formats of pictures that are loaded when the first is opened.
    sys.modules["PIL.Image"].preinit()


def received(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """A request and the three files of the process to be; None once nobody asks any more."""
    size = array.array("i").itemsize
    text, ancillary, *_ = connection.recvmsg(MOST, socket.CMSG_LEN(3 * size))
    handed = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            handed.frombytes(content[: len(content) - len(content) % size])
    return (json.loads(text) if text else None), list(handed)


def serve(control: socket.socket, door: socket.socket) -> dict[str, Any]:
    """Fork for every request, for ever; returns, with the request, in the forks alone."""
    waiting = selectors.DefaultSelector()
    waiting.register(control, selectors.EVENT_READ)
    waiting.register(door, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            asked = control if key.fileobj is control else door.accept()[0]
            request, handed = received(asked)
            if request is None and asked is control:
                os._exit(0)
            forks = becomes_child_of_the_tests if asked is control else becomes_child_of_its_own
            if request is not None and forks(asked, handed):
                waiting.close()
                for one in {control, door, asked}:
                    one.close()
                taken(handed)
                return request
            if asked is not control:
                asked.close()
            for descriptor in handed:
                os.close(descriptor)
        while _ended_middle():
            pass


def taken(handed: list[int]) -> None:
    """Make these files standard input, output and error."""
    for descriptor, target in zip(handed, (0, 1, 2), strict=True):
        os.dup2(descriptor, target)
    for descriptor in handed:
        os.close(descriptor)


def _ended_middle() -> bool:
    """Whether a process between was waiting to be noticed; it is now."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def becomes_child_of_the_tests(control: socket.socket, handed: list[int]) -> bool:
    """Fork twice: the tests inherit the second process, as they have asked the system to.

    True in the new process."""
    told, tells = os.pipe()
    between = os.fork()
    if between == 0:
        parent, process = os.getpid(), os.fork()
        if process == 0:
            os.close(told)
            os.close(tells)
            while os.getppid() == parent:
                time.sleep(0.001)
            return True
        os.write(tells, str(process).encode())
        os._exit(0)
    os.close(tells)
    os.waitpid(between, 0)
    control.sendall(os.read(told, 64))
    os.close(told)
    return False


def becomes_child_of_its_own(connection: socket.socket, handed: list[int]) -> bool:
    """Fork twice: the first process waits for the second and tells whoever asked how it ended.

    True in the new process."""
    if os.fork() != 0:
        return False
    process = os.fork()
    if process == 0:
        return True
    for descriptor in handed:
        os.close(descriptor)
    # Whoever asked for it writes nothing more: what comes is its end.
    with selectors.DefaultSelector() as waiting:
        waiting.register(connection, selectors.EVENT_READ)
        while (ended := os.waitpid(process, os.WNOHANG))[0] == 0:
            if waiting.select(0.01):
                os.kill(process, signal.SIGTERM)
                os._exit(0)
    with suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(ended[1])).encode())
    os._exit(0)


def become(request: dict[str, Any]) -> None:
    """Do what ``python ARGUMENTS`` does, in the folder and with the environment of the request."""
    if request["new_session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    os.umask(request["umask"])
    if request["largest_file"] is not None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    open_streams()
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    tempfile.tempdir = None
    # Python's own generator is seeded at every fork.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    program(request["arguments"])


def open_streams() -> None:
    """Standard input, output and error as Python opens them for files and pipes."""
    kept.extend((sys.stdin, sys.stdout, sys.stderr))
    chosen, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    encoding, errors = chosen or sys.stdout.encoding, errors or sys.stdout.errors
    text = {"encoding": encoding, "closefd": False}
    opened = (
        open(0, errors=errors, **text),  # noqa: SIM115
        open(1, "w", errors=errors, newline="\n", **text),  # noqa: SIM115
        open(2, "w", 1, errors="backslashreplace", newline="\n", **text),  # noqa: SIM115
    )
    sys.stdin, sys.stdout, sys.stderr = opened
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = opened  # type: ignore[misc]


def program(words: list[str]) -> None:
    first, *arguments = words
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    if first == "-m":
        sys.path.insert(0, str(Path.cwd()))
        sys.argv = ["-m", *arguments[1:]]
        runpy._run_module_as_main(arguments[0])  # type: ignore[attr-defined]
    elif first == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *arguments[1:]]
        exec(compile(arguments[0], "<string>", "exec"), main.__dict__)
    else:
        sys.path.insert(0, str(Path(first).resolve().parent))
        sys.argv = [first, *arguments]
        main.__file__ = first
        exec(compile(Path(first).read_bytes(), first, "exec"), main.__dict__)


def ended_by(stop: BaseException) -> int:
    """The exit code of a process that ends so; what Python says of it is written."""
    if not isinstance(stop, SystemExit):
        sys.excepthook(type(stop), stop, stop.__traceback__)
        return 1
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def live(request: dict[str, Any]) -> NoReturn:
    """Become what is asked for, and end as it does, without taking down all that was loaded."""
    code = 0
    try:
        become(request)
    except BaseException as stop:  # noqa: BLE001
        code = ended_by(stop)
    # What an interpreter does at its end, in its order.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120
    os._exit(code)


def begin() -> dict[str, Any]:
    framework, control, door = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # The folder of this file, which no command knows of.
    del sys.path[0]
    # Ctrl-C reaches the tests as well, and they end this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loaded(framework)
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise RuntimeError("a process with threads cannot be forked for commands")
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=control) as one, socket.socket(fileno=door) as other:
        one.sendall(b"ready")
        return serve(one, other)


if __name__ == "__main__":
    live(begin())
