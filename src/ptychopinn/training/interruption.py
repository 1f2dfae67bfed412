"""Ctrl-C ends a command; during training it and SIGTERM stop after the current step, so that the
model can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """Leaves the training loop after a signal."""


class StoppedAtOnce(BaseException):
    """Leaves everything after a second signal."""


class Interrupted(BaseException):
    """Leaves a command after Ctrl-C."""


class CtrlC:
    """Handles Ctrl-C while a command runs.

    Not by KeyboardInterrupt, which packages have their own ways with, and remembered: an exception
    that comes while they are imported may be swallowed there.
    """

    def __init__(self) -> None:
        self.pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        raise Interrupted

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle Ctrl-C inside the block, unless the caller of the command has a way of its own."""
        usual = signal.default_int_handler
        main = threading.current_thread() is threading.main_thread()
        if not main or signal.getsignal(signal.SIGINT) is not usual:
            yield
            return
        signal.signal(signal.SIGINT, self)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)


class StopFlag:
    """Remembers a signal; a second one raises :class:`StoppedAtOnce` wherever the program is."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise StoppedAtOnce
        self.signal = number

    def check(self) -> None:
        """Raise :class:`Stopped` when a signal has come."""
        if self.signal is not None:
            raise Stopped

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside the block (in the main thread), then restore what was there.

        Raises
        ------
        Interrupted
            When Ctrl-C was pressed before.
        KeyboardInterrupt, SystemExit
            After a second signal, Ctrl-C or SIGTERM.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.signal(n, self._handle) for n in (signal.SIGINT, signal.SIGTERM)}
        earlier = before[signal.SIGINT]
        try:
            if isinstance(earlier, CtrlC) and earlier.pressed:
                raise Interrupted
            yield
        except StoppedAtOnce:
            if self.signal == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + signal.SIGTERM) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def ignore_signals(_: int = 0) -> None:
    """For worker processes: signals to the whole process group concern the main process only."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
