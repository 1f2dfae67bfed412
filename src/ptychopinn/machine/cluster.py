"""Works on many workers of Dask: processes of this machine, a scheduler that is there, or Slurm.

Dask is imported when works are begun, and not before.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from ptychopinn.errors import InputError, MissingDependencyError, brief
from ptychopinn.machine.threads import available

# A work whose worker died is given to another one, so many times.
DEATHS = 2
# How often (s) it is looked whether somebody asked to stop, and how many workers there are.
LOOKS_EVERY_S = 0.2
CONNECT_S = 30
# Libraries that have threads of their own, by the variable that says how many.
THREADS_OF = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
DASK = "pip install 'ptychopinn[batch]'"
JOBQUEUE = "pip install 'ptychopinn[slurm]'"


@dataclass(frozen=True)
class Where:
    """Where works are done.

    scheduler : the address of a scheduler of Dask, as tcp://host:8786, or its scheduler file.
    slurm : on jobs of Slurm,
    as dask-jobqueue is configured.  workers : how many processes or jobs; for those of this machine
    as many as cores.  threads : of each worker; the cores of this machine are shared out, and other
    workers know theirs.

    Raises
    ------
    InputError
        When these contradict each other.
    """

    scheduler: str | None = None
    slurm: bool = False
    workers: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            number = getattr(self, name)
            if number is not None and (isinstance(number, bool) or not 1 <= number <= 10_000):
                raise InputError(
                    f"{name} must be a whole number from 1 to 10000, received {number!r}; "
                    "correct it."
                )
        if self.scheduler is not None and self.slurm:
            raise InputError(
                "works are done at a scheduler or on jobs of Slurm, received both; leave one out."
            )
        if self.scheduler is not None and self.workers is not None:
            raise InputError(
                "a scheduler knows its workers, received a number of workers as well; leave "
                "option workers out."
            )

    def shared(self, works: int) -> tuple[int, int]:
        """Workers on this machine for so many works, and the threads of each: together they are
        the cores."""
        cores = available()
        workers = self.workers or max(1, min(cores, works))
        return workers, self.threads or max(1, cores // workers)


def require(where: Where) -> None:
    """Raise MissingDependencyError unless Dask, and what ``where`` needs, is installed."""
    _imported("distributed", "many scans need the package distributed", DASK)
    if where.slurm:
        _imported("dask_jobqueue", "jobs of Slurm need the package dask-jobqueue", JOBQUEUE)


def _imported(package: str, need: str, remedy: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"{need}, received an installation without it ({brief(error, 80)}); run: {remedy}."
        ) from error


class Crew:
    """Workers that are ready; see :func:`crew`."""

    def __init__(self, client: Any, station: str) -> None:
        self._client, self._station = client, station

    @property
    def size(self) -> int:
        """How many workers there are, at least one."""
        return max(1, len(self._client.nthreads()))

    def done(
        self,
        works: Sequence[Any],
        stopped: Callable[[], bool],
    ) -> Iterator[tuple[int, Any]]:
        """The number of each work with its result, or with the exception that it ended in, as they
        come. No more works are given out than there are workers, so that each of them is warm and
        none waits behind another; they are left when ``stopped``.
        """
        stations = importlib.import_module("ptychopinn.machine.stations")
        waiting, pending = list(range(len(works)))[::-1], dict[int, Any]()
        finished: Queue[int] = Queue()
        looked, workers = -LOOKS_EVERY_S, 1
        while waiting or pending:
            now = time.monotonic()
            if now - looked >= LOOKS_EVERY_S:
                workers, looked = self.size, now
            while waiting and len(pending) < workers:
                number = waiting.pop()
                future = self._client.submit(
                    stations.worked, self._station, works[number], pure=False
                )
                pending[number] = future
                future.add_done_callback(lambda _, number=number: finished.put(number))
            with suppress(Empty):
                number = finished.get(timeout=LOOKS_EVERY_S)
                yield number, _result(pending.pop(number))
            if stopped():
                return


def _result(future: Any) -> Any:
    """What a task gave, or the exception that it ended in."""
    try:
        error = future.exception()
    except Exception as gone:  # noqa: BLE001  # of a connection, or cancelled with it
        error = gone
    if error is None:
        return future.result()
    if type(error).__name__ == "KilledWorker":
        return InputError(
            f"a worker must live as long as its scan takes, received {DEATHS + 1} that were killed "
            "at this one, perhaps for lack of memory; use fewer workers, or fewer or smaller "
            "patterns."
        )
    if type(error).__name__ in ("FutureCancelledError", "CancelledError", "CommClosedError"):
        return InputError(
            "the scheduler must be there until the last scan is done, received a connection that "
            "was lost; start the same again, what is finished is kept."
        )
    return error


@contextmanager
def crew(
    where: Where, make: Callable[[int], Callable[[Any], Any]], works: int, folder: Path
) -> Iterator[Crew]:
    """Workers that are ready inside the block, and end with it when they were started for it.

    ``make`` is called once on every worker, with its number of threads, and gives what is called
    with every work; ``works`` are how many there will be, and ``folder`` takes what workers of this
    machine write beside.

    Raises
    ------
    InputError
        When the scheduler cannot be reached, or Slurm is not configured.
    MissingDependencyError
        When a package is not installed.
    """
    require(where)
    distributed = importlib.import_module("distributed")
    dask = importlib.import_module("dask")
    stations = importlib.import_module("ptychopinn.machine.stations")
    threads, how = where.threads, {"timeout": CONNECT_S, "set_as_default": False}
    with ExitStack() as stack:
        if where.slurm:
            address: Any = stack.enter_context(_slurm(where))
        elif where.scheduler is not None:
            address = where.scheduler
            if Path(address).is_file():
                how["scheduler_file"], address = address, None
        else:
            _require_text(folder)
            workers, threads = where.shared(works)
            stack.enter_context(_environment())
            options = {
                "distributed.nanny.pre-spawn-environ": dict.fromkeys(THREADS_OF, threads),
                "distributed.worker.use-file-locking": False,
                "distributed.scheduler.allowed-failures": DEATHS,
            }
            for name in THREADS_OF:
                # What is in the environment would count more.
                os.environ[name] = str(threads)
            stack.enter_context(dask.config.set(options))
            address = stack.enter_context(_local(distributed, workers, folder))
        own = where.scheduler is None and not where.slurm
        try:
            client = stack.enter_context(distributed.Client(address, **how))
        except (OSError, TimeoutError, ValueError, KeyError) as error:
            raise InputError(
                f"a scheduler of Dask must answer at '{where.scheduler}', received: "
                f"{brief(error)}; check the address, or start one with: dask scheduler."
            ) from error
        station = stations.Station(make, threads, own)
        _place(client, station)
        try:
            yield Crew(client, station.name)
        finally:
            if not own:
                client.unregister_worker_plugin(station.name)


def _local(distributed: Any, workers: int, folder: Path) -> Any:
    """Worker processes of this machine."""
    try:
        return distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            # Nobody else is to see it, and a second batch has its own.
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            local_directory=str(folder),
            silence_logs=60,
        )
    except RuntimeError as error:
        raise InputError(
            f"{workers} workers must start on this machine, received: {brief(error)}; use fewer "
            "of them, and look at the memory that is left."
        ) from error


def _require_text(folder: Path) -> None:
    """Raise InputError unless Dask can tell workers the name of the folder."""
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"workers need a folder whose name is text in UTF-8, received '{brief(folder)}'; "
            "choose another one."
        ) from error


def _place(client: Any, station: Any) -> None:
    """Put the station on every worker there is; those that come get it from the scheduler.

    A worker may die right then: the one that takes its place is asked again.
    """
    for left in reversed(range(DEATHS + 1)):
        try:
            client.register_plugin(station, name=station.name)
        except OSError as error:
            if not left:
                raise InputError(
                    "workers must live until they have what they need, received some that died: "
                    f"{brief(error)}; start the same again, and look at the memory that is left."
                ) from error
        else:
            return


@contextmanager
def _environment() -> Iterator[None]:
    """What Dask changes in the environment of this process is as it was after the block."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _slurm(where: Where) -> Iterator[Any]:
    """Jobs as dask-jobqueue submits them; what a job asks for is in its configuration."""
    jobqueue = importlib.import_module("dask_jobqueue")
    try:
        cluster = jobqueue.SLURMCluster()
    except (ValueError, OSError, RuntimeError) as error:
        raise InputError(
            "dask-jobqueue must know what a job of Slurm asks for, received: "
            f"{brief(error)}; write cores, memory and walltime into the section jobqueue, slurm of "
            "~/.config/dask/jobqueue.yaml."
        ) from error
    with cluster:
        cluster.scale(jobs=where.workers or 1)
        yield cluster
