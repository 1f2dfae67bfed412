"""The two families of networks behind one interface: from a batch of groups to what the losses
need.

A *patch* network maps the patterns of small groups to object patches, a *canvas* network maps a
sub-scan to one object canvas. The trainer sees only :class:`Prediction`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.backends.pytorch import canvas as canvas_network
from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.network import BuiltNetwork
from ptychopinn.config import Config
from ptychopinn.networks.cnn import padded_size
from ptychopinn.networks.registry import describe, family
from ptychopinn.networks.weights import initial_weights
from ptychopinn.physics.forward import canvas_for, split_positions
from ptychopinn.physics.groups import merge_weight
from ptychopinn.preparation import PreparedScan
from ptychopinn.training.data import Batch
from ptychopinn.training.objective import Prediction, shares_of


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
            modelled=[(1.0, modelled)],
            measured=physics.to_fft_order(batch.amplitudes).square(),
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
        self.iterate_decay = iterate_decay

    def predict(self, batch: Batch) -> Prediction:
        if batch.amplitudes.shape[0] != 1:
            raise ValueError("a canvas network takes one sub-scan at a time")
        good, probe = self.good(batch.scan), self.probe(batch.scan)
        problem, pattern_batch = single_problem(
            physics.to_fft_order(batch.amplitudes[0]), batch.positions_px[0], probe, good
        )
        canvas, _, modelled = self.unrolled(problem)
        last = canvas_network.modelled_intensity(canvas, pattern_batch)
        return Prediction(
            modelled=shares_of([*modelled[1:], last], self.iterate_decay),
            measured=pattern_batch.amplitudes.square(),
            good=good,
            images=canvas,
            weight=problem.illumination,
            truth=None if batch.truth is None else batch.truth[0],
        )


def patch_weight(probe: Tensor) -> Tensor:
    """The merge weight (N, N) of a probe (P, N, N); a constant for the gradient."""
    weight = merge_weight(probe.detach().cpu().numpy())
    return torch.from_numpy(weight.astype(np.float32)).to(probe.device)


def single_problem(
    amplitudes: Tensor, positions_px: Tensor, probe: Tensor, good: Tensor
) -> tuple[canvas_network.CanvasProblem, canvas_network.PatternBatch]:
    """A canvas problem whose patterns (M, N, N), FFT order, fit into one batch."""
    n = amplitudes.shape[-1]
    positions = positions_px.detach().cpu().numpy()
    shape, origin = canvas_for(positions, n)
    batch = pattern_batch(amplitudes, positions, probe, shape, origin)
    problem = canvas_network.CanvasProblem(
        batches=lambda: [batch],
        shape=shape,
        good=good,
        illumination=canvas_network.probe_illumination([batch], shape),
        power=(good * amplitudes.square()).sum(),
    )
    return problem, batch


def pattern_batch(
    amplitudes: Tensor,
    positions_px: NDArray[np.float64],
    probe: Tensor,
    shape: tuple[int, int],
    origin: NDArray[np.int64],
) -> canvas_network.PatternBatch:
    """Shift the probe to every position and index the patches on a canvas with this origin."""
    n = amplitudes.shape[-1]
    corner, fraction = split_positions(positions_px, n, origin)
    device = amplitudes.device
    return canvas_network.PatternBatch(
        amplitudes=amplitudes,
        probes=physics.shifted_probes(probe, torch.from_numpy(fraction).to(device)),
        index=physics.pixel_index(torch.from_numpy(corner).to(device), n, shape[1]),
    )


def build_family(config: Config, scans: Sequence[PreparedScan]) -> Family:
    """The family of the configured architecture for these training scans, newly started."""
    description = describe(config.model)
    network = BuiltNetwork(description, initial_weights(description, config.training.seed))
    trainable = config.training.probe_trainable
    if family(config.model) == "patch":
        return PatchFamily(network, scans, trainable, scans[0].scan.N)
    return CanvasFamily(network, scans, trainable, config.loss.iterate_decay)
