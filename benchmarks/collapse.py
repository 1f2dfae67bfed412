"""Does the default recipe of the patch network collapse?

N = 64 and 128, gridsize 1 and 2, three seeds.

python benchmarks/collapse.py --groups 512 --epochs 6

"explained" is the share of the structure in held-out patterns that the object explains: 0 for a
flat object, 1 for a perfect one.
"""

from __future__ import annotations

import ptychopinn as pp
from common import Clock, arguments, l9, report
from ptychopinn.errors import TrainingError


def main() -> None:
    o = arguments(__doc__, groups=512, epochs=6, seeds=3)
    rows = []
    for n in (64, 128):
        scan = l9(1, 625, N=n, photons=1e6, step_px=6.2 * n / 64)
        for gridsize in (1, 2):
            for seed in range(o.seeds):
                config = pp.Config(
                    model={"architecture": "cnn", "gridsize": gridsize},
                    data={"n_groups": o.groups},
                    training={"epochs": o.epochs, "seed": seed},
                )
                clock = Clock()
                row = {"N": n, "gridsize": gridsize, "seed": seed}
                try:
                    metrics = pp.train(scan, config).bundle.manifest.metrics
                    row |= {
                        "collapsed": "no",
                        "explained": metrics["explained"],
                        "correlation": metrics["correlation"],
                        "object variation": metrics["object_std"],
                    }
                except TrainingError as error:
                    row |= {"collapsed": str(error), "explained": "-", "correlation": "-"}
                    row |= {"object variation": "-"}
                row["wall s"] = clock.read()[0]
                rows.append(row)
                report("collapse", o.out, rows)


if __name__ == "__main__":
    main()
