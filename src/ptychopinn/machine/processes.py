"""Processes that a framework can compute in: not one that was forked after it had computed, nor one
that is still being started."""

from __future__ import annotations

import multiprocessing
import os

from ptychopinn.errors import InputError


def _check_loaded() -> None:
    # multiprocessing itself refuses to start a process while this is set.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(
            "a script must begin its work below if __name__ == '__main__' where processes are "
            "started that load it again, received one that computes while such a process loads it; "
            "move the work there."
        )


class FirstUse:
    """Remembers which process first computed with a framework.

    Its threads belong to that process. In a fork of it they are gone, and whoever waits for them
    waits for ever.
    """

    def __init__(self) -> None:
        self._process: int | None = None

    def check(self) -> None:
        """To be called before anything is computed.

        Raises
        ------
        InputError
            In a fork of the process that computed first, or while a process that multiprocessing
            starts is still loading the script.
        """
        _check_loaded()
        if self._process not in (None, os.getpid()):
            raise InputError(
                "a backend computes in processes that were started anew, received a fork of one "
                "in which it had already computed, where it would wait for ever for threads that "
                "were not copied; use multiprocessing.get_context('spawn')."
            )
        self._process = os.getpid()
