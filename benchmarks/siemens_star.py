"""How well is a real X-ray scan explained (Siemens star, 516 frames of 128 x 128)?

python benchmarks/siemens_star.py FILE.npz --architecture unrolled --epochs 3

Trains on three quarters of the frames, reconstructs all of them; the probe is FILE:probeRecon.
"""

from __future__ import annotations

import sys

import ptychopinn as pp
from common import Clock, arguments, peak_rss_gib, report
from ptychopinn.report.pictures import save_amplitude, save_phase


def main() -> None:
    file = sys.argv.pop(1)
    o = arguments(__doc__, architecture="unrolled", epochs=3, gridsize=1)
    scan = pp.load_scan(file, probe=f"{file}:probeRecon")
    config = pp.Config(
        model={"architecture": o.architecture, "gridsize": o.gridsize},
        data={"n_subsample": 3 * scan.M // 4},
        training={"epochs": o.epochs},
    )
    clock = Clock()
    model = pp.train(scan, config)
    wall, cpu = clock.read()
    done = pp.reconstruct(scan, model)
    name = f"siemens_{o.architecture}"
    save_phase(done, o.out / f"{name}_phase.png")
    save_amplitude(done, o.out / f"{name}_amplitude.png")
    row = {
        "architecture": o.architecture,
        "epochs": o.epochs,
        "training s": wall,
        "training CPU s": cpu,
        "inference s": done.seconds["network"],
        "residual": done.fit.residual,
        "photon noise": done.fit.expected,
        "peak RSS GiB": peak_rss_gib(),
    }
    report(name, o.out, [row])


if __name__ == "__main__":
    main()
