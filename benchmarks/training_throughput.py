"""How many patterns per second does training process?

python benchmarks/training_throughput.py --N 64
"""

from __future__ import annotations

import ptychopinn as pp
from common import Clock, arguments, l9, peak_rss_gib, report


def main() -> None:
    o = arguments(__doc__, N=64, steps=20)
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
        pp.train(scan, config, probe_check=False)
        clock = Clock()
        model_done = pp.train(scan, config, probe_check=False)
        wall, cpu = clock.read()
        rows.append(
            {
                "network": name,
                "N": o.N,
                "step ms": 1e3 * model_done.seconds / o.steps,
                "patterns/s": groups * per_group / model_done.seconds,
                "CPU s / wall s": cpu / wall,
                "peak RSS GiB": peak_rss_gib(),
            }
        )
    report(f"training_throughput_{o.N}", o.out, rows)


if __name__ == "__main__":
    main()
