"""Trials side by side: as each alone gives, on operations of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.trial_fits import residuals_of
from ptychopinn.data.scan import Scan
from ptychopinn.machine.workers import MOST_WORKERS
from ptychopinn.ops.base import Ops
from ptychopinn.ops.options import NumpyExecution, TorchExecution
from ptychopinn.ops.selector import BackendName, choose, get_ops
from ptychopinn.ops.side_by_side import side_by_side


def threaded(count: int) -> Ops:
    return get_ops("numpy", NumpyExecution(threads=count))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_are_in_the_order_of_the_items(count: int) -> None:
    def work(xp: Ops, item: int) -> int:
        time.sleep(0.002 * (item % 3))  # later ones may be done first
        return item**2

    assert side_by_side(threaded(count), work, range(20)) == [k**2 for k in range(20)]
    assert side_by_side(threaded(count), work, iter(range(20))) == [k**2 for k in range(20)]
    assert side_by_side(threaded(count), work, []) == []


def test_two_run_at_a_time_each_with_operations_of_its_own() -> None:
    meeting, used, guard = threading.Barrier(2, timeout=30), list[int](), threading.Lock()

    def work(xp: Ops, item: int) -> int:
        with guard:
            assert id(xp) not in used
            used.append(id(xp))
        meeting.wait()  # alone, either would wait until the barrier breaks
        with guard:
            used.remove(id(xp))
        return xp.threads

    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    xp = get_ops("pytorch", TorchExecution(threads=2, accelerator="cpu"))
    assert side_by_side(xp, work, range(6)) == [2] * 6
    assert torch.get_num_threads() == before


def test_threads_are_shared_out_and_those_within_work_alone() -> None:
    within = list[tuple[int, int]]()

    def work(xp: Ops, item: int) -> None:
        inner = set[int]()
        side_by_side(xp, lambda xp, item: inner.add(threading.get_ident()), range(4))
        within.append((xp.threads, len(inner | {threading.get_ident()})))

    side_by_side(threaded(2), work, range(4))
    assert within == [(1, 1)] * 4
    assert [xp.threads for xp in threaded(6).apart(3)] == [2, 2, 2]
    assert len(threaded(100).apart(1000)) == MOST_WORKERS


def test_few_of_what_an_iterator_makes_are_held() -> None:
    made, done = 0, 0

    def items() -> Iterator[int]:
        nonlocal made
        for k in range(40):
            made += 1
            assert made - done <= 5
            yield k

    def work(xp: Ops, item: int) -> None:
        nonlocal done
        done += 1

    side_by_side(threaded(2), work, items())
    assert done == 40


def test_an_error_reaches_the_caller_and_the_threads_end() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        side_by_side(threaded(2), lambda xp, k: 1 / (3 - k), range(10))
    assert threading.active_count() == before


def test_processes_that_share_a_scan_do_not_share_out_trials() -> None:
    """Each would exchange sums in an order of its own."""
    pytest.importorskip("torch")
    from ptychopinn.machine.ranks import Ranks

    xp = get_ops("pytorch", TorchExecution(threads=2, accelerator="cpu"))
    xp.ranks = Ranks(0, 2)
    assert xp.apart(4) == [xp]


@pytest.fixture(scope="module")
def parts() -> list[Scan]:
    scan = pp.simulate(N=32, patterns=20, photons=1e5, seed=1)
    moved = np.random.default_rng(0).normal(0, 1, (5, 20, 2))
    return [replace(scan, positions_px=scan.positions_px + one, object=None) for one in moved]


@pytest.mark.parametrize("backend", ["pytorch", "tensorflow", "numpy"])
def test_trials_leave_what_each_leaves_alone(
    backend: BackendName, parts: list[Scan], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"pytorch": "torch"}.get(backend, backend))
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "2")
    options: dict[str, Any] = {} if backend == "tensorflow" else {"threads": 2}
    name, execution = choose(backend)
    xp = get_ops(name, execution.model_copy(update=options))
    assert len(xp.apart(5)) == 2
    together = residuals_of(xp, parts, 4)
    alone = [residuals_of(xp, [part], 4)[0] for part in parts]
    assert together == pytest.approx(alone, rel=1e-5)
    assert len(set(together)) == 5


def test_a_function_is_traced_once_for_threads_that_need_it_at_a_time() -> None:
    pytest.importorskip("tensorflow")
    xp = get_ops(*choose("tensorflow"))
    traced = list[int]()

    def doubled(xp: Ops, x: Any) -> Any:
        traced.append(threading.get_ident())
        time.sleep(0.05)
        return 2 * x

    meeting = threading.Barrier(3, timeout=30)

    def work(found: list[float]) -> None:
        meeting.wait()
        found.append(float(xp.to_numpy(xp.call(doubled, xp.asarray(np.float32(3))))))

    found = list[float]()
    threads = [threading.Thread(target=work, args=(found,)) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [6.0] * 3 and len(traced) == 1
