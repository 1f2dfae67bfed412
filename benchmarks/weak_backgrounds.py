"""Scans on a background: what `reconstruct` and `refine` make of it as they are.

    python benchmarks/weak_backgrounds.py [--photons 3000 10000] [--shares 0 0.01]

Amplitude and phase dB against the true object, the verdict where it is not good, and the share of
the counts that was found as a background.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import ptychopinn as pp
from ptychopinn.evaluation import evaluate


def scored(result: pp.Reconstruction, truth: pp.Scan, counts: float) -> str:
    found, fit = evaluate(result, truth=truth).metrics, result.fit
    assert fit is not None
    level = result.effects.get("background")
    lit = "" if level is None else f", {level.sum() / counts:.3f}"
    said = "" if fit.verdict == "good" else f" ({fit.likely})"
    return f"{found['amplitude_psnr_db']:.1f} / {found['phase_psnr_db']:.1f}{lit}{said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default=None)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--patterns", type=int, default=144)
    parser.add_argument("--photons", type=float, nargs="+", default=[3e3, 1e4, 1e5, 1e6])
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.003, 0.01, 0.03, 0.3])
    parser.add_argument("--objects", nargs="+", default=["leaves", "grf"])
    o = parser.parse_args()
    print("| object, photons | background | reconstruct | refine |")
    print("| --- | --- | --- | --- |")
    for kind in o.objects:
        for photons in o.photons:
            for share in o.shares:
                truth = pp.simulate(
                    object=kind, N=o.size, patterns=o.patterns, step_px=o.size / 9,
                    photons=photons, seed=4, background=share * photons / o.size**2,
                )  # fmt: skip
                scan = replace(truth, object=None)
                made = (verb(scan, backend=o.backend) for verb in (pp.reconstruct, pp.refine))
                shown = " | ".join(scored(result, truth, photons) for result in made)
                print(f"| {kind}, {photons:.0e} | {share:.1%} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
