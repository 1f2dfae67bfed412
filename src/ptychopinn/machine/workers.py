"""Batches of patterns worked on side by side, by a few threads of one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, TypeVar

Batch = TypeVar("Batch")
Result = TypeVar("Result")

# More threads of Python hinder each other.
MOST_WORKERS = 8


class Workers:
    """``count`` threads, at most ``MOST_WORKERS``; a single one is the caller's own.

    A batch is worked on inside of the context ``inside``, for what a framework keeps per thread.
    Leaving the context of the workers ends the threads.
    """

    def __init__(
        self, count: int, inside: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> None:
        self._count, self._inside = min(count, MOST_WORKERS), inside
        self._pool = ThreadPoolExecutor(self._count, "patterns") if self._count > 1 else None

    @property
    def several(self) -> bool:
        """Whether batches are worked on beside the caller."""
        return self._pool is not None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(
        self, work: Callable[[Batch], Result], batches: Iterable[Batch]
    ) -> Iterator[tuple[Batch, Result]]:
        """Every batch with what ``work`` makes of it.

        They come in their order, so that sums of the results do not depend on the number of
        threads, and few are held at a time.
        """
        if self._pool is None:
            for batch in batches:
                yield batch, work(batch)
            return

        def inside(batch: Batch) -> Result:
            with self._inside():
                return work(batch)

        begun: deque[tuple[Batch, Future[Result]]] = deque()
        for batch in batches:
            begun.append((batch, self._pool.submit(inside, batch)))
            if len(begun) > self._count:
                first, result = begun.popleft()
                yield first, result.result()
        for first, result in begun:
            yield first, result.result()


ALONE = Workers(1)
