"""How many threads to compute with: the cores that other processes leave free.

Threads of one operation wait for each other. Where another process holds a core, the thread on it
comes late and the others wait, spinning or asleep; one thread less is then faster, up to three
times with two cores.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

# How long the machine is looked at (s) before a beginning, and at least between two looks.
LOOK_S, AGAIN_S = 0.03, 0.1
#: Whoever sets this number of threads has decided.
DECIDED = "OMP_NUM_THREADS"

_STAT, _LOADAVG = Path("/proc/stat"), Path("/proc/loadavg")
_QUOTAS = Path("/sys/fs/cgroup")


def available() -> int:
    """Cores that this process may use: by its affinity and the quota of its container."""
    quota = _quota()
    return len(cores()) if quota is None else max(1, min(len(cores()), math.ceil(quota)))


def usual(most: int) -> int:
    """The number of threads on a free machine for a framework that would take ``most``."""
    return most if DECIDED in os.environ else max(1, min(most, available()))


def chosen() -> int:
    """The number of threads for a library that does not know ``OMP_NUM_THREADS`` itself."""
    asked = os.environ.get(DECIDED, "")
    return min(int(asked), available()) if asked.isdecimal() and int(asked) > 0 else available()


class Threads:
    """The number of threads to compute with, looked at anew as often as wanted.

    Parameters
    ----------
    most : the number on a free machine.
    asked : what the user asked for; it is taken without looking.
    """

    def __init__(self, most: int, asked: int | None = None) -> None:
        self.number = usual(most) if asked is None else asked
        self._most = self.number
        # With one thread there is nothing to choose.
        fixed = asked is not None or DECIDED in os.environ or self._most == 1
        self._before = None if fixed else _look()
        if self._before is not None and _others_run():
            time.sleep(LOOK_S)
            self._decide()

    def look(self) -> int:
        """The number for what is computed next; nearly free, to be called now and then."""
        if self._before is not None and time.perf_counter() - self._before[0] >= AGAIN_S:
            self._decide()
        return self.number

    def _decide(self) -> None:
        before, now = self._before, _look()
        self._before = now
        if before is None or now is None:
            return
        elapsed, busy, own = (b - a for a, b in zip(before, now, strict=True))
        others = max(0.0, (busy - own) / elapsed)
        self.number = max(1, min(self._most, len(cores()) - round(others)))


def cores() -> set[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _look() -> tuple[float, float, float] | None:
    """Now, and the seconds that all processes and this one have kept the cores busy so far; None
    where the system does not tell."""
    try:
        lines = _STAT.read_text().splitlines()
        tick = os.sysconf("SC_CLK_TCK")
        mine, busy = cores(), 0
        for line in lines:
            name, *numbers = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in mine:
                # user, nice, system, (idle, waiting,) interrupts
                busy += sum(int(numbers[k]) for k in (0, 1, 2, 5, 6))
    except (OSError, ValueError, IndexError):
        return None
    if busy == 0:
        return None
    return time.perf_counter(), busy / tick, time.process_time()


def _others_run() -> bool:
    """Whether more than this thread wants to run right now; True where the system does not tell."""
    try:
        return int(_LOADAVG.read_text().split()[3].partition("/")[0]) > 1
    except (OSError, ValueError, IndexError):
        return True


def _quota() -> float | None:
    """Cores of time that the container may use, None without a limit."""
    try:
        limit, period = (_QUOTAS / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit = (_QUOTAS / "cpu/cpu.cfs_quota_us").read_text()
        period = (_QUOTAS / "cpu/cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError):
        return None
