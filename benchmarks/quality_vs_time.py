"""How good is the reconstruction of an unseen object after how much training (task L9)?

python benchmarks/quality_vs_time.py --architecture unrolled --epochs 10
"""

from __future__ import annotations

import ptychopinn as pp
from common import Clock, arguments, l9, peak_rss_gib, report
from ptychopinn.report.figures import save_evaluation, save_phase


def main() -> None:
    o = arguments(__doc__, architecture="unrolled", epochs=10, photons=1e9, object="lines")
    train_scan = l9(1, 1681, photons=o.photons)
    test_scan = l9(2, 900, photons=o.photons, object=o.object)
    config = pp.Config(
        model={"architecture": o.architecture}, training={"epochs": o.epochs, "seed": 0}
    )
    clock = Clock()
    model = pp.train(train_scan, config)
    wall, cpu = clock.read()
    pp.reconstruct(model, test_scan)
    clock = Clock()
    result = pp.reconstruct(model, test_scan)
    seconds, _ = clock.read()
    evaluation = pp.evaluate(result, truth=test_scan)
    name = f"quality_{o.architecture}_{o.object}_{o.photons:.0e}"
    save_phase(result, o.out / f"{name}_phase.png")
    save_evaluation(evaluation, o.out / f"{name}_evaluation.png")
    m = evaluation.metrics
    row = {
        "architecture": o.architecture,
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
    report(name, o.out, [row])


if __name__ == "__main__":
    main()
