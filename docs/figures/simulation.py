"""Draw docs/figures/simulation.png: every kind of object, probes, and a pattern.

Run from anywhere: python docs/figures/simulation.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ptychopinn.simulation import simulate

KINDS = ("lines", "leaves", "grf", "points", "siemens", "natural", "textures")


def main() -> None:
    figure = Figure(figsize=(15, 10.4), layout="constrained")
    axes = figure.subplots(4, len(KINDS))
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    for column, kind in enumerate(KINDS):
        scan = simulate(object=kind, patterns=900, seed=3)
        assert scan.object is not None
        amplitude = axes[0, column].imshow(np.abs(scan.object), cmap="gray", vmin=0.55, vmax=1)
        phase = axes[1, column].imshow(np.angle(scan.object), cmap="gray", vmin=-1, vmax=1)
        axes[0, column].set_title(f'object="{kind}"')
        pattern = axes[2, column].imshow(
            np.log10(1 + np.asarray(scan.diffraction[450], dtype=np.float64)), vmin=0, vmax=2.7
        )
    for row, label in ((0, "amplitude"), (1, "phase"), (2, "pattern 450"), (3, "probe, |P|")):
        axes[row, 0].set_ylabel(label)
    figure.colorbar(amplitude, ax=axes[0].tolist(), label="amplitude")
    figure.colorbar(phase, ax=axes[1].tolist(), label="radians")
    figure.colorbar(pattern, ax=axes[2].tolist(), label="log10(1 + counts)")
    probes: list[tuple[str, dict[str, Any]]] = [
        ("the default", {}),
        ("central_stop=0.6\ncoma=0", {"central_stop": 0.6, "coma": 0.0}),
        ("astigmatism=0.5\ncoma=0", {"astigmatism": 0.5, "coma": 0.0}),
        ('probe="gaussian"\ncoma=0', {"probe": "gaussian", "coma": 0.0}),
        ("modes=3\nsecond mode", {"modes": 3}),
        ("modes=3\nthird mode", {"modes": 3}),
    ]
    for column, (title, options) in enumerate(probes):
        probe = simulate(patterns=4, **options).probe
        mode = max(0, column - 3) if len(probe) > 1 else 0
        axes[3, column].imshow(np.abs(probe[mode]), cmap="inferno", vmin=0)
        axes[3, column].set_title(title)
    for axis in axes[3, len(probes) :]:
        axis.set_axis_off()
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
