"""The two families of networks behind one interface: from a batch of groups to what the losses
need.

A *patch* network maps the patterns of small groups to object patches, a *canvas* network maps a
sub-scan to one object canvas. The trainer sees only :class:`Prediction`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.backends.pytorch import canvas as canvas_network
from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.network import BuiltNetwork
from ptychopinn.canvas_plan import judged_subsets, places
from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.networks.cnn import padded_size
from ptychopinn.networks.registry import describe, family
from ptychopinn.networks.weights import Weights, initial_weights
from ptychopinn.physics.forward import canvas_for
from ptychopinn.physics.groups import merge_weight
from ptychopinn.training.data import Batch
from ptychopinn.training.objective import Estimate, Prediction


class Family(nn.Module, ABC):
    """A network together with the probes and masks of the scans it is trained on."""

    def __init__(
        self, network: BuiltNetwork, scans: Sequence[PreparedScan], trainable: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.scale = [float(np.sqrt(np.mean(np.abs(s.probe) ** 2))) for s in scans]
        # Stored relative to the root mean square, so that one learning rate suits every probe.
        self.probes = nn.ParameterList(
            nn.Parameter(
                torch.view_as_real(torch.from_numpy(s.probe / np.float32(rms))),
                requires_grad=trainable,
            )
            for s, rms in zip(scans, self.scale, strict=True)
        )
        for number, s in enumerate(scans):
            good = torch.from_numpy(s.scan.good_pixels.astype(np.float32))
            self.register_buffer(f"good{number}", physics.to_fft_order(good), persistent=False)

    def probe(self, scan: int) -> Tensor:
        """(P, N, N) complex probe of a scan in network units."""
        return torch.view_as_complex(self.probes[scan].contiguous()) * self.scale[scan]

    def good(self, scan: int) -> Tensor:
        """(N, N) good pixels in FFT order, 1.0 or 0.0."""
        mask: Tensor = getattr(self, f"good{scan}")
        return mask

    @abstractmethod
    def predict(self, batch: Batch) -> Prediction:
        """Run the network and the forward model on a batch."""


class PatchFamily(Family):
    """Patch networks such as ``cnn``: a group of C = gridsize^2 patterns gives C patches."""

    def __init__(
        self, network: BuiltNetwork, scans: Sequence[PreparedScan], trainable: bool, n: int
    ) -> None:
        super().__init__(network, scans, trainable)
        self.n = n
        self.margin = (padded_size(n) - n) // 2

    def objects(self, amplitudes: Tensor) -> Tensor:
        """Object patches (B, C, N, N) complex from amplitudes (B, C, N, N)."""
        m = self.margin
        x = functional.pad(amplitudes, [m] * 4) if m else amplitudes
        modulus, phase = self.network(patterns=x)
        patches = torch.polar(modulus.float(), phase.float())
        return patches[..., m : m + self.n, m : m + self.n]

    def predict(self, batch: Batch) -> Prediction:
        probe = self.probe(batch.scan)
        weight = patch_weight(probe)
        patches = self.objects(batch.amplitudes)
        offsets = batch.positions_px - batch.positions_px.mean(dim=1, keepdim=True)
        modelled = physics.group_intensities(patches, offsets, probe, weight)
        return Prediction(
            estimates=[Estimate(1.0, modelled, physics.to_fft_order(batch.amplitudes).square())],
            good=self.good(batch.scan),
            images=patches,
            weight=weight,
            truth=batch.truth,
        )


class CanvasFamily(Family):
    """Canvas networks such as ``unrolled``: each sub-scan of C patterns gives one canvas."""

    def __init__(
        self,
        network: BuiltNetwork,
        scans: Sequence[PreparedScan],
        trainable: bool,
        iterate_decay: float = 0.5,
    ) -> None:
        super().__init__(network, scans, trainable)
        self.unrolled = canvas_network.CanvasNetwork(network)
        self.updates = self.unrolled.updates
        self.iterate_decay = iterate_decay
        self.photon_scale = [s.photon_scale for s in scans]

    def predict(self, batch: Batch) -> Prediction:
        if batch.amplitudes.shape[0] != 1:
            raise ValueError("a canvas network takes one sub-scan at a time")
        good, probe = self.good(batch.scan), self.probe(batch.scan)
        positions = batch.positions_px[0].detach().cpu().numpy()
        subsets, left_out = judged_subsets(
            positions, probe.detach().cpu().numpy(), self.unrolled.updates
        )
        amplitudes = physics.to_fft_order(batch.amplitudes[0])
        problem = single_problem(
            amplitudes, positions, probe, good, self.photon_scale[batch.scan], subsets
        )
        found = self.unrolled(problem)
        used = [next(iter(batches())) for batches in problem.subsets]
        last = canvas_batch(problem, amplitudes, positions, left_out)
        estimates = []
        for k, intensities in enumerate(found.modelled[1:], start=1):
            # Each subset once: what the pass predicted before it used these patterns again.
            first = k * self.updates
            latest = {(first + u) % len(used): i for u, i in enumerate(intensities)}
            estimates.append(
                Estimate(
                    self.iterate_decay ** (len(found.modelled) - k),
                    torch.cat(list(latest.values())),
                    torch.cat([used[s].amplitudes.square() for s in latest]),
                )
            )
        modelled = canvas_network.modelled_intensity(found.canvas, last, probe)
        estimates.append(Estimate(1.0, modelled, last.amplitudes.square()))
        return Prediction(
            estimates=estimates,
            good=good,
            images=found.canvas,
            weight=found.illumination,
            truth=None if batch.truth is None else batch.truth[0],
        )


def patch_weight(probe: Tensor) -> Tensor:
    """The merge weight (N, N) of a probe (P, N, N); a constant for the gradient."""
    weight = merge_weight(probe.detach().cpu().numpy())
    return torch.from_numpy(weight.astype(np.float32)).to(probe.device)


def single_problem(
    amplitudes: Tensor,
    positions_px: NDArray[np.float64],
    probe: Tensor,
    good: Tensor,
    photon_scale: float,
    subsets: Sequence[NDArray[np.int64]],
) -> canvas_network.CanvasProblem:
    """A canvas problem of the given subsets of the patterns (M, N, N), FFT order, held in
    memory."""
    shape, _ = canvas_for(positions_px, amplitudes.shape[-1])
    used = np.concatenate(subsets)
    problem = canvas_network.CanvasProblem(
        subsets=[],
        shape=shape,
        probe=probe,
        good=good,
        power=float((good * amplitudes[used].square()).sum()),
        noise=photon_scale / 2,
    )
    kept = [canvas_batch(problem, amplitudes, positions_px, s) for s in subsets]
    return replace(problem, subsets=[partial(list, [batch]) for batch in kept])


def canvas_batch(
    problem: canvas_network.CanvasProblem,
    amplitudes: Tensor,
    positions_px: NDArray[np.float64],
    chosen: NDArray[np.int64],
) -> canvas_network.PatternBatch:
    """The chosen patterns of a problem whose canvas just holds all positions."""
    _, origin = canvas_for(positions_px, amplitudes.shape[-1])
    return pattern_batch(
        amplitudes[chosen], positions_px[chosen], problem.probe, problem.shape, origin
    )


def pattern_batch(
    amplitudes: Tensor,
    positions_px: NDArray[np.float64],
    probe: Tensor | None,
    shape: tuple[int, int],
    origin: NDArray[np.int64],
) -> canvas_network.PatternBatch:
    """Index the patches on a canvas with this origin; keep the shifted ``probe`` if given."""
    n = amplitudes.shape[-1]
    device = amplitudes.device
    where = places(positions_px, n, shape, origin)
    fraction = torch.from_numpy(where.fraction).to(device, amplitudes.dtype)
    return canvas_network.PatternBatch(
        amplitudes=amplitudes,
        fraction=fraction,
        rows=physics.row_index(torch.from_numpy(where.corner).to(device), n, shape[1]),
        centre=torch.from_numpy(where.centre).to(device),
        probes=None if probe is None else physics.shifted_probes(probe, fraction),
    )


def build_family(
    config: Config, scans: Sequence[PreparedScan], start: Weights | None = None
) -> Family:
    """The family of the configured architecture for these training scans, with the weights of
    ``start`` or new ones."""
    description = describe(config.model)
    if start is None:
        start = initial_weights(description, config.training.seed)
    network = BuiltNetwork(description, start)
    trainable = config.training.probe_trainable
    if family(config.model) == "patch":
        return PatchFamily(network, scans, trainable, scans[0].scan.N)
    return CanvasFamily(network, scans, trainable, config.loss.iterate_decay)
