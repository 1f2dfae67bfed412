"""How exactly the patterns tell where each of them belongs.

The counts of a pattern, with expected intensity I and photons that count q, tell a move of its
position by the Fisher information

    F_ab = sum (d_a I)(d_b I) / (q I),

and 1 / F is the least covariance that any estimate of it has (Cramer and Rao). The object is not
known otherwise: it gives way to a pattern where few others see it. As in the fit of the scan axes
(:mod:`ptychopinn.solvers.affine`), the best change of the object for a given move leaves of the
slope P_j grad O the part sqrt(1 - abs(P_j)^2 / L), L being the illumination of all patterns. What
the model does not explain beyond photon noise counts as noise, and displacements are known before
to be of variance t^2:

    C = CALIBRATED^2 (F / excess + 1 / t^2)^-1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.forward import (
    PatternBatch,
    changed_waves,
    modelled,
    patches_of,
    slope,
)
from ptychopinn.physics.propagators import Propagator
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.positions import slopes_of_canvas

# Errors of the object and of the neighbours are unknown here: beside what all positions share, true
# errors are so many times those of F alone, as simulated scans showed
# (benchmarks/position_errors.py).
CALIBRATED = 1.3


def position_covariance(
    state: Descent, count: int, excess: float, variance: float
) -> NDArray[np.float64]:
    """Covariances (M, 2, 2) of the positions of all ``count`` patterns, px^2.

    ``excess`` is the misfit over that of photon noise, ``variance`` is t^2.
    """
    xp, problem = state.xp, state.problem
    slopes = slopes_of_canvas(xp, state.canvas)
    further = (state.canvas, problem.floor, state.total_illumination(), *slopes)
    found = np.zeros((count, 2, 2))
    for subset, numbers in enumerate(problem.numbers):
        each = [xp.to_numpy(f) for *_, f in state.each(information, subset, *further)]
        found[numbers] = np.concatenate(each)
    found = xp.totals([found])[0]
    found *= 1 / ((2 * float(problem.noise)) ** 2 * max(excess, 1.0))
    covariance = CALIBRATED**2 * np.linalg.inv(found + np.eye(2) / variance)
    return np.asarray(0.5 * (covariance + covariance.transpose(0, 2, 1)))


def information(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    e: Any,
    light: Array,
    down: Array,
    right: Array,
) -> Array:
    """Fisher information (M, 2, 2) of a batch times the intensity of a photon, on a ``canvas``
    (H, W), or (K, H, W) of slices, with the slopes ``down`` and ``right`` and the illumination
    ``light``."""
    way, fields, model = modelled(xp, propagator, canvas, batch)
    left = [
        xp.sqrt(xp.maximum(1.0 - xp.sum_modes(xp.abs2(wave)) / (of_all + e), 0.0))
        for wave, of_all in zip(way.waves, patches_of(xp, light, batch), strict=True)
    ]
    changes = []
    for along in (down, right):
        parts = zip(patches_of(xp, along, batch), left, strict=True)
        waves = changed_waves(xp, batch, way, [xp.scaled(part, share) for part, share in parts])
        changes.append(slope(xp, propagator, fields, waves, batch))
    weight = good / (model + e)
    rows = [
        xp.stack([xp.sum(weight * a * b, axis=(1, 2)) for b in changes], axis=1) for a in changes
    ]
    return xp.stack(rows, axis=1)
