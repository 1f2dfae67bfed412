"""Scans with few photons: the network, and `refine` from nothing and from the network.

    python benchmarks/few_photons.py [--backend pytorch] [--photons 100 300 1000 10000]

Phase and amplitude dB against the true object, beside those of a flat one.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

import ptychopinn as pp
from ptychopinn.evaluation import evaluate


def decibels(result: pp.Reconstruction, truth: pp.Scan) -> str:
    found = evaluate(result, truth=truth).to_json()["metrics"]
    return f"{found['phase_psnr_db']:.1f} / {found['amplitude_psnr_db']:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default=None)
    parser.add_argument("--patterns", type=int, default=400)
    parser.add_argument("--photons", type=float, nargs="+", default=[100, 300, 1e3, 1e4])
    parser.add_argument("--objects", nargs="+", default=["lines", "leaves", "natural", "grf"])
    o = parser.parse_args()
    print("| object, photons | flat | network | refine | network, then refine | effects |")
    print("| --- | --- | --- | --- | --- | --- |")
    chosen: dict[str, Any] = {"backend": o.backend, "no_mend": "all"}
    for photons in o.photons:
        for kind in o.objects:
            truth = pp.simulate(object=kind, N=64, patterns=o.patterns, photons=photons, seed=3)
            scan = replace(truth, object=None)
            network = pp.reconstruct(scan, refine="never", **chosen)
            alone, both = pp.refine(scan, **chosen), pp.refine(scan, network, **chosen)
            flat = replace(network, object=np.ones_like(network.object))
            cells = [decibels(result, truth) for result in (flat, network, alone, both)]
            effects = ", ".join(both.effects) or "none"
            print(f"| {kind}, {photons:g} | {' | '.join(cells)} | {effects} |", flush=True)


if __name__ == "__main__":
    main()
