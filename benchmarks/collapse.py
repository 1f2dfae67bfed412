"""Does the default recipe of the patch network collapse?

python benchmarks/collapse.py --N 64 --gridsize 2 --patterns 625 --epochs 5

Several seeds for one N and one gridsize. "explained" is the share of the structure in held-out
patterns that the object explains: 0 for a flat object, 1 for a perfect one.
"""

from __future__ import annotations

import ptychopinn as pp
from common import Clock, arguments, l9, report
from ptychopinn.errors import TrainingError


def main() -> None:
    o = arguments(__doc__, N=64, gridsize=1, patterns=625, epochs=5, seeds=3, first_seed=0)
    scan = l9(1, o.patterns, N=o.N, photons=1e6, step_px=6.2 * o.N / 64)
    rows = []
    for seed in range(o.first_seed, o.first_seed + o.seeds):
        config = pp.Config(
            model={"architecture": "cnn", "gridsize": o.gridsize},
            training={"epochs": o.epochs, "seed": seed},
        )
        clock = Clock()
        row = {"N": o.N, "gridsize": o.gridsize, "epochs": o.epochs, "seed": seed}
        try:
            metrics = pp.train(scan, config).manifest.metrics
            row |= {
                "collapsed": "no",
                "explained": metrics["explained"],
                "correlation": metrics["correlation"],
                "object variation": metrics["object_std"],
            }
        except TrainingError as error:
            row |= {"collapsed": str(error), "explained": "-", "correlation": "-"}
            row |= {"object variation": "-"}
        row["CPU s"] = clock.read()[1]
        rows.append(row)
        report(f"collapse_{o.N}_{o.gridsize}", o.out, rows)


if __name__ == "__main__":
    main()
