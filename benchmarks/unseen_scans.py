"""How good and how fast are the pretrained network and the refinement on scans nobody trained on?

python benchmarks/unseen_scans.py
python benchmarks/unseen_scans.py --probe FILE:KEY --bad-probe FILE:KEY --star FILE.npz
python benchmarks/unseen_scans.py --backend tensorflow
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import ptychopinn as pp
from common import arguments, report
from ptychopinn.config import RefineConfig
from ptychopinn.data.normalization import mean_counts
from ptychopinn.physics.scaling import reconcile_probe
from ptychopinn.report.pictures import save_comparison
from ptychopinn.workflows.compare import Row, known_truth, parse_method, pictures

CASES = {
    "lines 1e9": ("lines", 1e9),
    "lines 1e5": ("lines", 1e5),
    "lines 1e4": ("lines", 1e4),
    "natural 1e5": ("natural", 1e5),
    "leaves 1e5": ("leaves", 1e5),
}
SEED = 777


def timed(run: Any, repeats: int = 3) -> tuple[Any, float]:
    """The last result and the median of the wall seconds."""
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begun)
    return result, float(np.median(seconds))


def simulated(name: str, probe: str) -> pp.Scan:
    kind, photons = CASES[name]
    options: dict[str, Any] = {}
    if probe:
        file, _, key = probe.rpartition(":")
        with np.load(file) as content:
            options = {"probe": "file", "probe_file": _stored(content[key])}
    return pp.simulate(
        object=kind, photons=photons, seed=SEED, patterns=900, step_px=6.2, jitter_px=1.2, **options
    )


def _stored(probe: np.ndarray) -> Path:
    """The probe in a file of its own, as the simulation reads it."""
    path = Path("benchmark-results") / "probe.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, probe=probe)
    return path


def row(
    name: str, scan: pp.Scan, config: RefineConfig, network: bool, out: Path, backend: Any
) -> dict[str, Any]:
    """Scores of the network and of the refinement that follows it, or starts from nothing."""
    found: dict[str, Any] = {"case": name}
    results, start = {}, None
    if network:
        shown, seconds = timed(lambda: pp.reconstruct(scan, "pretrained", backend=backend))
        start = results["pretrained"] = shown
        found |= {"network s": shown.seconds["network"], "with misfit s": seconds}
        found |= scores("network", start, scan)
    else:
        found |= {"network s": "", "with misfit s": "", **scores("network", None, scan)}
    refined, seconds = timed(lambda: pp.refine(scan, start, config, backend=backend), 1)
    results["refine"] = refined
    found |= {"refine s": refined.seconds["refinement"], **scores("refined", refined, scan)}
    rows = [
        Row(parse_method(method), result, {"residual": result.fit.residual})
        for method, result in results.items()
    ]
    shown_objects = pictures(scan, rows, known_truth(scan))
    save_comparison(shown_objects, out / f"unseen_{name.replace(' ', '_')}.png")
    return found


def scores(stage: str, result: pp.Reconstruction | None, scan: pp.Scan) -> dict[str, Any]:
    keys = ("phase dB", "NRMSE", "residual")
    if result is None:
        return {f"{stage} {key}": "" for key in keys}
    truth = scan if scan.object is not None and "simulation" in scan.provenance else None
    m = pp.evaluate(result, truth=truth, data=scan).metrics
    return {
        f"{stage} phase dB": m.get("phase_psnr_db", ""),
        f"{stage} NRMSE": m.get("nrmse", ""),
        f"{stage} residual": m["residual"],
    }


def main() -> None:
    o = arguments(__doc__, probe="", bad_probe="", star="", backend="pytorch")
    rows = [
        row(name, simulated(name, o.probe), RefineConfig(), True, o.out, o.backend)
        for name in CASES
    ]
    with_probe = RefineConfig(refine_probe=True)
    if o.bad_probe:
        scan = simulated("lines 1e9", o.probe)
        file, _, key = o.bad_probe.rpartition(":")
        with np.load(file) as content:
            wrong, _ = reconcile_probe(np.atleast_3d(content[key].T).T, mean_counts(scan))
        rows.append(
            row("wrong probe", replace(scan, probe=wrong), with_probe, False, o.out, o.backend)
        )
    if o.star:
        scan = pp.load_scan(o.star)
        rows.append(row("Siemens star", scan, with_probe, False, o.out, o.backend))
        known = pp.load_scan(o.star, probe=f"{o.star}:probeRecon")
        rows.append(row("Siemens star, probeRecon", known, with_probe, True, o.out, o.backend))
    report(f"unseen_scans_{o.backend}", o.out, rows)


if __name__ == "__main__":
    main()
