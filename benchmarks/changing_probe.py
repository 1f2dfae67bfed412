"""Does the probe change during a scan? What the rule of the verdict sees, of such scans and others.

    python benchmarks/changing_probe.py [--patterns 144 256] [--photons 1e5 1e6] [--faults SEEDS]

Of each scan the phase dB, the verdict, the share of the excess that aberrations of each pattern
explain, and the part of their square that stays from one of 96 patterns to the next: of a probe
that changes its defocus, coma and intensity, taken as one, and, where asked, of the faults of
`verdict_cases.py` that are not within the noise.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

import ptychopinn as pp
from departures import varied_counts
from ptychopinn.workflows.changing_probe import asked_for
from verdict_cases import FAULTS, experiment


def row(name: str, result: pp.Reconstruction, scan: pp.Scan, truth: pp.Scan) -> str:
    fit, found = result.fit, asked_for(scan, result)
    assert fit is not None
    phase = pp.evaluate(replace(result, provenance={}), truth=truth).metrics["phase_psnr_db"]
    said = f"{fit.verdict}{f' ({fit.likely})' if fit.likely else ''}"
    return f"| {name} | {phase:.1f} | {said} | {found.share:.2f} | {found.ordered:.2f} |"


def changing(patterns: int, photons: float) -> None:
    truth = pp.simulate(object="leaves", patterns=patterns, photons=photons, seed=4, poisson=False)
    assert truth.object is not None
    counts = varied_counts(truth.object, truth)
    drawn = np.random.default_rng(4).poisson(counts).astype(np.uint32)
    scan = replace(truth, object=None, diffraction=drawn)
    for refined in (False, True):
        result = pp.refine(scan, None, pp.RefineConfig(passes=40, refine_probe=refined))
        name = f"changes, {patterns} patterns, {photons:.0e}{', probe refined' if refined else ''}"
        print(row(name, result, scan, truth), flush=True)


def faulty(seed: int) -> None:
    drawn = experiment(seed)
    for name, make in FAULTS.items():
        try:
            scan = replace(make(drawn), object=None)
            result = pp.refine(scan, None, pp.RefineConfig(passes=15), no_mend="all")
            fit = result.fit
            assert fit is not None
            if fit.explained < 0.99 and fit.excess > 0.1 * fit.expected:
                print(row(f"{name}, seed {seed}", result, scan, drawn.scan), flush=True)
        except pp.InputError:
            continue  # cannot be simulated, or lies beside the object


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patterns", type=int, nargs="+", default=[144, 256])
    parser.add_argument("--photons", type=float, nargs="+", default=[1e5, 1e6])
    parser.add_argument("--faults", type=int, nargs="*", default=[], help="seeds")
    o = parser.parse_args()
    print("| scan | phase dB | verdict | explained | stays |")
    print("| --- | --- | --- | --- | --- |")
    for patterns in o.patterns:
        for photons in o.photons:
            changing(patterns, photons)
    for seed in o.faults:
        faulty(seed)


if __name__ == "__main__":
    main()
