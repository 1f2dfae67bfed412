"""How far factors of a beam that changes, and the object beside them, are found in 40 passes.

    python benchmarks/beam_factors.py [--passes 40] [--backend pytorch] [--only WORDS]

Phase and amplitude against the true object in dB, and how far the factors are off (rms), of
simulated scans whose beam changes slowly or at random, at several doses.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.evaluation import evaluate

# Share of the change (that of a sine, or the rms of a logarithm), and patterns to a radian.
SINE, RANDOM, RADIAN = 0.3, 0.2, 9


class Row(NamedTuple):
    """A scan: its object, how many patterns, photons, and what its beam does."""

    object: str
    patterns: int
    photons: float
    beam: str = "sine"
    N: int = 64
    refine_probe: bool = False

    def __str__(self) -> str:
        probe = ", probe refined" if self.refine_probe else ""
        return (
            f"{self.object}, N = {self.N}, {self.patterns}, {self.beam}, {self.photons:.0e}{probe}"
        )


ROWS = (
    Row("leaves", 256, 1e6),
    Row("leaves", 256, 1e6, refine_probe=True),
    Row("natural", 256, 1e5),
    Row("leaves", 256, 1e6, "random"),
    Row("leaves", 256, 1e4, "random"),
    Row("siemens", 256, 1e6),
    Row("lines", 144, 1e6),
    Row("grf", 100, 1e5),
    Row("leaves", 144, 1e3),
    Row("leaves", 144, 300),
    Row("natural", 100, 1e8, "jump", 32),
)


def factors_of(row: Row, rng: np.random.Generator) -> NDArray[np.float64]:
    """(M,) of the beam, with the mean 1."""
    numbers = np.arange(row.patterns)
    found = {
        "sine": 1 + SINE * np.sin(numbers / RADIAN),
        "random": np.exp(RANDOM * rng.standard_normal(row.patterns)),
        "jump": np.where(numbers < row.patterns // 2, 1.0, 0.7),
    }[row.beam]
    return np.asarray(found / found.mean())


def measured(row: Row, passes: int, backend: Any) -> str:
    rng = np.random.default_rng(0)
    truth = pp.simulate(
        object=row.object, N=row.N, patterns=row.patterns, photons=row.photons, seed=3,
        poisson=False,
    )  # fmt: skip
    true = factors_of(row, rng)
    counts = rng.poisson(np.asarray(truth.diffraction) * true[:, None, None]).astype(np.uint32)
    config = pp.RefineConfig(passes=passes, refine_probe=row.refine_probe)
    scan = replace(truth, diffraction=counts, object=None)
    result = pp.refine(scan, None, config, backend=backend, no_mend="all")
    scores = evaluate(result, truth=truth).metrics
    found = result.effects.get("beam-current")
    off = true if found is None else np.asarray(found) / true
    assert result.fit is not None
    return (
        f"| {row} | {scores['phase_psnr_db']:.1f} / {scores['amplitude_psnr_db']:.1f} | "
        f"{np.std(off / off.mean()):.2%} | {result.fit.residual:.5f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--passes", type=int, default=40)
    parser.add_argument("--backend", default="pytorch")
    parser.add_argument("--only", default="", help="rows that hold these words")
    o = parser.parse_args()
    print("| scan | phase / amplitude, dB | factors off by | residual |")
    print("| --- | --- | --- | --- |")
    for row in ROWS:
        if o.only in str(row):
            print(measured(row, o.passes, o.backend), flush=True)


if __name__ == "__main__":
    main()
