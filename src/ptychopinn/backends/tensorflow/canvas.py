"""The canvas network in TensorFlow: passes of physics steps, then a learned correction each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.backends.tensorflow import graphs, physics
from ptychopinn.backends.tensorflow.network import BuiltNetwork
from ptychopinn.networks.unrolled import (
    DAMP_UNIT,
    DAMPING,
    PHASE_TOLERANCE,
    PROBE_MOMENTUM,
    PROBE_RIM,
    PROBE_STEP,
    spare_intensity,
)
from ptychopinn.ops.workers import ALONE, Workers
from ptychopinn.solvers.patches import TILE, tiles


class PatternBatch(NamedTuple):
    """Some patterns of a scan, ready for the physics.

    amplitudes : (M, N, N) square root of the counts in network units, FFT order.
    fraction : (M, 2) sub-pixel remainders of the positions.
    index : (M, N*N) flat canvas pixels of each patch.
    centre : (M,) flat canvas pixel of each patch's pixel [N/2, N/2].
    probes : (M, P, N, N) the probe at these remainders where it is kept, else None.
    """

    amplitudes: Tensor
    fraction: Tensor
    index: Tensor
    centre: Tensor
    probes: Tensor | None = None

    def shifted(self, probe: Tensor) -> Tensor:
        """``probe`` (P, N, N) at the remainders, (M, P, N, N)."""
        return graphs.shifted_probes(probe, self.fraction) if self.probes is None else self.probes


@dataclass(frozen=True)
class CanvasProblem:
    """One (sub-)scan on its own canvas.

    subsets : of each ordered subset a callable that iterates over its patterns; those from number
        ``count`` on are empty.
    shape : canvas (H, W).  probe : (P, N, N), network units.  low : for this probe and shape.
    good : (N, N) good pixels in FFT order, 0 or 1.
    power : sum of amplitudes^2 over good pixels of all patterns.
    noise : standard deviation of an amplitude due to photon noise, network units.
    expected : relative misfit that photon noise alone gives.
    numbers : of each subset the pattern numbers, in the order of its batches.
    workers : work on the batches.
    """

    subsets: Sequence[Callable[[], Iterable[PatternBatch]]]
    count: int | Tensor
    shape: Tensor
    probe: Tensor
    low: physics.LowFrequency
    good: Tensor
    power: Tensor
    noise: Tensor
    expected: float = 0.0
    numbers: Sequence[NDArray[np.int64]] = ()
    workers: Workers = ALONE

    @property
    def spare(self) -> Tensor:
        """What is added to intensities in the modulus projection."""
        return spare_intensity(self.noise)

    def merged(self, size: int) -> CanvasProblem:
        """The same patterns with always ``size`` subsets, or what is left, made one."""
        if size == 1:
            return self
        groups = [slice(k, k + size) for k in range(0, len(self.subsets), size)]
        return replace(
            self,
            subsets=[partial(_chained, self.subsets[group]) for group in groups],
            count=len(groups),
            numbers=[np.concatenate(self.numbers[group]) for group in groups],
        )


def _chained(
    subsets: Sequence[Callable[[], Iterable[PatternBatch]]],
) -> Iterable[PatternBatch]:
    return chain.from_iterable(batches() for batches in subsets)


@dataclass(frozen=True)
class CanvasEstimate:
    """What the canvas network found.

    canvas : (H, W) complex.  canvases : the same after each pass.
    illumination : (H, W) sum of abs(probe)^2.  probe : (P, N, N).
    misfits : relative amplitude misfit during each pass (K).
    modelled : of each pass and update the intensities (m, N, N) before it, where a subset is one
        batch.
    corrections : share of each learned correction that was taken: 1, less when it was damped, 0
        when it was rejected.  phases : 1 where the low-frequency phase was followed in a pass.
    """

    canvas: Tensor
    canvases: list[Tensor]
    illumination: Tensor
    probe: Tensor
    misfits: list[Tensor]
    modelled: list[list[Tensor]]
    corrections: list[float] = field(default_factory=list)
    phases: list[float] = field(default_factory=list)


def illumination(
    batches: Iterable[PatternBatch], probe: Tensor, shape: Tensor, workers: Workers = ALONE
) -> Tensor:
    """Sum of abs(probe)^2 on the canvas (H, W), the weight of every object pixel."""

    def light(batch: PatternBatch) -> Tensor:
        return graphs.light_of(batch.shifted(probe), batch.index, shape)

    # One by one: each is as large as the canvas.
    return reduce(tf.add, (found for _, found in workers.each(light, batches)))


@dataclass(frozen=True)
class Projection:
    """Sums of one modulus projection over the patterns of a subset.

    numerator : (H, W) sum of conj(P)*chi with chi = F^-1(Psi') - psi, Psi' with the measured
    modulus.  misfit : of these moduli, summed over good pixels.  modelled : intensities of the
    last batch.
    gradients, centre : the missing phase gradients (M, 2) and where they belong.
    probe_change : numerator (P, N, N) and weight (N, N) of a step of the probe, if asked for.
    """

    numerator: Tensor
    misfit: Tensor
    modelled: Tensor
    gradients: Tensor
    centre: Tensor
    probe_change: tuple[Tensor, Tensor] | None = None


def modulus_projection(
    canvas: Tensor,
    batches: Iterable[PatternBatch],
    probe: Tensor,
    good: Tensor,
    low: physics.LowFrequency,
    spare: Tensor,
    with_probe: bool = False,
    workers: Workers = ALONE,
) -> Projection:
    """Replace the modelled modulus by the measured one, keep the phase (see Projection).

    The moduli are sqrt(I + ``spare``).
    """

    def step(batch: PatternBatch) -> Any:
        given = (canvas, batch.amplitudes, batch.shifted(probe), batch.index, good, spare, low.k)
        if with_probe:
            return graphs.modulus_step_with_probe(*given, batch.fraction)
        return graphs.modulus_step(*given)

    sums: list[Tensor] = []
    gradients, centres, modelled = [], [], None
    for batch, found in workers.each(step, batches):
        numerator, misfit, modelled, gradient, *change = found
        parts = [numerator, misfit, *change]
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
        gradients.append(gradient)
        centres.append(batch.centre)
    return Projection(
        sums[0],
        sums[1],
        modelled,
        tf.concat(gradients, axis=0),
        tf.concat(centres, axis=0),
        (sums[2], sums[3]) if with_probe else None,
    )


def modelled_intensity(canvas: Tensor, batch: PatternBatch, probe: Tensor) -> Tensor:
    """Expected intensities (M, N, N), FFT order, of the canvas."""
    patches = physics.gather(canvas, batch.index, tf.shape(batch.amplitudes)[-1])
    return physics.intensity(physics.far_field(batch.shifted(probe), patches))


def squared_misfit(
    canvas: Tensor,
    batches: Iterable[PatternBatch],
    probe: Tensor,
    good: Tensor,
    workers: Workers = ALONE,
) -> Tensor:
    """Sum of (sqrt(I_hat) - sqrt(I))^2 over good pixels."""

    def misfit(batch: PatternBatch) -> Tensor:
        return graphs.batch_misfit(
            canvas, batch.amplitudes, batch.shifted(probe), batch.index, good
        )

    return tf.add_n([found for _, found in workers.each(misfit, batches)])


class Descent:
    """The physics of the canvas network: object, velocity and probe, moved subset by subset."""

    def __init__(self, problem: CanvasProblem, start: Tensor | None, refine_probe: bool) -> None:
        self.problem, self.refine_probe = problem, refine_probe
        self.probe = problem.probe
        self.canvas = tf.ones(problem.shape, tf.complex64) if start is None else start
        self.velocity = tf.zeros(problem.shape, tf.complex64)
        self.probe_velocity = tf.zeros_like(self.probe)
        self.follows_phase = True
        # Of the present canvas on the subset that comes next, where that was decided upon.
        self.next_misfit: float | None = None
        self.light = [
            illumination(batches(), self.probe, problem.shape, problem.workers)
            for batches in problem.subsets
        ]

    def update(
        self,
        number: int,
        step: Tensor,
        momentum: Tensor,
        turn: Tensor,
        damp: Tensor | None = None,
        decide: bool = False,
    ) -> Projection:
        """One update with the subset ``number`` (modulo their count), undamped without ``damp``.

        With ``decide`` the low-frequency phase is followed from now on only if it does not raise
        the misfit of the patterns that come next.
        """
        problem, subset = self.problem, number % self.problem.count
        batches = problem.subsets[subset]
        found = modulus_projection(
            self.canvas,
            batches(),
            self.probe,
            problem.good,
            problem.low,
            problem.spare,
            self.refine_probe,
            problem.workers,
        )
        damping = tf.zeros([])
        if damp is not None:
            damping = DAMP_UNIT * tf.maximum(damp, 0.0) * tf.square(problem.noise)
        self.canvas, self.velocity = graphs.advanced(
            self.canvas,
            self.velocity,
            found.numerator,
            self._light(subset),
            step,
            momentum,
            damping,
        )
        if decide or self.follows_phase:
            rotation = graphs.missing_rotation(found.gradients, found.centre, turn, problem.low)
            turned = self.canvas * rotation
            if decide:
                plain = float(self.misfit(number + 1, self.canvas))
                followed = float(self.misfit(number + 1, turned))
                self.follows_phase = followed <= plain * (1 + PHASE_TOLERANCE)
                self.next_misfit = followed if self.follows_phase else plain
            if self.follows_phase:
                self.canvas, self.velocity = turned, self.velocity * rotation
        if found.probe_change is not None:
            change, weight = found.probe_change
            weight = physics.as_complex(PROBE_STEP / (weight + PROBE_RIM * tf.reduce_max(weight)))
            self.probe_velocity = PROBE_MOMENTUM * self.probe_velocity + weight * change
            self.probe = self.probe + self.probe_velocity
            self.light[subset] = illumination(batches(), self.probe, problem.shape, problem.workers)
        return found

    def _light(self, subset: int | Tensor) -> Tensor:
        return self.light[subset] if isinstance(subset, int) else tf.stack(self.light)[subset]

    def all_light(self) -> Tensor:
        """The illumination (H, W) of all patterns."""
        return tf.add_n(self.light)

    def onto(self, problem: CanvasProblem, low: physics.LowFrequency) -> Descent:
        """The same state with another description of the same patterns; ``low`` is that of the
        present probe."""
        there = replace(problem, probe=self.probe, low=low)
        state = Descent(there, self.canvas, self.refine_probe)
        state.velocity, state.probe_velocity = self.velocity, self.probe_velocity
        state.follows_phase = self.follows_phase
        return state

    def misfit(self, number: int, canvas: Tensor) -> Tensor:
        """The squared misfit of ``canvas`` on the subset ``number``."""
        problem = self.problem
        batches = problem.subsets[number % problem.count]
        return squared_misfit(canvas, batches(), self.probe, problem.good, problem.workers)


class CanvasNetwork(tf.Module):
    """K passes of U updates and a learned correction each (see networks.unrolled)."""

    def __init__(self, network: BuiltNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def updates(self) -> int:
        """Number U of updates in a pass."""
        vectors = self.network.vectors
        return int(vectors["step"].shape[0]) // int(vectors["gain"].shape[0])

    def __call__(
        self,
        problem: CanvasProblem,
        start: Tensor | None = None,
        guarded: bool = False,
        refine_probe: bool = False,
    ) -> CanvasEstimate:
        """Run all passes.

        With ``guarded`` a learned correction or a low-frequency phase that raises the misfit of
        the patterns that come next is damped or left out; that costs three further predictions of
        one subset a pass. ``refine_probe`` updates the probe with every step.
        """
        vectors = {k: tf.convert_to_tensor(v) for k, v in self.network.vectors.items()}
        passes, updates = int(vectors["gain"].shape[0]), self.updates
        share_of_scan = tf.cast(problem.count, tf.float32) / updates
        state = Descent(problem, start, refine_probe)
        canvases, misfits, modelled, corrections, phases = [], [], [], [], []
        for k in range(passes):
            total = tf.zeros([])
            intensities = []
            for u in range(k * updates, (k + 1) * updates):
                found = state.update(
                    u,
                    vectors["step"][u],
                    vectors["momentum"][u],
                    vectors["phase_gain"][u],
                    vectors["damp"][u],
                    decide=guarded and (u + 1) % updates == 0,
                )
                total = total + found.misfit * share_of_scan
                intensities.append(found.modelled)
            misfits.append(total / problem.power)
            modelled.append(intensities)
            change = self._correction(state, misfits[-1], vectors["gain"][k])
            share = self._share(state, (k + 1) * updates, change) if guarded else 1.0
            state.canvas = state.canvas + share * change
            canvases.append(state.canvas)
            corrections.append(share)
            phases.append(float(state.follows_phase))
        return CanvasEstimate(
            state.canvas,
            canvases,
            state.all_light(),
            state.probe,
            misfits,
            modelled,
            corrections,
            phases,
        )

    def _share(self, state: Descent, subset: int, change: Tensor) -> float:
        """How much of a correction to take: what does not raise the misfit beyond the noise."""
        problem = state.problem
        floor = problem.expected * float(problem.power) / problem.count
        plain = state.next_misfit
        assert plain is not None  # decided in the last update
        for share in DAMPING:
            if float(state.misfit(subset, state.canvas + share * change)) <= max(plain, floor):
                return share
        return 0.0

    def _correction(self, state: Descent, misfit: Tensor, gain: Tensor) -> Tensor:
        light = state.all_light()
        multiple = tf.constant(self.network.description.multiple_of)
        given = (state.canvas, state.velocity, light, state.problem.noise, misfit, multiple)
        return graphs.faded(self._in_tiles(graphs.features(*given)), light, gain)

    def _in_tiles(self, features: Tensor) -> Tensor:
        """The U-Net on (1, channels, H, W), tile by tile where the canvas is large."""
        height, width = features.shape[-2:]
        # Within a graph sides are not known; the sub-scans of training are small.
        if height is None or width is None or max(height, width) <= TILE:
            (out,) = self.network(canvas=features)
            return out
        description = self.network.description
        halo = -(-description.reach() // description.multiple_of) * description.multiple_of
        whole = np.empty((1, 2, height, width), np.float32)
        for tile in tiles((height, width), TILE, halo):
            (out,) = self.network(canvas=features[:, :, tile.outer[0], tile.outer[1]])
            whole[:, :, *tile.core] = out.numpy()[:, :, *tile.inner]
        return tf.constant(whole)
