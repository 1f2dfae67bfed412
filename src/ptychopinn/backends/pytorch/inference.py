"""Applying a trained network to every pattern of a scan, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.backends.base import CanvasResult
from ptychopinn.backends.options import TorchExecution
from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.canvas import (
    CanvasNetwork,
    CanvasProblem,
    PatternBatch,
    probe_illumination,
)
from ptychopinn.backends.pytorch.execution import computing, device_of
from ptychopinn.backends.pytorch.family import PatchFamily, patch_weight, pattern_batch
from ptychopinn.backends.pytorch.network import BuiltNetwork
from ptychopinn.config import Config
from ptychopinn.errors import InputError
from ptychopinn.inference import canvas_result, reconstruct_patches, repeated_passes
from ptychopinn.networks.registry import describe, family
from ptychopinn.physics.forward import canvas_for
from ptychopinn.preparation import PreparedScan


def reconstruct(
    config: Config,
    weights: Mapping[str, NDArray[np.float32]],
    scan: PreparedScan,
    execution: TorchExecution,
) -> CanvasResult:
    """Reconstruct a scan with trained weights (see ptychopinn.backends.base.Backend)."""
    network = BuiltNetwork(describe(config.model), weights)
    device = device_of(execution)
    try:
        network.to(device).eval()
        with torch.inference_mode(), computing(execution):
            if family(config.model) == "patch":
                return _reconstruct_patches(config, network, scan, execution, device)
            return _reconstruct_canvas(network, scan, execution, device)
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"inference must fit into the memory of the device, received: "
            f"{str(error).splitlines()[0]}; lower --torch-inference-batch-mib or use "
            "--torch-accelerator cpu."
        ) from error


def canvas_batches(
    scan: PreparedScan,
    shape: tuple[int, int],
    origin: NDArray[np.int64],
    device: torch.device,
    limit_bytes: int,
) -> Callable[[], Iterable[PatternBatch]]:
    """The patterns of a scan in batches on the device, for repeated passes."""
    probe = torch.from_numpy(scan.probe).to(device)

    def read(part: slice) -> PatternBatch:
        amplitudes = torch.from_numpy(scan.amplitudes(np.arange(part.start, part.stop)))
        return pattern_batch(
            physics.to_fft_order(amplitudes.to(device)),
            scan.scan.positions_px[part],
            probe,
            shape,
            origin,
        )

    return repeated_passes(scan, limit_bytes, read)


def _reconstruct_canvas(
    network: BuiltNetwork, scan: PreparedScan, execution: TorchExecution, device: torch.device
) -> CanvasResult:
    n = scan.scan.N
    shape, origin = canvas_for(scan.scan.positions_px, n)
    limit = execution.inference_batch_mib << 20
    batches = canvas_batches(scan, shape, origin, device, limit)
    good = physics.to_fft_order(torch.from_numpy(scan.scan.good_pixels.astype(np.float32)))
    illumination = probe_illumination(batches(), shape)
    problem = CanvasProblem(
        batches=batches,
        shape=shape,
        good=good.to(device),
        illumination=illumination,
        power=torch.tensor(scan.scan.M * n * n / 4.0, device=device),
    )
    canvas, misfits, _ = CanvasNetwork(network)(problem)
    return canvas_result(
        canvas.cpu().numpy(), illumination.cpu().numpy(), origin, [float(m) for m in misfits]
    )


def _reconstruct_patches(
    config: Config,
    network: BuiltNetwork,
    scan: PreparedScan,
    execution: TorchExecution,
    device: torch.device,
) -> CanvasResult:
    patch_family = PatchFamily(network, [scan], False, scan.scan.N).to(device)
    weight = patch_weight(patch_family.probe(0))

    def apply(
        amplitudes: NDArray[np.float32], offsets: NDArray[np.float64]
    ) -> NDArray[np.complex64]:
        patches = patch_family.objects(torch.from_numpy(amplitudes).to(device))
        if offsets.shape[1] > 1:
            places = torch.from_numpy(offsets).to(device)
            patches = physics.common_patches(patches, places, weight)
        found: NDArray[np.complex64] = patches.cpu().numpy()
        return found

    limit = execution.inference_batch_mib << 20
    return reconstruct_patches(config.model, scan, limit, apply)
