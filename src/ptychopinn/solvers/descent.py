"""The physics of every solver of this package: object, velocity, probe, updated subset by subset.

The patterns are divided into ordered subsets that each cover the whole scan. An update with one of
them is

    v <- m v + a d,   (O, v) <- (O, v) exp(i b phi),   O <- O + v

with d what its patterns ask of the exit waves (:mod:`ptychopinn.solvers.projections`), averaged
with the illumination as weight and damped where photon noise outweighs what is left to find,

    d = sum conj(P) chi / (sum |P|^2 + 0.05 max + w noise^2),

and phi the low-frequency phase that their centres of mass still miss
(:mod:`ptychopinn.physics.low_frequency`). Steps a, momenta m, phase gains b and dampings w are
given, or learned (:mod:`ptychopinn.solvers.network`). The probe, when it is refined, follows the
same rule with the object as its illumination.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import Canvas
from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.effects import Effect, Seen, applied, seen, slices_of
from ptychopinn.physics.forward import (
    PatternBatch,
    added_up,
    brought_back,
    in_parts,
    laid,
    light_of,
    missing,
    modelled,
    with_probes,
)
from ptychopinn.physics.low_frequency import (
    LowFrequency,
    low_frequency,
    missing_gradients,
    missing_phase,
)
from ptychopinn.physics.propagators import Propagator
from ptychopinn.solvers.problem import RIM, Problem, canvas_of
from ptychopinn.solvers.projections import Projection, projection

# w in the damping is so many times the given number, 1 / w being the variance of what is left to
# find: in these units learned numbers are of order one, like all others.
DAMP_UNIT = 100.0
# Steps of the probe, when it is refined, with the same rule for the weight.
PROBE_STEP, PROBE_MOMENTUM, PROBE_RIM = 1.0, 0.7, 0.05
# How much the low-frequency phase may raise the misfit, relatively, and is still followed: once
# photon noise dominates it changes the misfit by less than that, either way.
PHASE_TOLERANCE = 1e-3


def illumination_of(
    xp: Ops, propagator: Propagator, canvas: Array, batch: PatternBatch, good: Array, size: Any
) -> Any:
    """Illumination by a batch of a flat canvas of ``size`` pixels, the weight of its pixels."""
    return laid(xp, light_of(xp, canvas, batch), batch, size)


def object_step(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    e: Any,
    by_photons: Any,
    k: Array,
    size: Any,
) -> tuple[Any, ...]:
    """What a batch contributes: the sum of conj(P) chi on the canvas, the squared misfit of the
    moduli, the modelled intensities and the missing phase gradients (M, 2)."""
    return _contribution(
        xp, projection(xp, propagator, canvas, batch, good, e, by_photons), batch, k, size
    )


def object_and_probe_step(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    e: Any,
    by_photons: Any,
    k: Array,
    size: Any,
) -> tuple[Any, ...]:
    """The same with numerator (P, N, N) and weight (N, N) of the probe, and those of parts."""
    found = projection(xp, propagator, canvas, batch, good, e, by_photons)
    waves = xp.conj(found.patches)[:, None] * found.chi
    light = xp.abs2(found.patches)
    each = brought_back(xp, batch, waves)
    sums = added_up(xp, each), xp.sum(light, axis=0)
    return *_contribution(xp, found, batch, k, size), *sums, *in_parts(xp, batch, each, light)


def _contribution(
    xp: Ops, found: Projection, batch: PatternBatch, k: Array, size: Any
) -> tuple[Any, ...]:
    gradients = missing_gradients(xp, found.excess, found.modelled, k)
    numerator = laid(xp, found.back, batch, size)
    return numerator, xp.sum_squares(found.difference), found.modelled, gradients


def batch_misfit(
    xp: Ops, propagator: Propagator, canvas: Array, batch: PatternBatch, good: Array
) -> Array:
    """Sum of (sqrt(I_hat) - sqrt(I))^2 over good pixels of a batch."""
    model = modelled(xp, propagator, canvas, batch)[2]
    return xp.sum_squares(missing(xp, batch, batch.amplitudes, xp.sqrt(model), good))


def advanced(
    xp: Ops,
    canvas: Array,
    velocity: Array,
    numerator: Array,
    light: Array,
    step: Array,
    momentum: Array,
    damping: Array,
) -> tuple[Array, Array]:
    """Canvas and velocity after an update; ``damping`` is added to the weight."""
    weight = step / (light + RIM * xp.max(light) + damping)
    velocity = xp.scaled(velocity, momentum) + xp.scaled(numerator, weight)
    return canvas + velocity, velocity


def missing_rotation(
    xp: Ops, gradients: Array, centre: Array, gain: Array, low: LowFrequency
) -> Array:
    """exp(i gain phi) (H, W) with the low-frequency phase phi."""
    return xp.rotation(gain * missing_phase(xp, gradients, centre, low))


def advanced_probe(
    xp: Ops, probe: Array, velocity: Array, change: Array, light: Array
) -> tuple[Array, Array]:
    """Probe and velocity after an update."""
    weight = PROBE_STEP / (light + PROBE_RIM * xp.max(light))
    velocity = xp.scaled(velocity, PROBE_MOMENTUM) + xp.scaled(change, weight)
    return probe + velocity, velocity


class Found(NamedTuple):
    """What an update found: the squared misfit of the moduli, summed over good pixels, and the
    modelled intensities of the last batch."""

    misfit: Array
    modelled: Array


class Descent:
    """The state of the physics iterations, and their update.

    canvas, velocity : (H, W) complex.
    probe, probe_velocity : (P, N, N) complex.
    illumination : of each subset, (H, W).
    follows_phase : whether the low-frequency phase is followed.
    next_misfit : of the present canvas on the subset that comes next, where it was decided upon.
    effects : what beam and detector do beyond the probe.  watches : whether :meth:`take_seen` is
    going to be asked.
    counts_photons : whether updates follow the likelihood of counted photons, or moduli.
    glimpse : is told within an update how many more patterns were worked on, and what gives the
    canvas that would follow from those of the update by now.
    """

    def __init__(
        self,
        problem: Problem,
        start: Array | None = None,
        refine_probe: bool = False,
        low: LowFrequency | None = None,
        effects: Sequence[Effect] = (),
        counts_photons: bool = False,
    ) -> None:
        xp = self.xp = problem.xp
        self.problem, self.refine_probe = problem, refine_probe
        self.effects, self.watches = tuple(effects), False
        self.counts_photons = counts_photons
        self.glimpse: Callable[[int, Callable[[], Array]], None] | None = None
        self._seen: list[tuple[NDArray[np.int64], Any]] = []
        self._asked: list[Array] = []
        self._own: dict[str, list[Array]] = {}
        self.probe = problem.probe
        self.low = low_frequency(xp, xp.to_numpy(self.probe), problem.shape) if low is None else low
        count = self.slices = slices_of(self.effects)
        shape = self.shape = self.low.shape if count == 1 else (count, *self.low.shape)
        self.size = math.prod(shape)
        self.canvas = xp.zeros(shape, self.probe[0]) + 1 if start is None else start
        self.velocity = xp.zeros_like(self.canvas)
        self.probe_velocity = xp.zeros_like(self.probe)
        self.follows_phase = bool(problem.propagator.measures_momentum)
        self.next_misfit: float | None = None
        self.illumination = [self._illumination(k) for k in range(len(problem.subsets))]

    def _illumination(self, subset: int) -> Array:
        total = None
        for _, _, part in self.each(illumination_of, subset, self.canvas, self.size):
            total = self.xp.plus(total, part)
        return self.xp.reshape(self.xp.totals([total])[0], self.shape)

    def batches(
        self, work: Callable[[PatternBatch], Any], subset: int
    ) -> Iterator[tuple[PatternBatch, NDArray[np.int64], Any]]:
        """Every batch of a subset, with the numbers of its patterns, which are known where there
        are effects, and what ``work`` makes of it as it is to be modelled."""
        xp, problem = self.xp, self.problem

        def numbered() -> Iterator[tuple[PatternBatch, NDArray[np.int64]]]:
            at = 0
            for batch in problem.subsets[subset]():
                end, numbers = at, np.zeros(0, np.int64)
                if self.effects:
                    end += int(xp.shape(batch.amplitudes)[0])
                    numbers = problem.numbers[subset][at:end]
                yield batch, numbers
                at = end

        def of(item: tuple[PatternBatch, NDArray[np.int64]]) -> Any:
            filled = with_probes(xp, item[0], self.probe)
            return work(applied(xp, self.effects, filled, item[1], problem.inward))

        for (batch, numbers), found in xp.each(of, numbered()):
            yield batch, numbers, found

    def each(
        self, function: Callable[..., Any], number: int, canvas: Array, *further: Any
    ) -> Iterator[tuple[PatternBatch, NDArray[np.int64], Any]]:
        """Every batch of the subset ``number`` (modulo their count), the numbers of its patterns,
        and what ``function`` makes of propagator, canvas, batch, good pixels and more."""
        problem, xp = self.problem, self.xp

        def work(batch: PatternBatch) -> Any:
            return xp.call(function, problem.propagator, canvas, batch, problem.good, *further)

        return self.batches(work, number % len(problem.subsets))

    @property
    def rule(self) -> tuple[Any, Any]:
        """The last two arguments of :func:`projection`."""
        problem = self.problem
        return (problem.floor, 1.0) if self.counts_photons else (problem.stabiliser, ())

    def _step(
        self, number: int, ahead: Callable[[Array], tuple[Array, Array]]
    ) -> tuple[list[Any], Array, Array, Array]:
        """Sums of a modulus projection over a subset, modelled intensities of its last batch, phase
        gradients and their pixels; ``ahead`` gives the canvas that follows from a numerator."""
        xp = self.xp
        function = object_and_probe_step if self.refine_probe else object_step
        further = (*self.rule, self.low.k, self.size)
        sums, gradients, centres, model = list[Any](), list[Array](), list[Array](), None
        for batch, numbers, found in self.each(function, number, self.canvas, *further):
            numerator, misfit, model, gradient, *probe = found
            if self.watches and self.effects:
                known = self.problem
                given = (batch.amplitudes, batch.bounds, model, known.good, known.stabiliser)
                self._seen.append((numbers, xp.call(seen, *given)))
                for effect in self.effects:
                    if effect.asks is not None:
                        own = self._own.setdefault(effect.name, [])
                        own.append(xp.call(effect.asks, *given))
                before = self._asked or [None] * len(probe[2:])
                self._asked = [xp.plus(a, b) for a, b in zip(before, probe[2:], strict=True)]
            parts = [numerator, misfit, *probe[:2]]
            sums = [xp.plus(a, b) for a, b in zip(sums or [None] * len(parts), parts, strict=True)]
            # One array each: many small ones would cut the memory between them to pieces.
            gradients = [xp.concat([*gradients, gradient])]
            centres = [xp.concat([*centres, batch.centre])]
            if self.glimpse is not None:
                done = int(xp.shape(batch.amplitudes)[0])
                self.glimpse(done, lambda so_far=sums[0]: ahead(so_far)[0])  # type: ignore[misc]
        return xp.totals(sums), model, xp.gathered(gradients[0]), xp.gathered(centres[0])

    def update(
        self,
        number: int,
        step: Any,
        momentum: Any,
        phase_gain: Any,
        damp: Any = None,
        decide: bool = False,
    ) -> Found:
        """One update with the subset ``number`` (modulo their count), undamped without ``damp``.

        With ``decide`` the low-frequency phase is followed from now on only if it does not raise
        the misfit of the patterns that come next.
        """
        problem, xp = self.problem, self.xp
        subset = number % len(problem.subsets)
        damping = 0.0 if damp is None else DAMP_UNIT * xp.maximum(damp, 0.0) * problem.noise**2
        before, light = (self.canvas, self.velocity), self.illumination[subset]

        def ahead(numerator: Array) -> Any:
            found = xp.reshape(numerator, self.shape)
            return xp.call(advanced, *before, found, light, step, momentum, damping)

        sums, model, gradients, centres = self._step(subset, ahead)
        numerator, misfit, *probe = sums
        self.canvas, self.velocity = ahead(numerator)
        self.next_misfit = None
        if (decide or self.follows_phase) and problem.propagator.measures_momentum:
            self._follow(xp.call(missing_rotation, gradients, centres, phase_gain, self.low),
                         number + 1 if decide else None)  # fmt: skip
        elif decide:
            self.next_misfit = float(self.misfit(number + 1, self.canvas))
        if probe:
            self.probe, self.probe_velocity = xp.call(
                advanced_probe, self.probe, self.probe_velocity, *probe
            )
        if probe or self.slices > 1:
            # What enters a slice follows from those before.
            self.illumination[subset] = self._illumination(subset)
        return Found(misfit, model)

    def _follow(self, rotation: Array, judge: int | None) -> None:
        """Rotate the phase of canvas and velocity, unless that raises the misfit of ``judge``."""
        turned = self.canvas * rotation
        if judge is not None:
            plain = float(self.misfit(judge, self.canvas))
            followed = float(self.misfit(judge, turned))
            self.follows_phase = followed <= plain * (1 + PHASE_TOLERANCE)
            self.next_misfit = followed if self.follows_phase else plain
        if self.follows_phase:
            self.canvas, self.velocity = turned, self.velocity * rotation

    def misfit(self, number: int, canvas: Array) -> Array:
        """The squared misfit of ``canvas`` on the subset ``number``."""
        total = None
        for _, _, part in self.each(batch_misfit, number, canvas):
            total = self.xp.plus(total, part)
        return self.xp.totals([total])[0]

    def take_seen(self) -> Seen:
        """What the updates saw since this was asked last, which is a whole pass."""
        xp, (found, self._seen) = self.xp, (self._seen, [])
        (answers, self._own), (asked, self._asked) = (self._own, {}), (self._asked, [])
        numbers = np.concatenate([numbers for numbers, _ in found])
        count = int(xp.totals([np.array([float(len(numbers))])])[0][0])

        def of_all(batches: Iterable[Array]) -> NDArray[np.float64]:
            """Of each pattern, given those of this process batch by batch."""
            parts = np.concatenate([xp.to_numpy(part) for part in batches])
            every = np.zeros((count, *parts.shape[1:]))
            every[numbers] = parts
            return np.asarray(xp.totals([every])[0])

        measured, modelled = (of_all(one[k] for _, one in found) for k in (0, 1))
        pixels = [sum(xp.to_numpy(one[k]).astype(np.float64) for _, one in found) for k in (2, 3)]
        surplus, information = xp.totals(pixels)
        photon = float((2 * self.problem.noise) ** 2)
        sums = [xp.to_numpy(field) for field in xp.totals(asked)]
        probes: tuple[Any, Any, Any] = ((), (), ())
        if sums:
            probes = sums[0], sums[1], xp.to_numpy(self.probe)
        own = {name: of_all(batches) for name, batches in answers.items()}
        return Seen(measured, modelled, surplus, information, photon, *probes, own=own)

    def total_illumination(self) -> Array:
        """The illumination (H, W) of all patterns."""
        return reduce(add, self.illumination)

    def found(self, origin_px: NDArray[np.int64], misfits: Sequence[float]) -> Canvas:
        """The object so far."""
        light = self.xp.to_numpy(self.total_illumination())
        return canvas_of(self.xp.to_numpy(self.canvas), light, origin_px, misfits)

    def onto(
        self, problem: Problem, canvas: Array | None = None, velocity: Array | None = None
    ) -> Descent:
        """The same state with another description of the same patterns, and with another canvas
        and its velocity, when they are given."""
        start = self.canvas if canvas is None else canvas
        known = replace(problem, probe=self.probe)
        state = Descent(
            known,
            start,
            self.refine_probe,
            effects=self.effects,
            counts_photons=self.counts_photons,
        )
        state.velocity = self.velocity if velocity is None else velocity
        state.probe_velocity = self.probe_velocity
        state.follows_phase = self.follows_phase
        return state
