"""What a worker of Dask keeps between its tasks. Imported only where Dask is: by the command that
asked for it, and by its workers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

from distributed import get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from ptychopinn.entry import ENDING


class Station(WorkerPlugin):
    """Makes what works once on every worker, also on one that takes the place of a dead one.

    Parameters
    ----------
    make : called with the number of threads, when the first task comes; what it returns is called
        with every work, one at a time.
    threads : to compute with; where None, as many as the worker was given.
    own : whether the workers belong to this program, whose signals are then not meant for them.
    """

    def __init__(
        self, make: Callable[[int], Callable[[Any], Any]], threads: int | None, own: bool
    ) -> None:
        self.name = f"ptychopinn-{id(self)}"
        self._make, self._threads, self._own = make, threads, own

    def setup(self, worker: Any) -> None:
        self._worker = worker
        self._works: Callable[[Any], Any] | None = None
        self._one = threading.Lock()
        if self._own and threading.current_thread() is threading.main_thread():
            # Whoever presses Ctrl-C ends the program, which ends its workers.
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)

    def work(self, what: Any) -> Any:
        with self._one:
            if self._works is None:
                self._works = self._make(self._threads or self._worker.state.nthreads)
            return self._works(what)


def worked(name: str, what: Any) -> Any:
    """The task: one work at the station ``name`` of the worker that got it."""
    station: Any = get_worker().plugins[name]
    return station.work(what)
