"""How far does the pretrained network get where phases wrap, and what does physics add to it?

python benchmarks/strong_phases.py
python benchmarks/strong_phases.py --probe FILE.npz --phase 1.6 --patterns 400
"""

from __future__ import annotations

from typing import Any

import ptychopinn as pp
from common import arguments, report

OBJECTS = ("leaves", "lines", "natural", "grf")
SEEDS = (777, 5)


def main() -> None:
    o = arguments(__doc__, probe="", phase=3.2, patterns=900)
    given: dict[str, Any] = {"probe": "file", "probe_file": o.probe} if o.probe else {}
    rows = []
    for kind in OBJECTS:
        for seed in SEEDS:
            scan = pp.simulate(
                object=kind, photons=1e6, seed=seed, patterns=o.patterns, step_px=6.2,
                jitter_px=1.2, phase=(-o.phase, o.phase), **given,
            )  # fmt: skip
            row: dict[str, Any] = {"object": kind, "seed": seed}
            for name in ("never", "auto"):
                found = pp.reconstruct(scan, refine=name)
                assert found.fit is not None  # every verb states it
                score = pp.evaluate(found, truth=scan).metrics["phase_psnr_db"]
                row |= {f"{name} phase dB": score, f"{name} verdict": found.fit.verdict}
            rows.append(row)
    report("strong_phases", o.out, rows)


if __name__ == "__main__":
    main()
