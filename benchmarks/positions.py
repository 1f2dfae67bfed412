"""How well are wrong scan positions found: single ones, and turned, scaled or sheared axes?

python benchmarks/positions.py --object leaves --photons 1e6 --patterns 400
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import ptychopinn as pp
from common import arguments, l9, report
from ptychopinn.config import RefineConfig
from ptychopinn.physics.axes import ScanAxes, affine_between

EXACT = ScanAxes()
# Errors of single positions (sigma per axis, px) and of the axes (degrees; parts of one).
CASES = (
    (0.0, EXACT),
    (0.5, EXACT),
    (1.5, EXACT),
    (3.0, EXACT),
    (0.0, ScanAxes(rotation_deg=3.0)),
    (0.0, ScanAxes(scale_y=0.03, scale_x=0.03)),
    (0.0, ScanAxes(shear=0.01)),
    (0.0, ScanAxes(1.5, 0.03, 0.03, 0.01)),
    (0.0, ScanAxes(-3.0, 0.03, -0.03, 0.01)),
    (1.5, ScanAxes(-3.0, 0.03, -0.03, 0.01)),
)


def main() -> None:
    o = arguments(
        __doc__, object="leaves", patterns=400, photons=1e6, passes=40, seed=7, backend="pytorch"
    )
    true = l9(o.seed, o.patterns, photons=o.photons, object=o.object)
    rows = []
    for error, axes in CASES:
        errors = np.random.default_rng(1).normal(scale=error, size=true.positions_px.shape)
        places = axes.applied(true.positions_px) + errors
        wrong = replace(true, positions_px=places, object=None)
        row: dict[str, object] = {
            "error px": error,
            "turned deg": axes.rotation_deg,
            "scaled y, x; sheared %": f"{100 * axes.scale_y:g}, {100 * axes.scale_x:g}; "
            f"{100 * axes.shear:g}",
            "rms before px": rms(places, true.positions_px),
        }
        for refined in (False, True):
            config = RefineConfig(passes=o.passes, refine_positions=refined)
            done = pp.refine(wrong, None, config, backend=o.backend, no_mend="all")
            found = pp.evaluate(replace(done, provenance={}), truth=true)
            row[f"phase dB {'after' if refined else 'before'}"] = found.metrics["phase_psnr_db"]
            assert done.fit is not None
            row[f"seconds {'after' if refined else 'before'}"] = done.seconds["refinement"]
        left = done.positions_px - true.positions_px
        left -= left.mean(axis=0)  # a shift of everything changes no pattern
        row["rms after px"] = rms(done.positions_px, true.positions_px)
        row["median after px"] = float(np.median(np.hypot(*left.T)))
        rest = ScanAxes.of(affine_between(true.positions_px, done.positions_px))
        row["left deg"] = rest.rotation_deg
        row["left %"] = 100 * max(abs(rest.scale_y), abs(rest.scale_x), abs(rest.shear))
        row["residual / noise"] = done.fit.residual / done.fit.expected
        rows.append(row)
    report("positions", o.out, rows)


def rms(places: np.ndarray, others: np.ndarray) -> float:
    """Root mean square per axis after a shift of everything, px."""
    difference = places - others
    return float(np.sqrt(((difference - difference.mean(axis=0)) ** 2).mean()))


if __name__ == "__main__":
    main()
