"""Batches worked on side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ptychopinn.machine.workers import ALONE, MOST_WORKERS, Workers


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_with_their_batches_in_order(count: int) -> None:
    def work(batch: int) -> int:
        time.sleep(0.002 * (batch % 3))  # later ones may be done first
        return batch**2

    with Workers(count) as workers:
        assert list(workers.each(work, range(20))) == [(k, k**2) for k in range(20)]


def test_two_workers_work_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=30)
    with Workers(2) as workers:
        # Alone, either would wait for the other until the barrier breaks.
        assert len(list(workers.each(lambda _: meeting.wait(), range(4)))) == 4


@pytest.mark.parametrize("count", [1, 2])
def test_few_batches_are_held_at_a_time(count: int) -> None:
    taken = 0

    def batches() -> Iterator[int]:
        nonlocal taken
        while taken < 100:
            taken += 1
            yield taken

    with Workers(count) as workers:
        for done, _ in workers.each(lambda batch: batch, batches()):
            assert taken - done <= count


def test_a_batch_is_worked_on_inside_of_the_context() -> None:
    local = threading.local()

    @contextmanager
    def inside() -> Iterator[None]:
        local.inside = True
        yield
        local.inside = False

    with Workers(2, inside) as workers:
        assert all(found for _, found in workers.each(lambda _: local.inside, range(6)))


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_in_a_batch_reaches_the_caller_and_the_threads_end(count: int) -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), Workers(count) as workers:
        list(workers.each(lambda batch: 1 / (3 - batch), range(10)))
    assert threading.active_count() == before


def test_a_single_worker_is_the_caller() -> None:
    caller = threading.get_ident()
    assert [found for _, found in ALONE.each(lambda _: threading.get_ident(), range(2))] == [
        caller,
        caller,
    ]
    with Workers(100) as workers:
        threads = {found for _, found in workers.each(lambda _: threading.get_ident(), range(99))}
    assert caller not in threads and len(threads) <= MOST_WORKERS


def test_the_caller_shares_nothing_out_beside_workers() -> None:
    """An operation of PyTorch that it shared out would wait for a thread that has no core."""
    torch = pytest.importorskip("torch")
    from ptychopinn.ops.options import TorchExecution
    from ptychopinn.ops.torch import TorchOps

    for threads, beside in ((2, 1), (1, 1)):
        xp = TorchOps(TorchExecution(threads=threads, accelerator="cpu"))
        before = torch.get_num_threads()
        with xp.computing():
            assert torch.get_num_threads() == threads
            found = [(torch.get_num_threads(), x) for _, x in xp.each(lambda k: k, range(3))]
            assert found == [(beside, 0), (beside, 1), (beside, 2)]
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == before
