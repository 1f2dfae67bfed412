"""How many patterns per second does a trained network reconstruct, and in how much memory?

python benchmarks/inference_throughput.py --architecture unrolled --backend pytorch
"""

from __future__ import annotations

from statistics import median

import ptychopinn as pp
from common import Clock, arguments, l9, peak_rss_gib, report


def main() -> None:
    o = arguments(
        __doc__, architecture="unrolled", backend="pytorch", patterns=900, N=64, repeats=5
    )
    scan = l9(2, o.patterns, N=o.N)
    # The weights do not matter for the speed: one short epoch.
    config = pp.Config(
        model={"architecture": o.architecture},
        data={"n_groups": 4},
        training={"epochs": 1},
    )
    model = pp.train(scan, config, backend=o.backend)
    network, total = [], []
    for _ in range(o.repeats):
        clock = Clock()
        done = pp.reconstruct(scan, model, backend=o.backend)
        total.append(clock.read()[0])
        network.append(done.seconds["network"])
    row = {
        "architecture": o.architecture,
        "backend": o.backend,
        "N": o.N,
        "patterns": o.patterns,
        "network s (median)": median(network),
        "patterns/s network": o.patterns / median(network),
        "with misfit s": median(total),
        "patterns/s in all": o.patterns / median(total),
        "peak RSS GiB": peak_rss_gib(),
    }
    report(f"inference_{o.architecture}_{o.backend}_{o.N}", o.out, [row])


if __name__ == "__main__":
    main()
