"""Independent work, like trials of several probes, side by side on the cores of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from queue import SimpleQueue
from typing import TypeVar

from ptychopinn.machine.workers import MOST_WORKERS, Workers
from ptychopinn.ops.base import Ops

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    xp: Ops, work: Callable[[Ops, Item], Result], items: Iterable[Item]
) -> list[Result]:
    """What ``work(operations, item)`` makes of each item, in their order; of those that an
    iterator makes few are held at a time.

    Small fits leave most cores idle: their operations are too short to be shared. Each of those
    that run at a time has operations of its own (:meth:`Ops.apart`); an error of one of them is
    raised once the others have ended.
    """
    most = len(items) if isinstance(items, Sized) else MOST_WORKERS
    several = xp.apart(most) if most > 1 else [xp]
    if len(several) < 2:
        return [work(xp, item) for item in items]
    free: SimpleQueue[Ops] = SimpleQueue()
    for operations in several:
        free.put(operations)

    def alone(item: Item) -> Result:
        operations = free.get()
        try:
            return work(operations, item)
        finally:
            free.put(operations)

    with Workers(len(several)) as workers:
        return [found for _, found in workers.each(alone, items)]
