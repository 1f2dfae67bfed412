"""The canvas network in PyTorch: physics steps over all patterns, alternating with a learned
correction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.network import BuiltNetwork
from ptychopinn.networks.unrolled import RIM


@dataclass(frozen=True)
class PatternBatch:
    """Some patterns of a scan, ready for the physics.

    amplitudes : (M, N, N) square root of the counts in network units, FFT order.
    probes : (M, P, N, N) probe modes at the sub-pixel positions, network units.
    index : (M, N*N) flat canvas pixels of each patch.
    """

    amplitudes: Tensor
    probes: Tensor
    index: Tensor


@dataclass(frozen=True)
class CanvasProblem:
    """One (sub-)scan on its own canvas.

    batches : a callable that iterates over the patterns; called once per physics step.
    shape : canvas (H, W).  good : (N, N) good pixels in FFT order, 0 or 1.
    illumination : (H, W) sum of abs(probe)^2.  power : sum of amplitudes^2 over good pixels.
    """

    batches: Callable[[], Iterable[PatternBatch]]
    shape: tuple[int, int]
    good: Tensor
    illumination: Tensor
    power: Tensor


def probe_illumination(batches: Iterable[PatternBatch], shape: tuple[int, int]) -> Tensor:
    """Sum of abs(probe)^2 on the canvas (H, W), the weight of every object pixel."""
    total: Tensor | None = None
    for batch in batches:
        density = physics.intensity(batch.probes)
        part = physics.scatter(density, batch.index, shape)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("a canvas problem needs at least one pattern")
    return total


def modulus_residual(
    canvas: Tensor, batch: PatternBatch, good: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace the modelled modulus by the measured one, keep the phase.

    Returns the scatter-added sum of conj(P)*chi with chi = F^-1(Psi') - psi, the amplitude misfit
    summed over good pixels, and the modelled intensity (M, N, N).
    """
    n = batch.amplitudes.shape[-1]
    patches = physics.gather(canvas, batch.index, n)
    fields = physics.far_field(batch.probes, patches)
    modelled = physics.intensity(fields)
    amplitude = torch.sqrt(modelled + 1e-12)
    difference = good * (batch.amplitudes - amplitude)
    chi = physics.ifft(fields * (difference / amplitude)[:, None])
    back = (batch.probes.conj() * chi).sum(dim=1)
    numerator = physics.scatter(back, batch.index, (canvas.shape[0], canvas.shape[1]))
    return numerator, difference.square().sum(), modelled


def modelled_intensity(canvas: Tensor, batch: PatternBatch) -> Tensor:
    """Expected intensities (M, N, N), FFT order, of the canvas."""
    patches = physics.gather(canvas, batch.index, batch.amplitudes.shape[-1])
    return physics.intensity(physics.far_field(batch.probes, patches))


class CanvasNetwork(nn.Module):
    """K unrolled iterations ``v <- b v + a d + c U``, ``O <- O + v`` (see networks.unrolled)."""

    def __init__(self, network: BuiltNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def iterations(self) -> int:
        return len(self.network.vectors["step"])

    def forward(
        self, problem: CanvasProblem, start: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Run all iterations.

        Returns the canvas (H, W), the relative misfit before each step (K), and the modelled
        intensities (M, N, N) before each step for problems of one batch (empty otherwise).
        """
        shape = problem.shape
        device = problem.illumination.device
        canvas = torch.ones(shape, dtype=torch.complex64, device=device) if start is None else start
        velocity = torch.zeros_like(canvas)
        peak = problem.illumination.max()
        weight = problem.illumination + RIM * peak
        light = problem.illumination / peak
        step, momentum = self.network.vectors["step"], self.network.vectors["momentum"]
        gain = self.network.vectors["gain"]
        misfits: list[Tensor] = []
        modelled: list[Tensor] = []
        for k in range(self.iterations):
            numerator, misfit, intensities = self._physics(canvas, problem)
            misfits.append(misfit / problem.power)
            modelled.append(intensities)
            direction = numerator / weight
            update = self._correction(canvas, direction, velocity, light, misfits[-1])
            velocity = momentum[k] * velocity + step[k] * direction + gain[k] * update
            canvas = canvas + velocity
        return canvas, misfits, modelled

    def _physics(self, canvas: Tensor, problem: CanvasProblem) -> tuple[Tensor, Tensor, Tensor]:
        numerator = torch.zeros_like(canvas)
        misfit = torch.zeros((), device=canvas.device)
        modelled = torch.empty(0, device=canvas.device)
        for batch in problem.batches():
            part, difference, modelled = modulus_residual(canvas, batch, problem.good)
            numerator = numerator + part
            misfit = misfit + difference
        return numerator, misfit, modelled

    def _correction(
        self, canvas: Tensor, direction: Tensor, velocity: Tensor, light: Tensor, misfit: Tensor
    ) -> Tensor:
        level = 0.1 * torch.log10(misfit + 1e-6) * torch.ones_like(light)
        deviation = canvas - 1
        features = torch.stack(
            [
                deviation.real,
                deviation.imag,
                direction.real,
                direction.imag,
                velocity.real,
                velocity.imag,
                light,
                level,
            ]
        )[None]
        height, width = light.shape
        multiple = self.network.description.multiple_of
        bottom, right = -height % multiple, -width % multiple
        features = functional.pad(features, (0, right, 0, bottom), mode="replicate")
        (out,) = self.network(canvas=features)
        correction = out[0, :, :height, :width].float()
        # Where no light falls nothing is known: the correction fades out with the illumination.
        return torch.complex(correction[0], correction[1]) * (light / (light + RIM))
