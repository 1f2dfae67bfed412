"""Every figure there is of a result, of its scan and of a model.

python examples/every_figure.py [FOLDER]

The scan is simulated with two modes of the probe, and with positions that are wrong by a pixel, so
that the figures of modes and of positions have something to show.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import ptychopinn as pp

FIGURES = (
    "overview", "amplitude", "phase", "complex", "probe", "positions", "coverage", "misfit",
    "passes", "patterns", "resolution", "uncertainty",
)  # fmt: skip


def main(folder: str = "every_figure") -> None:
    known = pp.simulate(
        object="leaves", patterns=100, N=32, photons=1e6, modes=2, mode_decay=0.3, seed=5,
        position_error_px=1.0,
    )  # fmt: skip
    # With the size of a pixel the figures have a scale.
    known = replace(known, pixel_size_m=20e-9)
    options = pp.RefineConfig(passes=20, refine_probe=True, refine_positions=True)
    result = pp.refine(known, None, options, modes=2, uncertainty=True)
    fit = result.fit
    print(f"residual {fit.residual:.4f}, photon noise {fit.expected:.4f}: {fit.verdict}")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        result.plot(name, known).savefig(place / f"{name}.png", dpi=100)
    # The slices of a thick sample.
    sample = pp.simulate(
        object="leaves", patterns=144, N=32, photons=1e6, slices=2, slice_spacing_m=8e-6, seed=5
    )
    thick = pp.PhysicsConfig(passes=40, slices=2, slice_spacing_m=8e-6)
    pp.refine(sample, None, thick).plot("slices").savefig(place / "slices.png", dpi=100)
    known.plot().savefig(place / "scan.png", dpi=100)
    pp.load_model().plot().savefig(place / "model.png", dpi=100)
    pp.evaluate(result, truth=known).plot().savefig(place / "evaluation.png", dpi=100)
    print(", ".join(sorted(path.name for path in place.iterdir())))


if __name__ == "__main__":
    main(*sys.argv[1:])
