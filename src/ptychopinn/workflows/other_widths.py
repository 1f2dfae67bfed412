"""Has the probe that was given another width, so that one refined from it explains little?

A pixel size, a distance or a binning that is off by a factor makes a probe too wide or too narrow
by that. Refined together with the object it comes to rest in between, and factors of the beam,
modes or positions make up for a part of what is left: none of them shows that a probe of another
width explains it all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.verdict import WIDTH
from ptychopinn.ops.base import Ops
from ptychopinn.ops.side_by_side import side_by_side
from ptychopinn.physics.effects import Effect
from ptychopinn.physics.resampling import resampled_probe
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.other_causes import PASSES, followed

# How many times as wide probes are tried.
FACTORS = (0.5, 0.7, 1.4, 2.0)


def other_widths(xp: Ops, scan: Scan, effects: Sequence[Effect] = ()) -> list[tuple[str, float]]:
    """(words, residual) on some patterns around the middle of each other width of the probe, which
    is refined from there.

    Parameters
    ----------
    scan : the patterns, with the positions of a result and the probe that its refinement began
        with.
    effects : what the result knows of beam and detector.
    """
    if scan.M < FEWEST:
        return []
    numbers = neighbours(scan)
    chosen = replace(scan.select(numbers), object=None)

    def refined(xp: Ops, scaled: tuple[float, NDArray[np.complex64]]) -> tuple[str, float]:
        factor, probe = scaled
        part = prepare(replace(chosen, probe=probe))
        here = in_network_units([effect.chosen(numbers) for effect in effects], part)
        config = PhysicsConfig(passes=PASSES, stagnation=0.0, refine_probe=True)
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=tuple(here.values()))
        residual = float(solver.solve(part).canvas.losses[-1]) + followed(part)
        return f"{WIDTH}{factor:.2g} times as wide, refined", residual

    return side_by_side(xp, refined, list(scaled_probes(scan.probe)))


def scaled_probes(
    probe: NDArray[np.complex64],
) -> Iterator[tuple[float, NDArray[np.complex64]]]:
    """(factor, the probe (P, N, N) so many times as wide, of the same power)."""
    n, power = probe.shape[-1], float((np.abs(probe) ** 2).sum())
    for wanted in FACTORS:
        edge = 2 * round(wanted * n / 2)
        scaled = resampled_probe(probe, edge, n)
        root = np.sqrt(power / max(float((np.abs(scaled) ** 2).sum()), 1e-300))
        yield edge / n, (scaled * root).astype(np.complex64)
