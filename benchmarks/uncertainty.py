"""In how many pixels does the true error lie within the stated 90 % radius?

python benchmarks/uncertainty.py
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

import ptychopinn as pp
from common import arguments, report

OBJECTS = ("lines", "leaves", "natural", "grf")
PHOTONS = (1e4, 1e5, 1e7)


def coverage(result: pp.Reconstruction, scan: pp.Scan) -> float:
    return 100 * float(pp.evaluate(result, truth=scan).metrics["uncertainty_coverage"])


def main() -> None:
    o = arguments(__doc__, patterns=400, N=64, seed=31)
    rows: list[dict[str, Any]] = []
    for kind, photons in product(OBJECTS, PHOTONS):
        scan = pp.simulate(
            object=kind, N=o.N, patterns=o.patterns, photons=photons, seed=o.seed,
            step_px=6.2 * o.N / 64,
        )  # fmt: skip
        network = pp.reconstruct(scan, "pretrained", uncertainty=True)
        refined = pp.refine(scan, uncertainty=True)
        rows.append(
            {
                "object": kind,
                "photons": f"{photons:.0e}",
                "pretrained %": coverage(network, scan),
                "refined %": coverage(refined, scan),
            }
        )
    columns = ("pretrained %", "refined %")
    rows.append(
        {
            "object": "mean",
            "photons": "",
            **{c: float(np.mean([r[c] for r in rows])) for c in columns},
        }
    )
    report("uncertainty", o.out, rows)


if __name__ == "__main__":
    main()
