"""A solver that a signal stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ptychopinn.contracts import (
    Canvas,
    Follows,
    Glance,
    Glimpses,
    Progress,
    Solved,
    Solver,
    Step,
)
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.machine.interruption import Interrupted, StopFlag, Stopped
from ptychopinn.ops.base import Ops
from ptychopinn.ops.numpy import NumpyOps


class _Stopping:
    """A progress that stops the solver when a signal has come, to any of the processes that work
    together."""

    def __init__(self, progress: Progress, stop: StopFlag, xp: Ops) -> None:
        self._progress, self._stop, self._xp = progress, stop, xp

    def epoch(self, number: int, steps: int) -> None:
        self._progress.epoch(number, steps)

    def step(self, loss: float, patterns_per_s: float) -> None:
        self._progress.step(loss, patterns_per_s)
        if self._xp.totals([np.array([float(self._stop.signal is not None)])])[0][0]:
            raise Stopped

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        self._progress.epoch_done(number, metrics)

    def meanwhile(self, number: int, share: float, glance: Callable[[], Glance]) -> None:
        if isinstance(self._progress, Glimpses) and self._xp.ranks.size == 1:
            self._progress.meanwhile(number, share, glance)


def operations_of(solver: Solver) -> Ops:
    """Those that a solver works with; some that share no work where it has none."""
    found: Ops | None = getattr(solver, "xp", None)
    return NumpyOps() if found is None else found


def until_stopped(
    solver: Solver,
    scan: PreparedScan,
    start: Canvas | None,
    progress: Progress,
    stop: StopFlag,
    enough: Callable[[Step], bool] = lambda step: False,
) -> Solved:
    """What the solver finds until it ends, until ``stop`` is set, or until a pass is ``enough``,
    which must be alike in all processes. Those that torchrun started share its work.

    Raises
    ------
    Interrupted
        When it was stopped before a pass was finished.
    InputError
        When there are other processes and the solver cannot share its work.
    """
    last, xp = None, operations_of(solver)
    with xp.together():
        try:
            for step in solver.run(scan, start, _Stopping(progress, stop, xp)):
                last = step
                # From now on there is something to save.
                stop.gentle = True
                if isinstance(progress, Follows) and xp.ranks.size == 1:
                    progress.found(step)
                if enough(step) or (stop.signal is not None and xp.ranks.size == 1):
                    break
        except Stopped:
            pass
        if last is None:
            raise Interrupted(stop.signal or 0)
        return last.result()


def followed_through(
    solver: Solver, scan: PreparedScan, progress: Progress, start: Canvas | None = None
) -> Solved:
    """What the solver finds in the end; who follows sees every pass.

    Raises
    ------
    InputError
        As :meth:`ptychopinn.contracts.Solver.run`.
    """
    last, xp = None, operations_of(solver)
    for step in solver.run(scan, start, progress):
        last = step
        if isinstance(progress, Follows) and xp.ranks.size == 1:
            progress.found(step)
    assert last is not None  # every solver makes at least one pass
    return last.result()
