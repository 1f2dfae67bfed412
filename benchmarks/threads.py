"""One thread, all threads and the automatic number, alone and beside a busy process.

    python benchmarks/threads.py [--backend pytorch] [--rounds 5] [--quick]

For the network, plain physics iterations and the check of the fit, at N = 64 and 128, in turns, so
that a change of the machine meets all three. The last column is the automatic number against the
better of the other two; the aim is at most 1.15. Each number
has a process of its own, which computes when it is asked to, because TensorFlow takes its number
of threads once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

# As the commands do, before a numerical library is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import ptychopinn as pp
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.machine.threads import available
from ptychopinn.ops.options import Execution, TFExecution, TorchExecution
from ptychopinn.solvers.configs import PhysicsConfig

MODES = ("one", "all", "automatic")
THREADS = {"one": 1, "all": available(), "automatic": None}


@contextmanager
def beside(busy: bool) -> Iterator[None]:
    """With a process that keeps one core busy inside the block, or without."""
    if not busy:
        yield
        return
    # It ends with this process, whatever ends that.
    program = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    process = subprocess.Popen([sys.executable, "-c", program])
    time.sleep(0.5)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def works(n: int, patterns: int, execution: Execution) -> dict[str, Callable[[], object]]:
    """What is timed."""
    scan = pp.simulate(N=n, patterns=patterns, photons=1e5, seed=1)
    result = pp.reconstruct(scan, "pretrained", execution=execution)
    passes = PhysicsConfig(passes=10, stagnation=0)
    return {
        "network": lambda: pp.reconstruct(scan, "pretrained", execution=execution),
        "refine": lambda: pp.refine(scan, None, passes, execution=execution),
        "misfit": lambda: misfit(result, scan),
    }


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(backend: str, mode: str, n: int, patterns: int, task: str) -> None:
    """Serve one task: a time for every line on standard input. ``misfit`` takes its threads from
    the cores that it may use."""
    if task == "misfit" and mode == "one":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    execution: Execution = TorchExecution(threads=THREADS[mode])
    if backend == "tensorflow":
        # The automatic number as commands have it that never train.
        execution = TFExecution(threads=THREADS[mode], side_by_side=mode == "automatic")
    work = works(n, patterns, execution)[task]
    work()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(timed(work), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=["pytorch", "tensorflow"], default="pytorch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small scans")
    parser.add_argument("--serve", nargs=4, metavar=("MODE", "N", "PATTERNS", "TASK"))
    o = parser.parse_args()
    if o.serve:
        mode, n, patterns, task = o.serve
        measure(o.backend, mode, int(n), int(patterns), task)
        return
    print(f"{o.backend}, {available()} cores; seconds, median of {o.rounds}")
    print(f"{'':28}" + "".join(f"{mode:>11}" for mode in MODES) + f"{'ratio':>8}")
    for n, patterns in ((64, 100), (128, 64)) if o.quick else ((64, 900), (128, 400)):
        for task in ("network", "refine", "misfit"):
            served = [serve(o.backend, mode, n, patterns, task) for mode in MODES]
            for busy in (False, True):
                times: dict[str, list[float]] = {mode: [] for mode in MODES}
                with beside(busy):
                    for _ in range(o.rounds):
                        for mode, process in zip(MODES, served, strict=True):
                            times[mode].append(ask(process))
                one, every, automatic = (median(times[mode]) for mode in MODES)
                name = f"{task}, N = {n}, {'busy' if busy else 'alone'}"
                ratio = automatic / min(one, every)
                print(f"{name:28}{one:11.3f}{every:11.3f}{automatic:11.3f}{ratio:8.2f}")
            for process in served:
                process.communicate()


def serve(backend: str, mode: str, n: int, patterns: int, task: str) -> subprocess.Popen[str]:
    asked = ["--serve", mode, str(n), str(patterns), task]
    process = subprocess.Popen(
        [sys.executable, __file__, "--backend", backend, *asked],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"the process for {task} with {mode} thread(s) ended early")
    return process


def ask(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


if __name__ == "__main__":
    main()
