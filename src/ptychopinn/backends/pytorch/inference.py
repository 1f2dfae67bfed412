"""Applying a trained network to every pattern of a scan, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.backends.base import CanvasResult
from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.canvas import CanvasNetwork, CanvasProblem, PatternBatch
from ptychopinn.backends.pytorch.execution import computing, device_of
from ptychopinn.backends.pytorch.family import PatchFamily, patch_weight, pattern_batch
from ptychopinn.backends.pytorch.network import BuiltNetwork
from ptychopinn.canvas_plan import canvas_subsets
from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan, batch_length, slices
from ptychopinn.errors import InputError
from ptychopinn.networks.registry import describe, family
from ptychopinn.ops.options import TorchExecution
from ptychopinn.physics.forward import canvas_for
from ptychopinn.solvers.patches import (
    CANVAS_BYTES,
    canvas_result,
    kept,
    reconstruct_patches,
)

# Memory of the patterns that one batch works on: little enough to stay in the caches of a CPU.
BATCH_BYTES = 8 << 20


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


def canvas_problem(
    scan: PreparedScan,
    updates: int,
    device: torch.device,
    limit_bytes: int,
    refine_probe: bool = False,
    place: tuple[tuple[int, int], NDArray[np.int64]] | None = None,
) -> tuple[CanvasProblem, NDArray[np.int64]]:
    """A whole scan as a canvas problem, and the origin of its canvas.

    ``place`` is shape and origin of the canvas, the smallest one when not given. The patterns are
    kept when all of them fit into ``limit_bytes``; otherwise every pass reads them anew and holds
    one batch at a time.
    """
    n, m, modes = scan.scan.N, scan.scan.M, scan.probe.shape[0]
    positions = scan.scan.positions_px
    shape, origin = canvas_for(positions, n) if place is None else place
    probe = torch.from_numpy(scan.probe).to(device)
    subsets = canvas_subsets(positions, scan.probe, updates)
    keeps = kept(scan, limit_bytes)
    cached = probe if keeps and not refine_probe else None
    step = batch_length(n, CANVAS_BYTES * modes, min(limit_bytes // 4, BATCH_BYTES))

    def read(chosen: NDArray[np.int64]) -> Iterator[PatternBatch]:
        for part in slices(len(chosen), step):
            amplitudes = torch.from_numpy(scan.amplitudes(chosen[part])).to(device)
            yield pattern_batch(
                physics.to_fft_order(amplitudes), positions[chosen[part]], cached, shape, origin
            )

    readers: list[Callable[[], Iterable[PatternBatch]]] = [partial(read, s) for s in subsets]
    if keeps:
        readers = [partial(list, list(reader())) for reader in readers]
    good = physics.to_fft_order(torch.from_numpy(scan.scan.good_pixels.astype(np.float32)))
    problem = CanvasProblem(
        subsets=readers,
        numbers=subsets,
        shape=shape,
        probe=probe,
        good=good.to(device),
        power=m * n * n / 4.0,
        noise=scan.photon_scale / 2,
        expected=scan.expected_misfit,
    )
    return problem, origin


def _reconstruct_canvas(
    network: BuiltNetwork, scan: PreparedScan, execution: TorchExecution, device: torch.device
) -> CanvasResult:
    unrolled = CanvasNetwork(network)
    limit = execution.inference_batch_mib << 20
    problem, origin = canvas_problem(scan, unrolled.updates, device, limit)
    found = unrolled(problem, guarded=True)
    result = canvas_result(
        found.canvas.cpu().numpy(),
        found.illumination.cpu().numpy(),
        origin,
        [float(m) for m in found.misfits],
    )
    return replace(result, corrections=tuple(found.corrections))


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
