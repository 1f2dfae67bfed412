"""Applying a trained network to every pattern of a scan, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.backends.base import CanvasResult
from ptychopinn.backends.options import TorchExecution
from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.canvas import (
    RIM,
    CanvasNetwork,
    CanvasProblem,
    PatternBatch,
    probe_illumination,
)
from ptychopinn.backends.pytorch.execution import computing, device_of
from ptychopinn.backends.pytorch.family import (
    PatchFamily,
    build_network,
    patch_weight,
    pattern_batch,
)
from ptychopinn.backends.pytorch.network import BuiltNetwork
from ptychopinn.config import Config
from ptychopinn.errors import InputError
from ptychopinn.grouping import nearest_groups
from ptychopinn.physics.forward import canvas_for
from ptychopinn.physics.groups import split_offsets
from ptychopinn.preparation import PreparedScan, batch_length, slices
from ptychopinn.stitching import Stitcher

# Bytes per pattern pixel while a physics step works on it, for one probe mode: exit wave, far
# field, correction (complex64), amplitude, index.
CANVAS_BYTES = 64
PATCH_BYTES = 4096


def reconstruct(
    config: Config,
    weights: Mapping[str, NDArray[np.float32]],
    scan: PreparedScan,
    execution: TorchExecution,
) -> CanvasResult:
    """Reconstruct a scan with trained weights (see ptychopinn.backends.base.Backend)."""
    network = build_network(config.model, seed=0)
    network.import_weights(weights)
    device = device_of(execution)
    try:
        network.to(device).eval()
        with torch.inference_mode(), computing(execution):
            if config.model.architecture == "cnn":
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
    """The patterns of a scan in batches, for repeated passes.

    They are kept when all of them fit into ``limit_bytes``; otherwise every pass reads them anew
    and holds one batch at a time.
    """
    n, modes = scan.scan.N, scan.probe.shape[0]
    per_pattern = n * n * (12 + 8 * modes)
    step = max(1, min(batch_length(n, CANVAS_BYTES * modes, limit_bytes // 4), scan.scan.M))
    probe = torch.from_numpy(scan.probe).to(device)

    def read() -> Iterator[PatternBatch]:
        for part in slices(scan.scan.M, step):
            index = np.arange(part.start, part.stop)
            amplitudes = torch.from_numpy(scan.amplitudes(index)).to(device)
            yield pattern_batch(
                physics.to_fft_order(amplitudes), scan.scan.positions_px[part], probe, shape, origin
            )

    if scan.scan.M * per_pattern > limit_bytes:
        return read
    kept = list(read())
    return lambda: kept


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
    light = (illumination / illumination.max()).cpu().numpy()
    return CanvasResult(
        object=canvas.cpu().numpy(),
        weight=np.where(light > RIM / 10, light, 0).astype(np.float32),
        origin_px=origin,
        losses=np.array([float(m) for m in misfits]),
    )


def _reconstruct_patches(
    config: Config,
    network: BuiltNetwork,
    scan: PreparedScan,
    execution: TorchExecution,
    device: torch.device,
) -> CanvasResult:
    model = config.model
    n, m = scan.scan.N, scan.scan.M
    if n != model.N:
        raise InputError(
            f"this model was trained for patterns of N = {model.N}, received a scan with N = {n}; "
            "crop, pad or bin the patterns, or train a model for that size."
        )
    positions = scan.scan.positions_px
    size = model.gridsize**2
    rng = np.random.default_rng(0)
    groups = nearest_groups(positions, np.arange(m), size, size - 1, rng)
    family = PatchFamily(network, [scan], False, n).to(device)
    weight = patch_weight(family.probe(0))
    stitcher = Stitcher(positions, weight.cpu().numpy())
    step = batch_length(n, PATCH_BYTES * size, execution.inference_batch_mib << 20)
    for part in slices(m, min(step, 256)):
        chosen = groups[part]
        amplitudes = torch.from_numpy(scan.amplitudes(chosen)).to(device)
        patches = family.objects(amplitudes)
        places = positions[chosen]
        if size > 1:
            offsets = places - places.mean(axis=1, keepdims=True)
            patches = physics.common_patches(patches, torch.from_numpy(offsets).to(device), weight)
            # After the merge patch k sits at the whole-pixel offset from the group's centre.
            places = places - split_offsets(offsets)[1]
        stitcher.add(patches.reshape(-1, n, n).cpu().numpy(), places.reshape(-1, 2))
    canvas, weight_map = stitcher.result()
    return CanvasResult(
        object=canvas, weight=weight_map, origin_px=stitcher.origin_px, losses=np.empty(0)
    )
