"""A solver that a signal stops."""

from __future__ import annotations

from collections.abc import Mapping

from ptychopinn.contracts import Canvas, Progress, Solved, Solver
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.machine.interruption import Interrupted, StopFlag, Stopped


class _Stopping:
    """A progress that stops the solver when a signal has come."""

    def __init__(self, progress: Progress, stop: StopFlag) -> None:
        self._progress, self._stop = progress, stop

    def epoch(self, number: int, steps: int) -> None:
        self._progress.epoch(number, steps)

    def step(self, loss: float, patterns_per_s: float) -> None:
        self._progress.step(loss, patterns_per_s)
        self._stop.check()

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        self._progress.epoch_done(number, metrics)


def until_stopped(
    solver: Solver,
    scan: PreparedScan,
    start: Canvas | None,
    progress: Progress,
    stop: StopFlag,
) -> Solved:
    """What the solver finds until it ends, or until ``stop`` is set."""
    last = None
    try:
        for step in solver.run(scan, start, _Stopping(progress, stop)):
            last = step
            # From now on there is something to save.
            stop.gentle = True
            if stop.signal is not None:
                break
    except Stopped:
        pass
    if last is None:
        raise Interrupted(stop.signal or 0)
    return last.result()
