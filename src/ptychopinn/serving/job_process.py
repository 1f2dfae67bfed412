"""The process that stays with a job: it starts the command, passes a signal on, and keeps its exit
code in a file, whether or not the server that began it is still there.

Run as ``python -m ptychopinn.serving.job_process FOLDER LOG EXIT WORD...``; it prints the number of
the process that stays and returns at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

PASSED_ON = (signal.SIGTERM, signal.SIGINT)


def main(arguments: list[str]) -> None:
    """Become two processes: one returns, the other stays in a session of its own."""
    folder, log, code = (Path(name) for name in arguments[:3])
    stays = os.fork()
    if stays:
        sys.stdout.write(f"{stays}\n")
        sys.stdout.flush()
        os._exit(0)
    os.setsid()
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, target in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(number, target)
    _keep(code, _run(arguments[3:]))


def _run(words: list[str]) -> int:
    """The exit code of the command; minus the number of a signal that ended it."""
    command: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def passed_on(number: int, frame: FrameType | None) -> None:
        if command:
            # poll before: a process that has ended gets no signal.
            command[0].send_signal(signal.SIGTERM)
        else:
            early.append(number)

    for number in PASSED_ON:
        signal.signal(number, passed_on)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    command.append(subprocess.Popen([sys.executable, "-m", "ptychopinn", *words]))
    if early:
        command[0].send_signal(signal.SIGTERM)
    return command[0].wait()


def _keep(target: Path, code: int) -> None:
    """Whole or not at all: who looks meanwhile finds no file."""
    new = target.with_suffix(".new")
    new.write_text(f"{code}\n")
    new.replace(target)


if __name__ == "__main__":
    main(sys.argv[1:])
