"""Ctrl-C, SIGTERM and SIGHUP end a command; where results are being computed they stop it after the
current step, so that what is finished can be saved."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from ptychopinn.entry import ENDING, leave

# A signal that comes again so soon (s) is the same one: programs such as timeout send it to the
# process and to its group.
SAME_WITHIN_S = 1.0


class Stopped(Exception):
    """Leaves the training loop after a signal."""


class Interrupted(BaseException):
    """Leaves everything after the signal ``number``."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = int(number)


class _Remembered:
    """The first signal, and whether a further one is meant to end everything at once.

    waits : whether the first one is to raise nothing now.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.waits = False
        self._when = 0.0

    def note(self, number: int) -> bool:
        """Remember a signal; whether it is a new one."""
        now = time.monotonic()
        same = self.signal is not None and now - self._when < SAME_WITHIN_S
        self._when = now
        if self.signal is None:
            self.signal = int(number)
        return not same


class Signals(_Remembered):
    """Handles the signals while a command runs: raises :class:`Interrupted`.

    Not by KeyboardInterrupt, which packages have their own ways with, and remembered: an exception
    that comes while they are imported may be swallowed there.
    """

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first = self.signal is None
        if self.note(number) and not (first and self.waits):
            raise Interrupted(number)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside the block, except those that the caller of the command ignores
        or has a way of its own with."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        usual = (signal.default_int_handler, signal.SIG_DFL, leave)
        before = sys.unraisablehook
        try:
            sys.unraisablehook = partial(_unless_interrupted, before)
            with _handled(self, lambda handler: handler in usual):
                yield
        finally:
            sys.unraisablehook = before


def _unless_interrupted(further: Callable[[Any], None], what: Any) -> None:
    """Where Python can raise nothing, as in the callback of a weak reference, the signal is
    remembered all the same."""
    if not isinstance(what.exc_value, Interrupted):
        further(what)


class StopFlag(_Remembered):
    """Remembers a signal, so that what computes can stop where it likes to; a second one raises
    :class:`Interrupted` wherever the program is.

    Attributes
    ----------
    signal : number of the first signal, or None.
    gentle : whether the first one is remembered only. Without it that one raises Interrupted as
        well: as long as nothing is finished that could be saved.
    """

    def __init__(self, gentle: bool = True) -> None:
        super().__init__()
        self.gentle = gentle

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first = self.signal is None
        if self.note(number) and not (first and (self.gentle or self.waits)):
            raise Interrupted(number)

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
            When a signal that ends the command came before, or as the flag says.
        KeyboardInterrupt, SystemExit
            The latter outside of a command, after Ctrl-C and SIGTERM.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        outer = _of_the_command()
        check_interrupted()
        try:
            with _handled(self, lambda handler: handler not in (None, signal.SIG_IGN)):
                yield
        except Interrupted as interrupted:
            if outer is not None:
                raise
            if interrupted.number == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + interrupted.number) from None
        finally:
            if outer is not None and self.signal is not None:
                outer.note(self.signal)


@contextmanager
def _handled(handler: Callable[..., Any], replaced: Callable[[Any], bool]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDING}
    before = {number: earlier for number, earlier in before.items() if replaced(earlier)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in ENDING]


def _of_the_command() -> Signals | None:
    return next((h for h in _handlers() if isinstance(h, Signals)), None)


def check_interrupted() -> None:
    """Raise Interrupted when a signal has come to the running command.

    To be called after an import, which may have swallowed the exception.
    """
    handler = _of_the_command()
    if handler is not None and handler.signal is not None:
        raise Interrupted(handler.signal)


@contextmanager
def imported_whole() -> Iterator[None]:
    """Import a framework inside the block: the first signal is answered after it.

    Their extension modules end the process at once, with words of their own, where a signal raises
    an exception within them.

    Raises
    ------
    Interrupted
        After the block, when a signal came by then and is not merely remembered.
    """
    handlers = [handler for handler in _handlers() if isinstance(handler, _Remembered)]
    for handler in handlers:
        handler.waits = True
    try:
        yield
    finally:
        for handler in handlers:
            handler.waits = False
    for handler in handlers:
        gentle = isinstance(handler, StopFlag) and handler.gentle
        if handler.signal is not None and not gentle:
            raise Interrupted(handler.signal)
    check_interrupted()
