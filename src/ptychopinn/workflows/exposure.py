"""Did the sample move while a pattern was recorded, and how far? Found on some patterns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ptychopinn.data.normalization import PreparedScan
from ptychopinn.ops.base import Ops
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.physics.moving_exposure import MovingExposure, directions_of
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

PASSES, LIMIT_BYTES = 10, 512 << 20
# Length with which directions are compared, and the lengths that follow on it, in pixels.
FIRST, NEXT = 4.0, (2.0, 6.0, 9.0, 13.0)
# It is believed when it leaves this share of the residual beyond photon noise, or less, and hardly
# more than noise: copies of the probe also make up for a beam that is not coherent.
BELIEVED, HARDLY = 0.75, 1.3


def found_exposure(
    xp: Ops, part: PreparedScan, directions: dict[str, Values], effects: tuple[Effect, ...] = ()
) -> tuple[str, float, float, float] | None:
    """What :func:`likeliest_exposure` finds, where a moving exposure explains patterns clearly
    better and hardly anything is left; None elsewhere."""
    name, length, still, least = likeliest_exposure(xp, part, directions, effects)
    floor = part.expected_misfit
    clearly = least - floor <= BELIEVED * (still - floor) and least < still - 0.1 * floor
    if clearly and least <= HARDLY * floor:
        return name, length, still, least
    return None


def likeliest_exposure(
    xp: Ops, part: PreparedScan, directions: dict[str, Values], effects: tuple[Effect, ...] = ()
) -> tuple[str, float, float, float]:
    """The direction and the length (pixels) of a moving exposure that explain patterns best, 0 for
    none, and the residuals without and with it.

    Parameters
    ----------
    part : neighbouring patterns; each residual is that after a few passes from nothing.
    directions : by name, (M, 2) unit vectors of the ways of these patterns.
    effects : what is known of beam and detector, in the units of ``part``.
    """

    def left(way: Values) -> float:
        config = PhysicsConfig(passes=PASSES, stagnation=0.0)
        moving = (*effects, MovingExposure(way))
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=moving)
        return float(solver.solve(part).canvas.losses[-1])

    still = left(np.zeros((part.scan.M, 2)))
    tried = {name: left(FIRST * unit) for name, unit in directions.items()}
    name = min(tried, key=tried.__getitem__)
    known = {0.0: still, FIRST: tried[name]}
    length, least = _least(lambda way: left(way * directions[name]), known)
    return name, length, still, least


def _least(left: Callable[[float], float], known: dict[float, float]) -> tuple[float, float]:
    """The length with the smallest residual: the best of some, and the vertex of the parabola in
    its square through it and its neighbours."""
    known = {**known, **{length: left(length) for length in NEXT}}
    lengths = sorted(known)
    k = int(np.clip(np.argmin([known[one] for one in lengths]), 1, len(lengths) - 2))
    three = np.array(lengths[k - 1 : k + 2])
    a, b, _ = np.polyfit(three**2, [known[one] for one in three], 2)
    if a > 0:
        vertex = float(np.sqrt(np.clip(-b / (2 * a), three[0] ** 2, three[-1] ** 2)))
        known[vertex] = left(vertex)
    best = min(known, key=known.__getitem__)
    return best, known[best]


def possible_directions(positions_px: Values) -> dict[str, Values]:
    """The unit vectors (M, 2) along which each position may have moved, by the names of the option
    ``exposure_along``."""
    ones = np.ones((len(positions_px), 1))
    return {
        "scan": directions_of(positions_px),
        "y": ones * [[1.0, 0.0]],
        "x": ones * [[0.0, 1.0]],
    }
