"""Train a network on one scan, without its object, and compare it on another scan.

python examples/train_and_compare.py [MODEL.zip]

The network of the package is trained further on patterns of your instrument; both, and plain
physics iterations, then reconstruct a scan that none of them saw. The scans are small and there is
one short epoch, so that it takes seconds and not minutes.
"""

from __future__ import annotations

import sys

import ptychopinn as pp


def main(model_file: str = "model.zip") -> None:
    train_on = pp.simulate(object="lines", patterns=196, photons=1e5, seed=1)
    unseen = pp.simulate(object="lines", patterns=196, photons=1e5, seed=2)

    config = pp.Config(
        model={"architecture": "unrolled"},
        data={"n_groups": 10},
        training={"epochs": 1, "learning_rate": 1e-4},
    )
    model = pp.train(train_on, config, start="pretrained")
    model.save(model_file)

    results = {
        "pretrained": pp.reconstruct(unseen),
        "trained further": pp.reconstruct(unseen, model),
        "iterations alone": pp.refine(unseen, None, pp.RefineConfig(passes=12)),
    }
    for name, result in results.items():
        scores = pp.evaluate(result, truth=unseen).metrics
        residual = result.fit.residual
        print(f"{name:18s} phase {scores['phase_psnr_db']:5.1f} dB, residual {residual:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
