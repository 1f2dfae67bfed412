"""How well are wrong scan positions found?

python benchmarks/positions.py --error_px 1 --passes 60
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import ptychopinn as pp
from common import arguments, l9, report
from ptychopinn.config import RefineConfig


def main() -> None:
    o = arguments(__doc__, patterns=400, photons=1e7, error_px=1.0, passes=60, backend="pytorch")
    true = l9(2, o.patterns, photons=o.photons)
    errors = np.random.default_rng(1).normal(scale=o.error_px, size=true.positions_px.shape)
    wrong = replace(true, positions_px=true.positions_px + errors)
    rows = []
    for positions in (False, True):
        config = RefineConfig(passes=o.passes, refine_positions=positions)
        done = pp.refine(wrong, None, config, backend=o.backend)
        left = done.positions_px - true.positions_px
        left -= left.mean(axis=0)  # a shift of everything changes no pattern
        found = pp.evaluate(done, truth=true)
        rows.append(
            {
                "positions refined": positions,
                "rms error px": float(np.sqrt((left**2).mean())),
                "median error px": float(np.median(np.hypot(*left.T))),
                "phase dB": found.metrics["phase_psnr_db"],
                "residual": done.fit.residual,
                "seconds": done.seconds["refinement"],
            }
        )
    report("positions", o.out, rows)


if __name__ == "__main__":
    main()
