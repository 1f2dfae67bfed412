"""The canvas network in PyTorch: passes of physics steps, each followed by a learned correction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.network import BuiltNetwork
from ptychopinn.networks.unrolled import (
    DAMP_UNIT,
    DAMPING,
    PHASE_TOLERANCE,
    PROBE_MOMENTUM,
    PROBE_RIM,
    PROBE_STEP,
    RIM,
    spare_intensity,
)
from ptychopinn.solvers.patches import TILE, tiles


@dataclass(frozen=True)
class PatternBatch:
    """Some patterns of a scan, ready for the physics.

    amplitudes : (M, N, N) square root of the counts in network units, FFT order.
    fraction : (M, 2) sub-pixel remainders of the positions.
    rows : (M, N) flat canvas pixel that each row of each patch begins with.
    centre : (M,) flat canvas pixel of each patch's pixel [N/2, N/2].
    probes : (M, P, N, N) the probe at these remainders where it is kept, else None.
    """

    amplitudes: Tensor
    fraction: Tensor
    rows: Tensor
    centre: Tensor
    probes: Tensor | None = None

    def shifted(self, probe: Tensor) -> Tensor:
        """``probe`` (P, N, N) at the remainders, (M, P, N, N)."""
        return physics.shifted_probes(probe, self.fraction) if self.probes is None else self.probes


@dataclass(frozen=True)
class CanvasProblem:
    """One (sub-)scan on its own canvas.

    subsets : of each ordered subset a callable that iterates over its patterns.
    shape : canvas (H, W).  probe : (P, N, N), network units.
    good : (N, N) good pixels in FFT order, 0 or 1.
    power : sum of amplitudes^2 over good pixels of all patterns.
    noise : standard deviation of an amplitude due to photon noise, network units.
    expected : relative misfit that photon noise alone gives.
    numbers : of each subset the pattern numbers, in the order of its batches.
    """

    subsets: Sequence[Callable[[], Iterable[PatternBatch]]]
    shape: tuple[int, int]
    probe: Tensor
    good: Tensor
    power: float
    noise: float
    expected: float = 0.0
    numbers: Sequence[NDArray[np.int64]] = ()

    @property
    def spare(self) -> float:
        """What is added to intensities in the modulus projection."""
        return float(spare_intensity(self.noise))

    def merged(self, count: int) -> CanvasProblem:
        """The same patterns with always ``count`` subsets, or what is left, made one."""
        if count == 1:
            return self
        groups = [slice(k, k + count) for k in range(0, len(self.subsets), count)]
        return replace(
            self,
            subsets=[partial(_chained, self.subsets[group]) for group in groups],
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


def illumination(batches: Iterable[PatternBatch], probe: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sum of abs(probe)^2 on the canvas (H, W), the weight of every object pixel."""
    total = torch.zeros(shape[0] * shape[1], dtype=probe.real.dtype, device=probe.device)
    for batch in batches:
        physics.add_patches(total, physics.intensity(batch.shifted(probe)), batch.rows)
    return total.reshape(shape)


@dataclass(frozen=True)
class Projection:
    """Sums of one modulus projection over the patterns of a subset.

    numerator : (H, W) sum of conj(P)*chi with chi = F^-1(Psi') - psi, Psi' with the measured
    modulus.  misfit : of these moduli, summed over good pixels.  modelled : intensities of the
    last batch.
    gradients : the missing phase gradients where they belong (H*W, 3), see LowFrequency.
    probe_change : numerator (P, N, N) and weight (N, N) of a step of the probe, if asked for.
    """

    numerator: Tensor
    misfit: Tensor
    modelled: Tensor
    gradients: Tensor
    probe_change: tuple[Tensor, Tensor] | None = None


def modulus_projection(
    canvas: Tensor,
    batches: Iterable[PatternBatch],
    probe: Tensor,
    good: Tensor,
    low: physics.LowFrequency,
    spare: float,
    with_probe: bool = False,
) -> Projection:
    """Replace the modelled modulus by the measured one, keep the phase (see Projection).

    The moduli are sqrt(I + ``spare``).
    """
    n, shape = probe.shape[-1], (canvas.shape[0], canvas.shape[1])
    numerator = torch.zeros_like(canvas).reshape(-1)
    misfit, gradients, modelled = torch.zeros((), device=canvas.device), low.nowhere(), canvas.real
    change = torch.zeros_like(probe)
    weight = torch.zeros(n, n, device=canvas.device)
    for batch in batches:
        probes = batch.shifted(probe)
        patches = physics.gather(canvas, batch.rows)
        fields = physics.far_field(probes, patches)
        modelled = physics.intensity(fields)
        amplitude = torch.sqrt(modelled + spare)
        measured = batch.amplitudes.square().add_(spare).sqrt_()
        difference = good * (measured - amplitude)
        chi = physics.ifft(fields * (difference / amplitude)[:, None])
        back = physics.sum_of_modes(probes.conj() * chi)
        physics.add_patches(numerator, back, batch.rows)
        misfit = misfit + torch.dot(difference.reshape(-1), difference.reshape(-1))
        # (a - A)(a + A) = a^2 - A^2
        missing = low.gradients(difference * (measured + amplitude), modelled)
        low.place(gradients, missing, batch.centre)
        if with_probe:
            waves = patches.conj()[:, None] * chi
            moved = physics.fourier_shift(waves, -batch.fraction[:, None])
            change = change + moved.sum(dim=0)
            weight = weight + (patches.real.square() + patches.imag.square()).sum(dim=0)
    return Projection(
        numerator.reshape(shape),
        misfit,
        modelled,
        gradients,
        (change, weight) if with_probe else None,
    )


def modelled_intensity(canvas: Tensor, batch: PatternBatch, probe: Tensor) -> Tensor:
    """Expected intensities (M, N, N), FFT order, of the canvas."""
    patches = physics.gather(canvas, batch.rows)
    return physics.intensity(physics.far_field(batch.shifted(probe), patches))


def squared_misfit(
    canvas: Tensor, batches: Iterable[PatternBatch], probe: Tensor, good: Tensor
) -> Tensor:
    """Sum of (sqrt(I_hat) - sqrt(I))^2 over good pixels."""
    total = torch.zeros((), device=canvas.device)
    for batch in batches:
        amplitude = torch.sqrt(modelled_intensity(canvas, batch, probe))
        difference = (good * (batch.amplitudes - amplitude)).reshape(-1)
        total = total + torch.dot(difference, difference)
    return total


class Descent:
    """The physics of the canvas network: object, velocity and probe, moved subset by subset."""

    def __init__(self, problem: CanvasProblem, start: Tensor | None, refine_probe: bool) -> None:
        self.problem, self.refine_probe = problem, refine_probe
        self.probe = problem.probe
        ones = torch.ones(problem.shape, dtype=torch.complex64, device=self.probe.device)
        self.canvas = ones if start is None else start
        self.velocity = torch.zeros_like(self.canvas)
        self.probe_velocity = torch.zeros_like(self.probe)
        self.low = physics.LowFrequency(self.probe, problem.shape)
        self.follows_phase = True
        # Of the present canvas on the subset that comes next, where that was decided upon.
        self.next_misfit: float | None = None
        self.light = [
            illumination(batches(), self.probe, problem.shape) for batches in problem.subsets
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
        problem, subset = self.problem, number % len(self.problem.subsets)
        batches = problem.subsets[subset]
        found = modulus_projection(
            self.canvas,
            batches(),
            self.probe,
            problem.good,
            self.low,
            problem.spare,
            self.refine_probe,
        )
        light = self.light[subset]
        weight = light + RIM * light.max()
        if damp is not None:
            weight = weight + DAMP_UNIT * damp.clamp_min(0) * problem.noise**2
        direction = found.numerator / weight
        self.velocity = momentum * self.velocity + step * direction
        self.canvas = self.canvas + self.velocity
        if decide or self.follows_phase:
            rotation = physics.rotation(turn * self.low.phase(found.gradients))
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
            self.probe_velocity = PROBE_MOMENTUM * self.probe_velocity + PROBE_STEP * change / (
                weight + PROBE_RIM * weight.max()
            )
            self.probe = self.probe + self.probe_velocity
            self.light[subset] = illumination(batches(), self.probe, problem.shape)
        return found

    def all_light(self) -> Tensor:
        """The illumination (H, W) of all patterns."""
        return reduce(torch.add, self.light)

    def onto(self, problem: CanvasProblem) -> Descent:
        """The same state with another description of the same patterns."""
        state = Descent(replace(problem, probe=self.probe), self.canvas, self.refine_probe)
        state.velocity, state.probe_velocity = self.velocity, self.probe_velocity
        state.follows_phase = self.follows_phase
        return state

    def misfit(self, number: int, canvas: Tensor) -> Tensor:
        """The squared misfit of ``canvas`` on the subset ``number``."""
        batches = self.problem.subsets[number % len(self.problem.subsets)]
        return squared_misfit(canvas, batches(), self.probe, self.problem.good)


class CanvasNetwork(nn.Module):
    """K passes of U updates and a learned correction each (see networks.unrolled)."""

    def __init__(self, network: BuiltNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def updates(self) -> int:
        """Number U of updates in a pass."""
        return len(self.network.vectors["step"]) // len(self.network.vectors["gain"])

    def forward(
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
        vectors = self.network.vectors
        passes, updates = len(vectors["gain"]), self.updates
        state = Descent(problem, start, refine_probe)
        canvases, misfits, modelled, corrections, phases = [], [], [], [], []
        for k in range(passes):
            total = torch.zeros((), device=problem.probe.device)
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
                total = total + found.misfit * (len(problem.subsets) / updates)
                intensities.append(found.modelled)
            misfits.append(total / problem.power)
            modelled.append(intensities)
            change = vectors["gain"][k] * self._correction(state, misfits[-1])
            share = self._share(state, (k + 1) * updates, change) if guarded else 1.0
            state.canvas = state.canvas + share * change
            canvases.append(state.canvas)
            corrections.append(share)
            phases.append(float(state.follows_phase))
        light = state.all_light()
        return CanvasEstimate(
            state.canvas, canvases, light, state.probe, misfits, modelled, corrections, phases
        )

    def _in_tiles(self, features: Tensor) -> Tensor:
        """The U-Net on (1, channels, H, W), tile by tile where the canvas is large."""
        description = self.network.description
        height, width = int(features.shape[-2]), int(features.shape[-1])
        if max(height, width) <= TILE:
            (out,) = self.network(canvas=features)
            return out
        halo = -(-description.reach() // description.multiple_of) * description.multiple_of
        whole = features.new_empty(1, 2, height, width)
        for tile in tiles((height, width), TILE, halo):
            (out,) = self.network(canvas=features[:, :, *tile.outer])
            whole[:, :, *tile.core] = out[:, :, *tile.inner]
        return whole

    def _share(self, state: Descent, subset: int, change: Tensor) -> float:
        """How much of a correction to take: what does not raise the misfit beyond the noise."""
        problem = state.problem
        floor = problem.expected * problem.power / len(problem.subsets)
        plain = state.next_misfit
        assert plain is not None  # decided in the last update
        for share in DAMPING:
            if float(state.misfit(subset, state.canvas + share * change)) <= max(plain, floor):
                return share
        return 0.0

    def _correction(self, state: Descent, misfit: Tensor) -> Tensor:
        light = state.all_light()
        brightest = light.max()
        light = light / brightest
        # Standard deviation that photon noise gives to an object pixel in least squares.
        noise = state.problem.noise / torch.sqrt(brightest * (light + RIM))
        deviation = state.canvas - 1
        features = torch.stack(
            [
                deviation.real,
                deviation.imag,
                state.velocity.real,
                state.velocity.imag,
                light,
                0.25 * torch.log10(noise + 1e-6),
                0.25 * torch.log10(misfit + 1e-6) * torch.ones_like(light),
            ]
        )[None]
        height, width = light.shape
        multiple = self.network.description.multiple_of
        bottom, right = -height % multiple, -width % multiple
        features = functional.pad(features, (0, right, 0, bottom), mode="replicate")
        correction = self._in_tiles(features)[0, :, :height, :width].float()
        # Where no light falls nothing is known: the correction fades out with the illumination.
        return torch.complex(correction[0], correction[1]) * (light / (light + RIM))
