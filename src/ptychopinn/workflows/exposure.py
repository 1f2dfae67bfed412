"""Did the sample move while a pattern was recorded, and how far? Found on some patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import neighbours
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.ops.base import Ops
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.ops.side_by_side import side_by_side
from ptychopinn.physics import forward
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.physics.moving_exposure import MovingExposure, directions_of
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

PASSES, LIMIT_BYTES = 10, 512 << 20
# Length with which directions are compared, and the shorter and the longer ones that may follow on
# it, in pixels.
FIRST, SHORTER, LONGER = 4.0, 2.0, (6.0, 9.0, 13.0)
# It is believed when it leaves this share of the residual beyond photon noise, or less, and hardly
# more than noise: copies of the probe also make up for a beam that is not coherent.
BELIEVED, HARDLY = 0.75, 1.3
# Where the residual is that of noise it is believed when it raises the likelihood (-2 log L) by so
# much, and lowers the residual by this share of the noise.
LIKELIER, OF_NOISE = 40.0, 0.02
# Patterns are washed out when a short way (pixels) would lower -2 log L by so much: the square of a
# standard normal number where nothing moves.
SHORT, WASHED_OUT = 1.0, 20.0
# Modelled values of one batch.
_BATCH_VALUES = 1 << 20


@dataclass(frozen=True)
class WashedOut:
    """A direction along which patterns are more washed out than a model.

    name : of the direction.  alone : whether they are not washed out as much across it.  share :
    the score across it over that along it.
    length, given, moving : the way (pixels) with which the same object and probe leave least, and
    the residuals of those patterns without and with it.
    """

    name: str
    alone: bool
    share: float
    length: float
    given: float
    moving: float


class Washing:
    """How much more some patterns around the middle are washed out than the model of a result.

    A score test, without any fit: a short way changes the model J by h, which lowers -2 log L by
    s^2 with s = sum h (I - J) / V / sqrt(sum h^2 / V), V being the variance of the counts I; s is
    a standard normal number where object and probe are the true ones and nothing moves.

    Parameters
    ----------
    scan : the patterns of the result, in its order.

    Attributes
    ----------
    numbers : of the patterns that are looked at.  units : by name, the directions (m, 2) along
    which they may have moved.
    """

    def __init__(self, scan: Scan, result: Reconstruction) -> None:
        assert result.fit is not None  # every verb states it
        self.fit, self.result, self.numbers = result.fit, result, neighbours(scan)
        measured = np.asarray(scan.diffraction[self.numbers], np.float64)
        self.weighed = np.broadcast_to(scan.good_pixels, measured.shape)
        if scan.saturation is not None:
            self.weighed = self.weighed & (measured < scan.saturation)
        self.readings = measured[self.weighed]
        directions = possible_directions(result.positions_px)
        self.units = {name: unit[self.numbers] for name, unit in directions.items()}
        noise = self.fit.noise
        self.model = self.modelled()
        variance = noise.variance(np.maximum(self.model, 0.25 * noise.photon))
        variance = np.maximum(variance, 1e-12) * max(self.fit.residual / self.fit.expected, 1.0)
        self.sigma = np.sqrt(variance)
        self.missing = (self.readings - self.model) / self.sigma

    def modelled(self, *further: Effect) -> Values:
        """Expected counts of the readings that are weighed, (n,)."""
        return modelled_counts(self.result, self.numbers, further)[self.weighed]

    def change(self, unit: Values) -> Values:
        """Of the model by a short way along ``unit`` (m, 2), over the noise, as a unit vector."""
        found = (self.modelled(MovingExposure(SHORT * unit)) - self.model) / self.sigma
        return np.asarray(found / max(float(np.linalg.norm(found)), 1e-12))

    def residual(self, way: Values) -> float:
        """Of the same object and probe with ways (m, 2)."""
        model = np.maximum(self.modelled(MovingExposure(way)), 0)
        return float(((np.sqrt(model) - np.sqrt(self.readings)) ** 2).sum() / self.readings.sum())


def modelled_counts(
    result: Reconstruction, numbers: NDArray[np.int64], further: Sequence[Effect] = ()
) -> Values:
    """Expected counts (m, N, N) of the patterns ``numbers`` of a result, with ``further`` effects
    of theirs."""
    assert result.fit is not None  # every verb states it
    counts = forward.predict(
        NumpyOps(),
        result.object if result.slices is None else result.slices,
        result.probe,
        result.positions_px[numbers],
        result.origin_px,
        result.propagator,
        max(1, _BATCH_VALUES // result.probe.size),
        [*(effect.chosen(numbers) for effect in effects_of(result)), *further],
    )
    return np.asarray(result.fit.scale**2 * np.concatenate([frames for _, frames in counts]))


def across(unit: Values) -> Values:
    """The directions (m, 2) at a right angle to these."""
    return np.asarray(unit[:, ::-1] * [1, -1])


def washed_out(scan: Scan, result: Reconstruction) -> WashedOut | None:
    """The direction along which some patterns around the middle are more washed out than the model,
    by more than photon noise, as by a sample that moves; None where there is none.

    An object that has followed noise has too much contrast rather than too little, so that the
    score of :class:`Washing` is below 0, and one that a network made too smooth, or a beam that is
    not coherent, has one above 0, but along all directions; the difference of two s has the
    variance 2 - 2 c, c = sum h h' / V of unit vectors.

    Parameters
    ----------
    scan : the patterns of the result, in its order.
    """
    washing = Washing(scan, result)
    changes = {name: washing.change(unit) for name, unit in washing.units.items()}
    slopes = {name: float(one @ washing.missing) for name, one in changes.items()}
    name = max(slopes, key=slopes.__getitem__)
    if slopes[name] <= 0 or slopes[name] ** 2 < WASHED_OUT:
        return None
    unit = washing.units[name]
    other = washing.change(across(unit))
    beside = float(other @ washing.missing)
    beyond = slopes[name] - beside
    alone = beyond > 0 and beyond**2 >= WASHED_OUT * (2 - 2 * float(other @ changes[name]))
    left = {
        length: washing.residual(length * unit) for length in (0.0, SHORT, SHORTER, *LONGER, FIRST)
    }
    best = min(left, key=left.__getitem__)
    share = beside / slopes[name]
    return WashedOut(name, bool(alone), share, best, left[0.0], left[best])


def found_exposure(
    xp: Ops,
    part: PreparedScan,
    directions: dict[str, Values],
    effects: tuple[Effect, ...] = (),
    in_noise: bool = False,
    free_probe: bool = False,
) -> tuple[str, float, float, float] | None:
    """What :func:`likeliest_exposure` finds, where a moving exposure explains patterns clearly
    better and hardly anything is left; None elsewhere.

    in_noise : whether the residual was that of noise before, so that likelihoods decide.
    free_probe : whether the probe is refined anew with each way: one that was refined without any
        is washed out itself.
    """
    name, length, still, least = likeliest_exposure(xp, part, directions, effects, free_probe)
    floor = part.expected_misfit
    if in_noise:
        clearly = still - least > max(LIKELIER * part.likelihood_unit, OF_NOISE * floor)
    else:
        clearly = least - floor <= BELIEVED * (still - floor) and least < still - 0.1 * floor
    if clearly and least <= HARDLY * floor:
        return name, length, still, least
    return None


def likeliest_exposure(
    xp: Ops,
    part: PreparedScan,
    directions: dict[str, Values],
    effects: tuple[Effect, ...] = (),
    free_probe: bool = False,
) -> tuple[str, float, float, float]:
    """The direction and the length (pixels) of a moving exposure that explain patterns best, 0 for
    none, and the residuals without and with it.

    Parameters
    ----------
    part : neighbouring patterns; each residual is that after a few passes from nothing.
    directions : by name, (M, 2) unit vectors of the ways of these patterns.
    effects : what is known of beam and detector, in the units of ``part``.
    """

    def left(xp: Ops, way: Values) -> float:
        config = PhysicsConfig(passes=PASSES, stagnation=0.0, refine_probe=free_probe)
        moving = (*effects, MovingExposure(way))
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=moving)
        return float(solver.solve(part).canvas.losses[-1])

    ways = [np.zeros((part.scan.M, 2)), *(FIRST * unit for unit in directions.values())]
    still, *moved = side_by_side(xp, left, ways)
    tried = dict(zip(directions, moved, strict=True))
    name = min(tried, key=tried.__getitem__)
    known = {0.0: still, FIRST: tried[name]}
    length, least = least_length(lambda way: left(xp, way * directions[name]), known)
    return name, length, still, least


def least_length(left: Callable[[float], float], known: dict[float, float]) -> tuple[float, float]:
    """The length with the smallest residual: the best of some, and the vertex of the parabola in
    its square through it and its neighbours. ``known`` are 0 and FIRST; longer ways, which take
    longest, are tried for as long as they leave less."""
    known, best = dict(known), FIRST
    if known[FIRST] < known[0.0]:
        for length in LONGER:
            known[length] = left(length)
            if known[length] >= known[best]:
                break
            best = length
    if best == FIRST:
        known[SHORTER] = left(SHORTER)
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
