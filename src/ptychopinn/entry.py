"""Where the commands begin: signals are answered before anything else is loaded."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
from types import FrameType

# What ends a process when nobody handles it: the user, a batch system, a closed terminal.
ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
# New objects after which unreachable ones are looked for.
MORE_OBJECTS = 10_000


def main() -> None:
    """``ptychopinn``"""
    _begin("ptychopinn.cli")


def ptycho_train() -> None:
    """``ptycho_train``"""
    _begin("ptychopinn.clients.commands.ptycho_train")


def ptycho_inference() -> None:
    """``ptycho_inference``"""
    _begin("ptychopinn.clients.commands.ptycho_inference")


def leave(number: int, frame: FrameType | None) -> None:
    """A handler for signals that come while nothing is open: before and after a command."""
    os.write(2, b"stopped by the user.\n" if number == signal.SIGINT else b"stopped by a signal.\n")
    os._exit(128 + number)


def _begin(module: str) -> None:
    # Libraries make hundreds of thousands of objects that stay: to look through all of them after
    # every 700 new ones is a twentieth of a short command.
    gc.set_threshold(MORE_OBJECTS)
    # Registered first, therefore called last.
    atexit.register(_say_no_more)
    for number in ENDING:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, leave)
    importlib.import_module(module).main()


def _say_no_more() -> None:
    """All is done and said: while the interpreter is taken down, which puts the system's handlers
    back, a signal must not change the exit code."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    # Nor are objects that go with the process looked through once more: half a second with torch.
    gc.freeze()
