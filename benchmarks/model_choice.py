"""Does ``refine --model auto`` find the effect that a scan has, and nothing where it has none?

    python benchmarks/model_choice.py [--ideal 50] [--patterns 400] [--photons 1e6] [--only NAME]
        [--backend pytorch]

Ideal scans of several seeds, objects and doses, on which nothing is to be found; then one scan with
each effect, scored against the true object. *plain* is ``refine`` without the option. Times are CPU
seconds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np

import ptychopinn as pp
from departures import DEPARTURES, SPACE, Departure
from ptychopinn.data.trials import RECORD
from ptychopinn.evaluation import evaluate

KINDS = ("leaves", "lines", "natural", "grf")
DOSES = (1e4, 1e5, 1e6, 1e7, 1e9)
SPREAD_PX, WRONG_PX = 1.0, 0.7


def drawn(departure: Departure, patterns: int, photons: float) -> tuple[pp.Scan, pp.Scan]:
    """A scan with the departure, and the truth."""
    ideal: dict[str, Any] = {"patterns": patterns, "photons": photons, "seed": 3}
    truth = pp.simulate(object="leaves", N=64, **ideal, **departure.sample)
    scan = measured(truth)
    if departure.slices == 1:
        rng = np.random.default_rng(0)
        counts = rng.poisson(departure.counts(truth, rng)).astype(np.uint32)
        scan = replace(scan, diffraction=counts)
    return scan, truth


def with_spread(patterns: int, photons: float) -> tuple[pp.Scan, pp.Scan]:
    ideal: dict[str, Any] = {"patterns": patterns, "photons": photons, "seed": 3}
    truth = pp.simulate(object="leaves", N=64, point_spread_px=SPREAD_PX, **ideal)
    return measured(truth), truth


def misplaced(patterns: int, photons: float) -> tuple[pp.Scan, pp.Scan]:
    """Wrong positions, which are no effect of these."""
    ideal: dict[str, Any] = {"patterns": patterns, "photons": photons, "seed": 3}
    truth = pp.simulate(object="leaves", N=64, **ideal)
    errors = np.random.default_rng(1).normal(scale=WRONG_PX, size=truth.positions_px.shape)
    return replace(measured(truth), positions_px=truth.positions_px + errors), truth


def measured(truth: pp.Scan) -> pp.Scan:
    """What is known of a scan, with what slices need, so that they are tried on all."""
    pixel, energy = SPACE["pixel_size_m"], SPACE["energy_eV"]
    return replace(truth, object=None, pixel_size_m=pixel, energy_eV=energy)


def refined(scan: pp.Scan, model: str | None, backend: Any) -> tuple[pp.Reconstruction, float]:
    begun = time.process_time()
    result = pp.refine(scan, model=model, backend=backend, no_mend="orientation")
    return result, time.process_time() - begun


def scored(result: pp.Reconstruction, truth: pp.Scan) -> str:
    found = evaluate(replace(result, provenance={}), truth=truth).to_json()["metrics"]
    assert result.fit is not None
    return (
        f"{found['phase_psnr_db']:.1f} / {found['amplitude_psnr_db']:.1f}, "
        f"{result.fit.residual:.5f}"
    )


def ideal_scans(count: int, patterns: int, backend: Any) -> None:
    print("| ideal scan | found | phase / amplitude dB, residual: plain | auto | s plain | auto |")
    print("| --- | --- | --- | --- | --- | --- |")
    wrong, ratios = 0, []
    for seed in range(count):
        kind, dose = KINDS[seed % len(KINDS)], DOSES[seed % len(DOSES)]
        small: dict[str, Any] = {"N": 32, "patterns": patterns, "step_px": 3, "photons": dose}
        truth = pp.simulate(object=kind, seed=seed, **small)
        scan = measured(truth)
        plain, before = refined(scan, None, backend)
        auto, after = refined(scan, "auto", backend)
        kept = [trial.effect for trial in auto.effects_tried if trial.kept]
        wrong += bool(kept)
        ratios.append(after / before)
        cells = (
            f"{kind}, {dose:.0e}, seed {seed}", ", ".join(kept) or "nothing",
            scored(plain, truth), scored(auto, truth), f"{before:.1f}", f"{after:.1f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
    print(
        f"\n{wrong} of {count} ideal scans with an effect; CPU time of auto over plain: median "
        f"{np.median(ratios):.2f}, largest {max(ratios):.2f}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="pytorch")
    parser.add_argument("--ideal", type=int, default=50)
    parser.add_argument("--patterns", type=int, default=400)
    parser.add_argument("--small", type=int, default=196, help="patterns of the ideal scans")
    parser.add_argument("--photons", type=float, default=1e6)
    parser.add_argument("--only", nargs="*", help="departures of these names")
    o = parser.parse_args()
    if o.ideal:
        ideal_scans(o.ideal, o.small, o.backend)
    print("| departure | chosen | tried | dB, residual: plain | auto | s plain | auto |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    known = {departure.name: departure for departure in DEPARTURES}
    others = {"point spread": with_spread, "wrong positions": misplaced}
    for name in (*known, *others):
        if o.only is not None and name not in o.only:
            continue
        size = (o.patterns, o.photons)
        scan, truth = drawn(known[name], *size) if name in known else others[name](*size)
        plain, before = refined(scan, None, o.backend)
        auto, after = refined(scan, "auto", o.backend)
        tried = "; ".join(f"{t.effect}: {t.in_words}" for t in auto.effects_tried)
        chosen = auto.provenance[RECORD]["chosen"]
        cells = (
            name, chosen, tried, scored(plain, truth), scored(auto, truth),
            f"{before:.1f}", f"{after:.1f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
