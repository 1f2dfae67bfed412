"""Do refined positions lie within their stated ellipses? Simulated scans with known errors.

    python benchmarks/position_errors.py [--patterns 225] [--quick]

Shares of the true positions within the ellipse of one and of two standard deviations (39 % and
86 % of a normal distribution in two dimensions), relative to the mean of all, and to the best
affine map of all, which wrong axes share.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptychopinn as pp

WITHIN = (1.0, 2.0)


def shares(errors: NDArray[Any], covariance: NDArray[Any]) -> list[float]:
    """Of errors (M, 2) within so many standard deviations."""
    squares = np.einsum("mi,mij,mj->m", errors, np.linalg.inv(covariance), errors)
    return [float((squares <= k**2).mean()) for k in WITHIN]


def without_affine(errors: NDArray[Any], places: NDArray[Any]) -> NDArray[np.float64]:
    """Errors (M, 2) less their best affine function of the positions."""
    terms = np.column_stack([np.ones(len(places)), places])
    return np.asarray(errors - terms @ np.linalg.lstsq(terms, errors, rcond=None)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patterns", type=int, default=225)
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--quick", action="store_true")
    o = parser.parse_args()
    cases = product(("leaves", "natural"), (1e4, 1e5, 1e6), (0.3, 1.0), (False, True))
    print("| object, photons, error px, probe | sigma px | rms left px | 1 s, 2 s | affine |")
    print("| --- | --- | --- | --- | --- |")
    for kind, photons, error, probe in list(cases)[:: 12 if o.quick else 1]:
        truth = pp.simulate(object=kind, patterns=o.patterns, photons=photons, seed=7)
        rng = np.random.default_rng(1)
        wrong = truth.positions_px + rng.normal(scale=error, size=truth.positions_px.shape)
        scan = replace(truth, positions_px=wrong, object=None)
        config = pp.RefineConfig(passes=o.passes, refine_positions=True, refine_probe=probe)
        result = pp.refine(scan, None, config, no_mend="all")
        assert result.position_covariance is not None and result.position_sigma_px is not None
        errors = result.positions_px - truth.positions_px
        errors = errors - np.median(errors, axis=0)
        rest = without_affine(errors, truth.positions_px)
        both = [shares(e, result.position_covariance) for e in (errors, rest)]
        words = [f"{100 * one:.0f} %, {100 * two:.0f} %" for one, two in both]
        free = "refined" if probe else "known"
        sigma = float(np.median(result.position_sigma_px))
        left = float(np.sqrt((errors**2).mean()))
        cells = (f"{kind}, {photons:.0e}, {error}, {free}", f"{sigma:.4f}", f"{left:.4f}", *words)
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
