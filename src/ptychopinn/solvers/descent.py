"""The physics of every solver of this package: object, velocity, probe, updated subset by subset.

The patterns are divided into ordered subsets that each cover the whole scan. An update with one of
them is

    v <- m v + a d,   (O, v) <- (O, v) exp(i b phi),   O <- O + v

with d the modulus projection of its patterns, averaged with the illumination as weight and damped
where photon noise outweighs what is left to find,

    d = sum conj(P) chi / (sum |P|^2 + 0.05 max + w noise^2),
    chi = D^-1 [ (sqrt(I + e) / sqrt(I_hat + e) - 1) Psi ],

e being a twentieth of a photon, and phi the low-frequency phase that their centres of mass still
miss (:mod:`ptychopinn.physics.low_frequency`). Steps a, momenta m, phase gains b and dampings w are
given, or learned (:mod:`ptychopinn.solvers.network`). The probe, when it is refined, follows the
same rule with the object as its illumination.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.forward import PatternBatch, backward, missing, modelled, with_probes
from ptychopinn.physics.low_frequency import (
    LowFrequency,
    low_frequency,
    missing_gradients,
    missing_phase,
)
from ptychopinn.physics.propagators import Propagator, fourier_shift
from ptychopinn.solvers.problem import Problem

# Share of the strongest illumination added to the weight of an update, so that dim pixels at the
# rim of the scan take small steps instead of amplifying noise.
RIM = 0.05
# w in the damping is so many times the given number, 1 / w being the variance of what is left to
# find: in these units learned numbers are of order one, like all others.
DAMP_UNIT = 100.0
# Steps of the probe, when it is refined, with the same rule for the weight.
PROBE_STEP, PROBE_MOMENTUM, PROBE_RIM = 1.0, 0.7, 0.05
# How much the low-frequency phase may raise the misfit, relatively, and is still followed: once
# photon noise dominates it changes the misfit by less than that, either way.
PHASE_TOLERANCE = 1e-3


def illumination_of(xp: Ops, batch: PatternBatch, size: Any) -> Any:
    """Illumination by a batch of a flat canvas of ``size`` pixels, the weight of its pixels."""
    return xp.spread(xp.sum_modes(xp.abs2(batch.probes)), batch.places, size)


def modulus_change(
    xp: Ops, propagator: Propagator, canvas: Array, batch: PatternBatch, good: Array, e: Any
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """The modelled modulus replaced by the measured one, the phase kept.

    Returns patches and modelled intensities, differences of the moduli and measured minus modelled
    intensities on good pixels, all (M, N, N), then chi (M, P, N, N) and sum_p conj(P_p) chi_p
    (M, N, N).
    """
    patches, fields, model = modelled(xp, propagator, canvas, batch)
    amplitude = xp.sqrt(model + e)
    measured = xp.sqrt(xp.square(batch.amplitudes) + e)
    difference = missing(xp, batch, measured, amplitude, good)
    changed = xp.scaled(fields, (difference / amplitude)[:, None])
    chi, back = backward(xp, propagator, changed, batch)
    # (a - A)(a + A) = a^2 - A^2
    return patches, model, difference, difference * (measured + amplitude), chi, back


def object_step(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    e: Any,
    k: Array,
    size: Any,
) -> tuple[Any, ...]:
    """What a batch contributes: the sum of conj(P) chi on the canvas, the squared misfit of the
    moduli, the modelled intensities and the missing phase gradients (M, 2)."""
    _, model, difference, change, _, back = modulus_change(xp, propagator, canvas, batch, good, e)
    gradients = missing_gradients(xp, change, model, k)
    numerator = xp.spread(back, batch.places, size)
    return numerator, xp.sum_squares(difference), model, gradients


def object_and_probe_step(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    e: Any,
    k: Array,
    size: Any,
) -> tuple[Any, ...]:
    """The same with numerator (P, N, N) and weight (N, N) of an update of the probe."""
    patches, model, difference, change, chi, back = modulus_change(
        xp, propagator, canvas, batch, good, e
    )
    gradients = missing_gradients(xp, change, model, k)
    numerator = xp.spread(back, batch.places, size)
    waves = xp.conj(patches)[:, None] * chi
    towards = xp.sum(fourier_shift(xp, waves, -batch.fraction[:, None, :]), axis=0)
    light = xp.sum(xp.abs2(patches), axis=0)
    return numerator, xp.sum_squares(difference), model, gradients, towards, light


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


@dataclass(frozen=True, eq=False)
class Found:
    """What an update found: the squared misfit of the moduli, summed over good pixels, and the
    modelled intensities of the last batch."""

    misfit: Array
    modelled: Array


class Descent:
    """The state of the physics iterations, and their update.

    Attributes
    ----------
    canvas, velocity : (H, W) complex.
    probe, probe_velocity : (P, N, N) complex.
    illumination : of each subset, (H, W).
    follows_phase : whether the low-frequency phase is followed.
    next_misfit : of the present canvas on the subset that comes next, where it was decided upon.
    """

    def __init__(
        self,
        problem: Problem,
        start: Array | None = None,
        refine_probe: bool = False,
        low: LowFrequency | None = None,
    ) -> None:
        xp = self.xp = problem.xp
        self.problem, self.refine_probe = problem, refine_probe
        self.probe = problem.probe
        self.low = low_frequency(xp, xp.to_numpy(self.probe), problem.shape) if low is None else low
        height, width = self.low.shape
        self.size = height * width
        self.canvas = xp.zeros((height, width), self.probe[0]) + 1 if start is None else start
        self.velocity = xp.zeros_like(self.canvas)
        self.probe_velocity = xp.zeros_like(self.probe)
        self.follows_phase = bool(problem.propagator.measures_momentum)
        self.next_misfit: float | None = None
        self.illumination = [self._illumination(batches()) for batches in problem.subsets]

    def _illumination(self, batches: Iterable[PatternBatch]) -> Array:
        def work(batch: PatternBatch) -> Any:
            filled = with_probes(self.xp, batch, self.probe)
            return self.xp.call(illumination_of, filled, self.size)

        total = None
        for _, light in self.xp.each(work, batches):
            total = self.xp.plus(total, light)
        return self.xp.reshape(total, self.low.shape)

    def _step(self, batches: Iterable[PatternBatch]) -> tuple[list[Any], Array, Array, Array]:
        """Sums of a modulus projection over batches, modelled intensities of the last one, phase
        gradients and their pixels."""
        problem, xp = self.problem, self.xp
        function = object_and_probe_step if self.refine_probe else object_step
        given = (problem.good, problem.stabiliser, self.low.k, self.size)

        def work(batch: PatternBatch) -> Any:
            filled = with_probes(xp, batch, self.probe)
            return xp.call(function, problem.propagator, self.canvas, filled, *given)

        sums: list[Any] = []
        gradients, centres, model = [], [], None
        for batch, found in xp.each(work, batches):
            numerator, misfit, model, gradient, *probe = found
            parts = [numerator, misfit, *probe]
            sums = [xp.plus(a, b) for a, b in zip(sums or [None] * len(parts), parts, strict=True)]
            gradients.append(gradient)
            centres.append(batch.centre)
        return sums, model, xp.concat(gradients), xp.concat(centres)

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
        batches = problem.subsets[subset]
        sums, model, gradients, centres = self._step(batches())
        numerator, misfit, *probe = sums
        damping = 0.0 if damp is None else DAMP_UNIT * xp.maximum(damp, 0.0) * problem.noise**2
        self.canvas, self.velocity = xp.call(
            advanced,
            self.canvas,
            self.velocity,
            xp.reshape(numerator, self.low.shape),
            self.illumination[subset],
            step,
            momentum,
            damping,
        )
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
            self.illumination[subset] = self._illumination(batches())
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
        problem, xp = self.problem, self.xp

        def work(batch: PatternBatch) -> Array:
            filled = with_probes(xp, batch, self.probe)
            return xp.call(batch_misfit, problem.propagator, canvas, filled, problem.good)

        total = None
        for _, found in xp.each(work, problem.subsets[number % len(problem.subsets)]()):
            total = xp.plus(total, found)
        return total

    def total_illumination(self) -> Array:
        """The illumination (H, W) of all patterns."""
        total = self.illumination[0]
        for more in self.illumination[1:]:
            total = total + more
        return total

    def onto(
        self, problem: Problem, canvas: Array | None = None, velocity: Array | None = None
    ) -> Descent:
        """The same state with another description of the same patterns, and with another canvas
        and its velocity, when they are given."""
        start = self.canvas if canvas is None else canvas
        state = Descent(replace(problem, probe=self.probe), start, self.refine_probe)
        state.velocity = self.velocity if velocity is None else velocity
        state.probe_velocity = self.probe_velocity
        state.follows_phase = self.follows_phase
        return state
