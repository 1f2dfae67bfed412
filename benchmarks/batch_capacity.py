"""How much of the cores a batch of scans uses.

    python benchmarks/batch_capacity.py [--scans 24] [--patterns 900] [--workers 2]

The same scans are worked on twice: one after another by one warm worker with one thread in this
process, and by ``ptychopinn batch``. With W workers on as many free cores the command would take
the first time divided by W; the share of that is printed, with and without the start of the
command. Other programs on the machine lower it, so their share of the cores is printed too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import ptychopinn as pp
from ptychopinn.ops.options import TorchExecution
from ptychopinn.workflows.batch_orders import Order, Orders, digest_of
from ptychopinn.workflows.batch_work import Bench

ORDERS = Orders(
    verb="reconstruct", model="pretrained", model_digest=digest_of("pretrained"), refine="auto",
    config=None, modes=None, uncertainty=False, no_mend=(), reading={}, recipe=None,
    share="nothing", backend="pytorch", execution=TorchExecution(threads=1),
)  # fmt: skip


def busy() -> float:
    """Seconds that all processes have kept the cores busy so far."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return sum(numbers[k] for k in (0, 1, 2, 5, 6)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--patterns", type=int, default=900)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = pp.simulate(N=64, patterns=chosen.patterns, seed=1, object="leaves")
        paths = []
        for number in range(chosen.scans):
            path = folder / f"scan_{number:03d}.h5"
            pp.save_scan(replace(one, name=path.stem), path)
            paths.append(path)
        bench = Bench(ORDERS, 1)
        bench(Order(str(paths[0]), str(folder / "warm")))
        begun, cpu, all_before = time.perf_counter(), time.process_time(), busy()
        for path in paths:
            row = bench(Order(str(path), str(folder / "single" / path.stem)))
            assert row["error"] is None, row["error"]
        alone = time.perf_counter() - begun
        used = time.process_time() - cpu
        others = busy() - all_before - used
        print(
            f"one warm worker, one thread: {alone:.1f} s for {chosen.scans} scans, {used:.1f} s of "
            f"a core; others used {others / alone:.2f} cores"
        )
        before, begun, all_before = os.times(), time.perf_counter(), busy()
        line = [sys.executable, "-m", "ptychopinn", "batch", *map(str, paths), "-o",
                str(folder / "out"), "--workers", str(chosen.workers), "--quiet"]  # fmt: skip
        subprocess.run(line, check=True)
        wall = time.perf_counter() - begun
        after = os.times()
        own = after.children_user + after.children_system
        own -= before.children_user + before.children_system
        firsts = [(folder / "out" / p.stem / "run.json").stat().st_mtime for p in paths]
        ready = wall - (time.time() - min(firsts))
        steady = max(firsts) - min(firsts)
        print(
            f"ptychopinn batch, {chosen.workers} workers: {wall:.1f} s, the first result after "
            f"{ready:.1f} s, {own:.1f} s of a core; others used "
            f"{(busy() - all_before - own) / wall:.2f} cores"
        )
        share = alone / chosen.workers / wall
        rest = (chosen.scans - 1) / chosen.scans * alone / chosen.workers / steady
        print(
            f"share of the capacity, where no others ran: {share:.0%}, after the first result "
            f"{rest:.0%}; of the seconds of a core {used / own:.0%} are those of the single worker"
        )


if __name__ == "__main__":
    main()
