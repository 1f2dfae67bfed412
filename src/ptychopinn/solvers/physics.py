"""The physics iterations: object, probe modes and positions until the misfit no longer falls."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import SILENT, Canvas, Glance, Progress, Solved, Solver, Step
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.effects import Effect, slices_of
from ptychopinn.physics.geometry import canvas_for
from ptychopinn.physics.total_variation import matters, smoothed, thresholds
from ptychopinn.solvers.affine import warped
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.glances import Glances
from ptychopinn.solvers.passes import Passes
from ptychopinn.solvers.position_noise import position_covariance
from ptychopinn.solvers.positions import FINE, LARGEST_MOVE, MARGIN, PositionSearch
from ptychopinn.solvers.problem import Problem, canvas_of, scan_problem
from ptychopinn.solvers.slow_amplitude import EVERY, exchange
from ptychopinn.solvers.stages import CALMER, PATIENT, RISING, STAGES, Schedule, Stage, ran_away

log = logging.getLogger(__name__)


# Effects of beam and detector are followed once the object has taken this many passes.
EFFECTS_FROM = 3
# Where photon noise is a larger share of the counts the patterns are followed by their photons,
# else by their moduli, which bear what a model lacks better. Those of few photons are biased to a
# darker model: where the object hides in other counts that keeps their noise out of it.
FEW_PHOTONS, FEW_HIDDEN = 0.02, 0.15
# Slices change the light on those behind them, and large steps with a large momentum may carry them
# away. In the first passes steps are divided by this number, and the momentum makes up for the half
# of their share only; in the last stage it makes up for more than it, and the misfit rings longer.
# When that rises, the slices stop and go on with smaller steps.
CAREFUL, CAREFUL_STEP = 8, 2.0
# Rows and columns of an object that tell its phase gradient well enough to be looked at.
FEW_LINES = 24


class PhysicsSolver(Solver):
    """Plain physics iterations on the operations of a framework.

    xp : the operations.
    config : how many passes, and whether probe and positions are refined as well.
    limit_bytes : memory for patterns that are held at once.
    single_positions : whether positions that are refined are moved one by one as well, or by an
        affine map of all alone.
    effects : of beam and detector, in network units, to begin with; they are refined as well.
    """

    def __init__(
        self,
        xp: Ops,
        config: PhysicsConfig,
        limit_bytes: int,
        single_positions: bool = True,
        effects: Sequence[Effect] = (),
    ) -> None:
        self.xp, self.config, self.limit = xp, config, limit_bytes
        self.single_positions, self.effects = single_positions, tuple(effects)

    def run(
        self, scan: PreparedScan, start: Canvas | None = None, progress: Progress = SILENT
    ) -> Iterator[Step]:
        xp, config = self.xp, self.config
        schedule = Schedule(config, slices_of(self.effects))
        misfits = list[float]()
        passes = Passes(progress, scan.scan.M)
        with xp.running():
            iterations = _Iterations(self, scan, start)
        while (stage := schedule.next_stage(misfits, iterations.at_rest)) is not None:
            # Entered for each pass, so that nothing is switched while the caller looks.
            with xp.running():
                updates = iterations.merge(stage.merged)
                iterations.free_probe(len(misfits) >= config.probe_from)
                stage = iterations.shared(stage, misfits)
                iterations.watch(len(misfits) >= EFFECTS_FROM or start is not None)
                iterations.tell(passes)
                passes.begin(updates)
                begun, misfit = iterations.present, 0.0
                for u in range(updates):
                    share = iterations.update(u, stage, decide=u == updates - 1)
                    misfit += share
                    passes.step(share)
                misfits.append(misfit)
                if ran_away(misfits):
                    iterations.go_back(begun, misfit)
                    schedule.begin_again(len(misfits))
                else:
                    iterations.keep(begun, misfit)
                    iterations.agree()
                    iterations.smooth()
                    iterations.follow_effects(len(misfits))
                    if config.refine_positions and len(misfits) >= config.positions_from:
                        iterations.move(misfit)
            passes.end()
            yield Step(len(misfits), misfit, lambda: iterations.result(misfits), iterations.glance)


class _Present(NamedTuple):
    """What a pass begins with: canvas, probe and effects, and the positions with their canvas."""

    canvas: Array
    probe: Array
    effects: tuple[Effect, ...]
    search: PositionSearch
    scan: PreparedScan
    shape: tuple[int, int]
    origin: NDArray[np.int64]


class _Iterations:
    """The state of a run: the problem, which changes with the positions, and the descent."""

    def __init__(self, solver: PhysicsSolver, scan: PreparedScan, start: Canvas | None) -> None:
        self.solver, self.scan, self.power = solver, scan, float((np.abs(scan.probe) ** 2).sum())
        config = solver.config
        margin = MARGIN if config.refine_positions else 0
        self.shape, self.origin = canvas_for(scan.scan.positions_px, scan.scan.N, margin)
        self.problem, self.merged, self.calm = self._problem(), 1, 1.0
        self.best: tuple[float, _Present] | None = None
        self.search = PositionSearch(scan.scan.positions_px, solver.single_positions)
        self.glances = Glances()
        canvas = None if start is None else solver.xp.asarray(start.on(self.shape, self.origin))
        effects = solver.effects
        # Where the detector reads with noise what is added makes the moduli as good as photons.
        many = FEW_HIDDEN if any(effect.hides for effect in effects) else FEW_PHOTONS
        few = self.problem.expected > many and not self.problem.steadying > 0
        self.state = Descent(
            self.problem, canvas, config.refine_probe, effects=effects, counts_photons=few
        )

    def _problem(self) -> Problem:
        config = self.solver.config
        problem, _ = scan_problem(
            self.solver.xp,
            self.scan,
            config.subsets,
            self.solver.limit,
            refine_probe=config.refine_probe,
            place=(self.shape, self.origin),
            copies=math.prod(effect.copies * effect.slices for effect in self.solver.effects),
        )
        return problem

    def merge(self, count: int) -> int:
        """Let ``count`` subsets at a time make one update; returns the updates of a pass."""
        if count != self.merged:
            self.merged = count
            self.state = self.state.onto(self.problem.merged(count))
        return len(self.state.problem.subsets)

    def free_probe(self, free: bool) -> None:
        """Let the probe move from now on, if it is refined at all."""
        self.state.refine_probe = self.solver.config.refine_probe and free

    def watch(self, watched: bool) -> None:
        """Let the updates of the next pass see what the effects follow from, or not."""
        self.state.watches = watched and bool(self.state.effects)

    @property
    def present(self) -> _Present:
        """What the next pass begins with."""
        state, search = self.state, deepcopy(self.search)
        found = state.canvas, state.probe, state.effects
        return _Present(*found, search, self.scan, self.shape, self.origin)

    def keep(self, begun: _Present, misfit: float) -> None:
        """Keep what a pass with this misfit began with, if none was better."""
        if self.best is None or misfit <= self.best[0]:
            self.best = misfit, begun

    def go_back(self, begun: _Present, misfit: float) -> None:
        """Take up again what was kept, or else what the pass with this misfit began with, at rest;
        with smaller steps, if all patterns made one update already."""
        log.info("a misfit of %.4g: going back, and on with all patterns in one update", misfit)
        xp, state, best = self.solver.xp, self.state, begun if self.best is None else self.best[1]
        if len(state.problem.subsets) == 1:
            self.calm *= CALMER
        self.search, self.scan = deepcopy(best.search), best.scan
        self.shape, self.origin = best.shape, best.origin
        if self.solver.config.refine_positions:
            self.problem = self._problem()
        state.probe, state.effects = best.probe, best.effects
        still = xp.zeros_like(best.canvas)
        self.state = state.onto(self.problem.merged(self.merged), best.canvas, still)
        self.state.probe_velocity = xp.zeros_like(best.probe)

    def follow_effects(self, number: int) -> None:
        """Bring the effects up to date with what the pass of this number saw."""
        state = self.state
        if state.watches:
            seen, outward = state.take_seen(), self.scan.propagator.outward
            state.effects = tuple(effect.advanced(seen, outward) for effect in state.effects)
            if number % EVERY == 0:
                exchange(state, self.scan.scan.positions_px, self.origin)

    def agree(self) -> None:
        """Let processes that work together go on from the same numbers to the last digit, because
        what they decide upon follows from these."""
        state, xp = self.state, self.solver.xp
        state.canvas = xp.agreed(state.canvas)
        if state.refine_probe:
            state.probe = xp.agreed(state.probe)

    def smooth(self) -> None:
        """Bring the object nearer to one of small total variation, where noise outweighs that."""
        xp, state = self.solver.xp, self.state
        more = math.prod(effect.variance for effect in state.effects)
        noise = float(self.problem.noise) * more**0.5
        weight, light = self.solver.config.total_variation, state.total_illumination()
        if matters(weight, noise, float(xp.max(light))):
            t = xp.call(thresholds, light, weight, noise)
            state.canvas = xp.call(smoothed, state.canvas, t)

    def shared(self, stage: Stage, misfits: Sequence[float]) -> Stage:
        """The stage of the next pass for the slices of the object, given the misfit of every pass
        so far, with steps as small as they have to be."""
        count, done = self.state.slices, len(misfits)
        if count == 1:
            return replace(stage, step=stage.step / self.calm)
        if done > 1 and misfits[-1] > max(misfits[-2], RISING * min(misfits)):
            self.calm *= CALMER
            self.state.velocity = self.solver.xp.zeros_like(self.state.velocity)
        if done < CAREFUL:
            return stage.shared(count, CAREFUL_STEP * self.calm, count / 2)
        last = stage.momentum == STAGES[-1].momentum
        return stage.shared(count, self.calm, count * PATIENT if last else count)

    def update(self, number: int, stage: Stage, *, decide: bool) -> float:
        """Make one update; its share of the relative misfit."""
        found = self.state.update(
            number, stage.step, stage.momentum, stage.phase_gain, decide=decide
        )
        return float(found.misfit) / float(self.problem.power)

    @property
    def at_rest(self) -> bool:
        """Whether positions do not move, or no more."""
        return self.search.at_rest or not self.solver.config.refine_positions

    def move(self, misfit: float) -> None:
        """Move the positions after a pass with this relative misfit, when it is time."""
        xp, search, n = self.solver.xp, self.search, self.scan.scan.N
        if not search.is_due():
            return
        # Of a modulus: the amplitudes of a pattern have the mean square 1/4.
        variance = max(misfit, self.problem.expected) / 4
        before = search.positions_px
        step = search.turn(self.state, variance)
        canvases: list[Any] = [None, None]
        after = search.positions_px
        turned = float(np.sqrt(((after - before) ** 2).mean())) > FINE
        if turned or not self._has_room(after):
            shape, origin = canvas_for(after, n, MARGIN)
            where = (self.origin, shape, origin, step if turned else np.eye(2), search.centre)
            canvases = [
                xp.asarray(warped(xp.to_numpy(field), *where, outside))
                for field, outside in ((self.state.canvas, 1.0), (self.state.velocity, 0.0))
            ]
            self.shape, self.origin = shape, origin
        search.move(n, self.shape, self.origin)
        # An object in the file is not where they are.
        scan = replace(self.scan.scan, positions_px=search.positions_px, object=None)
        self.scan = replace(self.scan, scan=scan)
        self.problem = self._problem()
        self.state = self.state.onto(self.problem.merged(self.merged), *canvases)

    def _has_room(self, positions_px: NDArray[np.float64]) -> bool:
        """Whether positions can make a move on the present canvas."""
        room = int(np.ceil(2 * LARGEST_MOVE))
        shape, origin = canvas_for(positions_px, self.scan.scan.N, room)
        end, limit = origin + np.array(shape), self.origin + np.array(self.shape)
        return bool((origin >= self.origin).all() and (end <= limit).all())

    def tell(self, passes: Passes) -> None:
        """Let ``passes`` know within the updates of the next pass what they find."""

        def glimpse(patterns: int, canvas: Callable[[], Array]) -> None:
            passes.within(patterns, lambda: self.glance(canvas()))

        self.state.glimpse = glimpse

    def glance(self, canvas: Array | None = None) -> Glance:
        """The state to be shown, or that with another ``canvas``: as the result, but for the power
        of the probe, and without the covariance of the positions."""
        found = self.glances.of(self.state, self.scan, self.origin, canvas)
        if not self.solver.config.refine_probe or found.object.ndim > 2:
            return found
        # Some rows and columns tell the gradient.
        height, width = found.object.shape
        obj, light = found.object, self.glances.light
        rows, columns = (slice(None, None, max(1, side // FEW_LINES)) for side in obj.shape)
        y = slopes_of(obj[:, columns], light[:, columns])[0]
        x = slopes_of(obj[rows], light[rows])[1]
        along = ramp((height, 1), (-y, 0.0)), ramp((1, width), (0.0, -x))
        flat = obj * along[0].astype(obj.dtype)
        flat *= along[1].astype(obj.dtype)
        return replace(found, object=flat)

    def result(self, misfits: Sequence[float]) -> Solved:
        """What was found so far."""
        state, to_numpy = self.state, self.solver.xp.to_numpy
        obj, probe = to_numpy(state.canvas), to_numpy(state.probe)
        light, effects = to_numpy(state.total_illumination()), state.effects
        if self.solver.config.refine_probe:
            slopes = slopes_of(obj, light)
            obj, probe = fixed_gauge(obj, light, probe, self.power)
            effects = tuple(effect.tilted(ramp(probe.shape[1:], slopes)) for effect in effects)
        canvas = canvas_of(obj, light, self.origin, misfits)
        positions = self.scan.scan.positions_px
        covariance = self._covariance(misfits[-1])
        return Solved(canvas, probe, positions, len(misfits), effects, covariance)

    def _covariance(self, misfit: float) -> NDArray[np.float64] | None:
        """That of the positions, where single ones were refined."""
        spread, count = self.search.spread, len(self.search.given)
        if spread is None:
            return None
        excess = misfit / self.problem.expected if self.problem.expected > 0 else 1.0
        with self.solver.xp.running():
            return position_covariance(self.state, count, excess, spread)


def fixed_gauge(
    obj: NDArray[np.complex64],
    illumination: NDArray[Any],
    probe: NDArray[np.complex64],
    power: float,
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Object (H, W), or (K, H, W) of slices, and probe (P, N, N) in one gauge.

    When both are free, exp(-i k u) on the object and exp(i k u) on the probe change no pattern, nor
    does a factor between them. Here the object has no mean phase gradient, weighted with the
    ``illumination`` of its shape, and the probe has the given ``power``, sum abs(P)^2. A probe that
    is tilted goes through other parts of each further slice, so that those of a thick sample stay.
    """
    y, x = slopes_of(obj, illumination)
    factor = np.sqrt(power / (np.abs(probe.astype(np.complex128)) ** 2).sum())
    flat = obj / factor ** (1 / (1 if obj.ndim == 2 else len(obj))) * ramp(obj.shape, (-y, -x))
    taken = probe * factor * ramp(probe.shape, (y, x))
    return flat.astype(np.complex64), taken.astype(np.complex64)


def slopes_of(obj: NDArray[Any], illumination: NDArray[Any]) -> tuple[float, float]:
    """Mean phase gradient (y, x) of an object (H, W), weighted with the ``illumination``; 0 of
    slices (K, H, W)."""
    if obj.ndim > 2:
        return 0.0, 0.0
    weight = np.asarray(illumination, dtype=np.float64)
    slopes = []
    for axis in (0, 1):
        near = np.delete(obj, -1, axis).astype(np.complex128)
        far = np.delete(obj, 0, axis)
        w = np.delete(weight, -1, axis) * np.delete(weight, 0, axis)
        slopes.append(float(np.angle((w * np.conj(near) * far).sum())))
    return slopes[0], slopes[1]


def ramp(shape: tuple[int, ...], slopes: tuple[float, float]) -> NDArray[np.complex128]:
    """Phase ramp of pixels (..., H, W) with these slopes (y, x)."""
    y, x = np.arange(shape[-2])[:, None], np.arange(shape[-1])[None]
    return np.exp(1j * (slopes[0] * y + slopes[1] * x))
