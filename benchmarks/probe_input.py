"""Does a patch network that sees the probe do better under probes it was never trained with?

python benchmarks/probe_input.py --scans 24 --epochs 12

The same network, with and without ``probe_input``, is trained on simulated scans that each have an
object and a probe of their own, and used on others. As a reference, scans that it was trained on.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

import ptychopinn as pp
from common import Clock, arguments, report


def scan_of(number: int, n: int, patterns: int) -> pp.Scan:
    """Lines under a probe of this number; always the same."""
    rng = np.random.default_rng([7, number])
    while True:
        probe = {
            "diameter": rng.uniform(0.2, 0.6),
            "defocus": rng.choice((-1, 1)) * rng.uniform(0.15, 0.5),
            "astigmatism": rng.exponential(0.2),
            "probe_seed": int(rng.integers(2**31)),
        }
        try:
            return pp.simulate(
                N=n, patterns=patterns, photons=1e7, step_px=0.1 * n, seed=number, **probe
            )
        except pp.InputError:
            continue  # a probe that does not fit its array


def scores(scans: list[pp.Scan], model: pp.Model, o: Any) -> tuple[float, float]:
    """Medians of residual and phase score."""
    residuals, phases = [], []
    for scan in scans:
        result = pp.reconstruct(scan, model, backend=o.backend, refine="never", no_mend="all")
        assert result.fit is not None
        residuals.append(result.fit.residual)
        phases.append(pp.evaluate(result, truth=scan).metrics["phase_psnr_db"])
    return median(residuals), median(phases)


def main() -> None:
    o = arguments(
        __doc__, architecture="cnn", backend="pytorch", N=32, scans=24, patterns=60, unseen=6,
        epochs=12, seed=0, scale=0.5,
    )  # fmt: skip
    seen = [scan_of(k, o.N, o.patterns) for k in range(o.scans)]
    unseen = [scan_of(1000 + k, o.N, o.patterns) for k in range(o.unseen)]
    rows = []
    for probe_input in ("none", "channels"):
        model: dict[str, Any] = {"architecture": o.architecture, "probe_input": probe_input}
        if o.architecture == "cnn":
            model["n_filters_scale"] = o.scale
        training = {"epochs": o.epochs, "batch_size": 8, "learning_rate": 1e-3, "seed": o.seed}
        config = pp.Config(model=model, training=training)
        clock = Clock()
        trained = pp.train(seen, config, backend=o.backend, probe_check=False)
        spent = clock.read()[1]
        row: dict[str, Any] = {"probe_input": probe_input, "seed": o.seed, "training CPU s": spent}
        for name, scans in (("seen", seen[: o.unseen]), ("unseen", unseen)):
            row[f"{name} residual"], row[f"{name} phase dB"] = scores(scans, trained, o)
        rows.append(row)
        report(f"probe_input_{o.architecture}_{o.N}_{o.seed}", o.out, rows)


if __name__ == "__main__":
    main()
