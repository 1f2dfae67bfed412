"""Are patterns more washed out than those that a network's result would itself give?

A network that has followed noise has too much contrast, which hides that fringes are washed out:
the score of :class:`ptychopinn.workflows.exposure.Washing` is far below 0 where nothing moves, and
how far is told by no formula. So counts are drawn from the result, the same network reconstructs
them, and its scores are what the measured one is compared with (a parametric bootstrap: Efron, Ann.
Stat. 7, 1, 1979). Each is a sum over many readings with the variance 1, so that the difference to
the mean of K draws has the variance 1 + 1 / K where nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ptychopinn.checks.trial_fits import FEWEST, neighbours
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.prediction import predict_patterns
from ptychopinn.workflows.exposure import WASHED_OUT, Washing, across
from ptychopinn.workflows.left_out import SURE

# Patterns that are reconstructed again, of at most 64 pixels and of more, and how often: only those
# in their middle are looked at, since the ones at the rim have fewer neighbours.
SIDE, WINDOW, LARGE, DRAWS = 64, 144, 100, 3
# Seed of the draws.
SEED = 0


class Beyond(NamedTuple):
    """direction : by name, None for all.  drawn, measured : residuals of the patterns in the middle
    as drawn, the mean, and as measured."""

    direction: str | None
    drawn: float
    measured: float


def washed_beyond_draws(
    scan: Scan, result: Reconstruction, again: Callable[[Scan], Reconstruction]
) -> Beyond | None:
    """How patterns are more washed out than draws from the result of a network; None where they are
    not, or where the noise of a detector that reads with noise would have to be drawn.

    Parameters
    ----------
    scan : the patterns of the result, in its order.
    again : the same network, for other patterns with the probe of the result.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    if scan.M < FEWEST or fit.noise.readout > 0:
        return None
    chosen = neighbours(scan, WINDOW if scan.N <= SIDE else LARGE)
    part = replace(scan.select(chosen), probe=result.probe, object=None)
    found = again(part)
    assert found.fit is not None
    mean = found.fit.scale**2 * np.maximum(predict_patterns(found), 0).astype(np.float64)
    rng, photon = np.random.default_rng(SEED), fit.noise.photon
    looks = [Washing(part, found)]
    for _ in range(DRAWS):
        counts = photon * rng.poisson(mean / photon)
        if scan.saturation is not None:
            counts = np.minimum(counts, scan.saturation)
        drawn = replace(part, diffraction=counts.astype(np.float32))
        looks.append(Washing(drawn, again(drawn)))
    sigma = np.sqrt(1 + 1 / DRAWS)
    best: tuple[float, float, str] | None = None
    for name, unit in looks[0].units.items():
        changes = [(look.change(unit), look.change(across(unit))) for look in looks]
        along = np.array([a @ look.missing for (a, _), look in zip(changes, looks, strict=True)])
        other = np.array([b @ look.missing for (_, b), look in zip(changes, looks, strict=True)])
        spread = np.sqrt(max(2 - 2 * float(changes[0][0] @ changes[0][1]), 1e-6))
        scores = [float(s[0] - s[1:].mean()) / sigma for s in (along, along - other)]
        if best is None or scores[0] > best[0]:
            best = scores[0], scores[1] / spread, name
    assert best is not None
    measured, *others = (look.residual(np.zeros_like(unit)) for look in looks)
    mean_drawn = float(np.mean(others))
    if best[0] <= 0 or best[0] ** 2 < WASHED_OUT or measured <= mean_drawn:
        return None
    return Beyond(best[2] if best[1] > SURE else None, mean_drawn, measured)
