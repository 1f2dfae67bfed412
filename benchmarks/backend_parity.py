"""Do both backends train equally well? Same data, seeds and recipe, the last validation losses.

python benchmarks/backend_parity.py --architecture unrolled --epochs 4
"""

from __future__ import annotations

import ptychopinn as pp
from common import arguments, l9, report

BACKENDS = ("pytorch", "tensorflow")


def main() -> None:
    o = arguments(
        __doc__,
        architecture="unrolled",
        patterns=400,
        N=64,
        gridsize=1,
        epochs=4,
        groups=25,
        seeds=3,
    )
    scan = l9(1, o.patterns, N=o.N, photons=1e6)
    model = {"architecture": o.architecture}
    if o.architecture == "cnn":
        model |= {"gridsize": o.gridsize}
    rows = []
    for seed in range(o.seeds):
        config = pp.Config(
            model=model,
            data={"n_groups": o.groups},
            training={"epochs": o.epochs, "seed": seed},
        )
        trained = {b: pp.train(scan, config, backend=b) for b in BACKENDS}
        losses = [trained[b].history["val_loss"][-1][1] for b in BACKENDS]
        residuals = [trained[b].history["residual"][-1][1] for b in BACKENDS]
        rows.append(
            {
                "architecture": o.architecture,
                "seed": seed,
                **{f"val_loss {b}": loss for b, loss in zip(BACKENDS, losses, strict=True)},
                "difference %": 100 * abs(losses[1] - losses[0]) / abs(losses[0]),
                **{f"residual {b}": r for b, r in zip(BACKENDS, residuals, strict=True)},
                "seconds": " / ".join(f"{trained[b].seconds:.0f}" for b in BACKENDS),
            }
        )
    report(f"backend_parity_{o.architecture}", o.out, rows)


if __name__ == "__main__":
    main()
