"""Commands in processes of their own which need not load the frameworks: forks of one that has.

To import a framework takes a process 2 to 5 seconds, more than most commands of the tests compute.
``Popen`` and ``run`` stand for those of ``subprocess``: a process with its own arguments, folder,
environment, files and signals, a child of the tests. They start one anew where a fork would not be
the same: other systems than Linux, other variables than those with which the modules were
imported, another interpreter, files to pass on. Variables for such a process are handed over with
``env``; what a test sets in its own process, it does not see. Tests whose subject is the start of a
process, what it imports, its threads or its memory use ``subprocess`` itself.
"""

from __future__ import annotations

import atexit
import ctypes
import inspect
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("warm_server.py")
CLIENT = Path(__file__).with_name("warm_client.py")
LINUX = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36
# Variables that say nothing to a module which is imported.
FREE = {
    "PATH", "PWD", "OLDPWD", "SHLVL", "_", "TMPDIR", "COLUMNS", "LINES", "PYTEST_CURRENT_TEST",
    "PYTHONDONTWRITEBYTECODE", "PYTHONIOENCODING",
}  # fmt: skip

# Before any test, and any library that sets one where it is imported.
AT_FIRST = dict(os.environ)


def cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """The first variables, with those changed in which the environment differs from this process's.

    What this process has besides, libraries and commands have left behind in it.
    """
    now = dict(os.environ)
    asked = {name for name in {*environment, *now} if environment.get(name) != now.get(name)}
    first = {name: value for name, value in AT_FIRST.items() if name not in asked}
    return first | {name: environment[name] for name in asked if name in environment}


class _Server:
    """The process to fork, with what leads to it."""

    def __init__(self, framework: str) -> None:
        self.environment = AT_FIRST
        self.folder = tempfile.TemporaryDirectory(prefix="warm-")
        self.address = str(Path(self.folder.name) / "door")
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(self.address)
            door.listen()
            numbers = (theirs.fileno(), door.fileno())
            # As the commands do it, before a numerical library is loaded.
            first = {} if "OMP_WAIT_POLICY" in AT_FIRST else {"GOMP_SPINCOUNT": "10000"}
            self.process = subprocess.Popen(
                [sys.executable, str(SERVER), framework, *map(str, numbers)],
                pass_fds=numbers, stdin=subprocess.DEVNULL, env={**first, **self.environment},
            )  # fmt: skip
        if self.control.recv(64) != b"ready":
            raise RuntimeError("the process with the frameworks did not start")
        atexit.register(self.close)

    def close(self) -> None:
        self.control.close()
        self.process.wait()
        self.folder.cleanup()

    def fork(self, request: dict[str, Any], files: list[int]) -> int:
        """The number of a process that begins with these three files: a child of this one."""
        # For this moment this process inherits processes whose parents end.
        inherits(True)
        try:
            socket.send_fds(self.control, [json.dumps(request).encode()], files)
            told = self.control.recv(64)
        finally:
            inherits(False)
        if not told:
            raise RuntimeError("the process with the frameworks has ended")
        return int(told)


_servers: dict[str, _Server] = {}


def inherits(yes: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def server(framework: str) -> _Server:
    if framework not in _servers:
        _servers[framework] = _Server(framework)
    return _servers[framework]


def close_all() -> None:
    """End the processes that wait; the next command starts them anew."""
    while _servers:
        _, one = _servers.popitem()
        atexit.unregister(one.close)
        one.close()


def framework_of(arguments: list[str]) -> str:
    return "tensorflow" if "tensorflow" in arguments else "pytorch"


def alike(one: Mapping[str, str], other: Mapping[str, str], besides: set[str]) -> bool:
    """Whether modules that are imported with the one are as with the other."""
    return all(one.get(name) == other.get(name) for name in {*one, *other} - FREE - besides)


class Popen(subprocess.Popen[Any]):
    """Like that of ``subprocess``.

    largest_file : bytes beyond which no file grows, instead of a full disk
    besides : variables that may be others than those with which the modules were imported
    """

    def __init__(
        self,
        *arguments: Any,
        largest_file: int | None = None,
        besides: Collection[str] = (),
        **options: Any,
    ) -> None:
        self.largest_file, self.besides = largest_file, {*besides}
        super().__init__(*arguments, **options)

    def _execute_child(self, *given: Any, **named: Any) -> None:
        signature = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]
        asked = signature.bind(self, *given, **named).arguments
        words = [os.fsdecode(word) for word in asked["args"]]
        environment = cleaned(os.environ if asked["env"] is None else asked["env"])
        found = self._server(asked, words, environment)
        if found is None:
            if self.largest_file is not None:
                raise RuntimeError("no process to fork, so no limit for it")
            super()._execute_child(*given, **named)  # type: ignore[misc]
            return
        wanted = (asked["p2cread"], asked["c2pwrite"], asked["errwrite"])
        files = [number if file == -1 else file for number, file in enumerate(wanted)]
        mask = os.umask(0)
        os.umask(mask)
        request = {
            "arguments": words[1:],
            "folder": os.fsdecode(asked["cwd"] or Path.cwd()),
            "environment": environment,
            "umask": mask,
            "new_session": bool(asked["start_new_session"]),
            "largest_file": self.largest_file,
        }
        self.pid = found.fork(request, files)
        self._child_created = True
        self._close_pipe_fds(  # type: ignore[attr-defined]
            *(asked[name] for name in
              ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"))
        )  # fmt: skip

    def _server(
        self, asked: Mapping[str, Any], words: list[str], environment: Mapping[str, str]
    ) -> _Server | None:
        unusual = ("executable", "preexec_fn", "pass_fds", "shell", "gid", "gids", "uid")
        if (
            not LINUX
            or words[0] != sys.executable
            or len(words) < 2
            or (words[1].startswith("-") and words[1] not in ("-m", "-c"))
            or any(asked[name] for name in unusual if name != "executable")
            or asked["executable"] not in (None, sys.executable)
            or asked["umask"] != -1
            or asked["process_group"] != -1
        ):
            return None
        found = server(framework_of(words))
        return found if alike(found.environment, environment, self.besides) else None


def run(arguments: list[Any], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Like that of ``subprocess``, without its ``input``."""
    check, timeout = options.pop("check", False), options.pop("timeout", None)
    if options.pop("capture_output", False):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen([str(word) for word in arguments], **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(arguments, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def executable(name: str, folder: Path) -> Path:
    """An executable ``name`` in the folder which others can call in place of that of the same name
    beside the interpreter; the latter where processes cannot be forked so."""
    real = Path(sys.executable).parent / name
    if not LINUX:
        return real
    found = server("pytorch")
    client = folder / name
    words = [sys.executable, "-SEsB", str(CLIENT), found.address, str(real)]
    client.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    client.chmod(0o755)
    return client
