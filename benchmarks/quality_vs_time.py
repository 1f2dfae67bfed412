"""How good is the reconstruction of an unseen object after how much training (task L9)?

python benchmarks/quality_vs_time.py --architecture unrolled --epochs 10
"""

from __future__ import annotations

import ptychopinn as pp
from common import Clock, arguments, l9, peak_rss_gib, report
from ptychopinn.report.page import save_evaluation
from ptychopinn.report.pictures import save_phase


def main() -> None:
    o = arguments(__doc__, architecture="unrolled", epochs=10, photons=1e9, object="lines", seeds=1)
    train_scan = l9(1, 1681, photons=o.photons)
    test_scan = l9(2, 900, photons=o.photons, object=o.object)
    name = f"quality_{o.architecture}_{o.object}_{o.photons:.0e}"
    rows = []
    for seed in range(o.seeds):
        config = pp.Config(
            model={"architecture": o.architecture}, training={"epochs": o.epochs, "seed": seed}
        )
        clock = Clock()
        model = pp.train(train_scan, config)
        wall, cpu = clock.read()
        pp.reconstruct(test_scan, model)
        clock = Clock()
        result = pp.reconstruct(test_scan, model)
        seconds, _ = clock.read()
        evaluation = pp.evaluate(result, truth=test_scan)
        save_phase(result, o.out / f"{name}_phase_{seed}.png")
        save_evaluation(evaluation, o.out / f"{name}_evaluation_{seed}.png")
        m = evaluation.metrics
        row = {
            "architecture": o.architecture,
            "seed": seed,
            "epochs": o.epochs,
            "training s": wall,
            "training CPU s": cpu,
            "inference s": seconds,
            "peak RSS GiB": peak_rss_gib(),
            "NRMSE": m["nrmse"],
            "amplitude dB": m["amplitude_psnr_db"],
            "amplitude SSIM": m["amplitude_ssim"],
            "phase dB": m["phase_psnr_db"],
            "phase SSIM": m["phase_ssim"],
        }
        rows.append(row)
    report(name, o.out, rows)


if __name__ == "__main__":
    main()
