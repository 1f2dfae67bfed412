"""Draw docs/figures/symptoms.png: what single faults of an experiment do to a result.

Run from anywhere: python docs/figures/symptoms.py
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import ptychopinn as pp

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from departures import NOTHING, Departure

PATTERNS, PHOTONS, SEED = 225, 1e5, 3
COLUMNS = (
    "phase",
    "residual of each pattern",
    "mean measured - modelled counts",
    "counts, measured / modelled",
)


def counted(scan: pp.Scan, departure: Departure) -> pp.Scan:
    """The scan with the counts that the departure gives."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(departure.counts(scan, rng)).astype(np.uint32)
    return replace(scan, diffraction=counts, object=None)


def faulty() -> dict[str, pp.Scan]:
    """One scan for each fault, all of one object."""
    made: dict[str, Any] = {
        "object": "leaves",
        "patterns": PATTERNS,
        "photons": PHOTONS,
        "seed": SEED,
    }
    ideal = pp.simulate(**made)
    other = pp.simulate(**made, defocus=0.25)
    angle, scale = np.deg2rad(1.5), 1.03
    turned = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = ideal.positions_px.mean(axis=0)
    hot = np.array(ideal.diffraction).astype(np.uint32)
    rows, columns = np.random.default_rng(1).integers(0, ideal.N, (2, 12))
    hot[:, rows, columns] += 60
    return {
        "nothing": ideal,
        "positions wrong\none by one, 1.5 px": pp.simulate(**made, position_error_px=1.5),
        "axes scaled by 3 %,\nturned by 1.5 degrees": replace(
            ideal, positions_px=(ideal.positions_px - middle) @ turned.T + middle
        ),
        "patterns transposed": replace(
            ideal, diffraction=np.array(ideal.diffraction).transpose(0, 2, 1)
        ),
        "probe with another\ndefocus": replace(ideal, probe=other.probe),
        "three modes,\none given": counted(ideal, Departure("modes", modes=True)),
        "sample moves 6 px\nin an exposure": counted(ideal, Departure("moving", moving=True)),
        "beam current changes": counted(ideal, Departure("beam", beam=True)),
        "background": counted(ideal, Departure("background", background=True)),
        "hot pixels": replace(ideal, diffraction=hot),
    }


def main() -> None:
    scans = faulty()
    figure = Figure(figsize=(15, 2.9 * len(scans)), layout="constrained")
    axes = figure.subplots(len(scans), len(COLUMNS))
    for row, (name, scan) in enumerate(scans.items()):
        config = pp.RefineConfig(passes=20, **NOTHING)
        result = pp.refine(replace(scan, object=None), None, config, no_mend="all")
        fit = result.fit
        assert fit is not None
        shown = result.crop()
        phase, residual, pattern, counts = axes[row]
        turned = shown.object * np.exp(-1j * np.angle(shown.object.sum()))
        phase.imshow(np.angle(turned), cmap="viridis", vmin=-1.2, vmax=1.2)
        phase.set_ylabel(name)
        phase.set_xlabel(f"residual {fit.residual:.3g}, noise {fit.expected:.2g}: {fit.verdict}")
        y, x = fit.positions_px.T
        points = residual.scatter(
            x, y, c=fit.per_pattern / fit.expected, s=14, cmap="magma", vmin=0
        )
        residual.invert_yaxis()
        residual.set_aspect("equal")
        figure.colorbar(points, ax=residual, label="times noise")
        difference = fit.measured_mean - fit.model_mean
        bound = max(float(np.nanpercentile(np.abs(difference), 99.5)), 0.05)
        image = pattern.imshow(difference, cmap="RdBu_r", vmin=-bound, vmax=bound)
        figure.colorbar(image, ax=pattern)
        counts.plot(fit.factors, lw=0.8)
        counts.set_ylim(0.5, 1.5)
        for axis in (phase, residual, pattern):
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, title in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(title)
    axes[-1, -1].set_xlabel("pattern")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=60)


if __name__ == "__main__":
    main()
