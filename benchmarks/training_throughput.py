"""How many patterns per second does training process?

python benchmarks/training_throughput.py --N 64 --backend pytorch

The first steps are left out: they warm the framework up, and TensorFlow builds its graph in them.
"""

from __future__ import annotations

import time
from itertools import pairwise
from statistics import median

import ptychopinn as pp
from common import arguments, l9, peak_rss_gib, report
from ptychopinn.contracts import Silent

WARM_UP = 2


class Stopwatch(Silent):
    """When every step ended: wall and CPU seconds."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def step(self, loss: float, patterns_per_s: float) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())


def main() -> None:
    o = arguments(__doc__, N=64, steps=20, backend="pytorch")
    scan = l9(1, 900, N=o.N)
    rows = []
    for name, model, groups, per_group in (
        ("unrolled", {"architecture": "unrolled"}, o.steps, 100),
        ("cnn, gridsize 1", {"architecture": "cnn"}, 16 * o.steps, 1),
        ("cnn, gridsize 2", {"architecture": "cnn", "gridsize": 2}, 16 * o.steps, 4),
    ):
        config = pp.Config(
            model=model,
            data={"n_groups": groups, "enable_oversampling": True, "validation_fraction": 0.0},
            training={"epochs": 1},
        )
        watch = Stopwatch()
        pp.train(scan, config, backend=o.backend, probe_check=False, progress=watch)
        wall, cpu = watch.wall[WARM_UP:], watch.cpu[WARM_UP:]
        step = median(b - a for a, b in pairwise(wall))
        rows.append(
            {
                "network": name,
                "backend": o.backend,
                "N": o.N,
                "step ms (median)": 1e3 * step,
                "patterns/s": groups * per_group / o.steps / step,
                "CPU s / wall s": (cpu[-1] - cpu[0]) / (wall[-1] - wall[0]),
                "peak RSS GiB": peak_rss_gib(),
            }
        )
    report(f"training_throughput_{o.backend}_{o.N}", o.out, rows)


if __name__ == "__main__":
    main()
