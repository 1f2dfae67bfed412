"""Reading ahead: in threads what waits for files, in processes what computes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from ptychopinn.errors import TrainingError

W = TypeVar("W")
R = TypeVar("R")

# How often (s) a process looks whether the one that started it is still there.
LOOKS_EVERY_S = 1.0


def reading(number: int, in_processes: bool) -> Executor | None:
    """So many readers, to be closed by the caller; None for none."""
    if not number:
        return None
    if not in_processes:
        return ThreadPoolExecutor(number)
    # Threads of frameworks do not survive a fork.
    spawned = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(number, spawned, _as_reader, (os.getpid(),))


def read_ahead(
    read: Callable[[W], R], works: Iterable[W], readers: Executor | None, ahead: int
) -> Iterator[R]:
    """What ``read`` makes of the works, in their order, up to ``ahead`` of it early.

    Raises TrainingError when a process that reads was killed."""
    if readers is None:
        yield from map(read, works)
        return
    pending: deque[Future[R]] = deque()
    try:
        for work in works:
            pending.append(readers.submit(read, work))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise TrainingError(
            "the processes that simulate scans must live as long as the training, received one "
            "that was killed, perhaps for lack of memory; lower num_workers."
        ) from None
    finally:
        for future in pending:
            future.cancel()


def _as_reader(parent: int) -> None:
    """The user's signals are meant for the process that trains; without it a reader ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOKS_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
