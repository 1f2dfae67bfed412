"""Applying a trained network to every pattern of a scan, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.backends.base import CanvasResult
from ptychopinn.backends.options import TorchExecution
from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.canvas import CanvasNetwork, CanvasProblem, PatternBatch
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
from ptychopinn.grouping import nearest_groups, ordered_subsets
from ptychopinn.networks.unrolled import RIM, subset_count
from ptychopinn.physics.forward import canvas_for, mean_overlap
from ptychopinn.physics.groups import split_offsets
from ptychopinn.preparation import PreparedScan, batch_length, slices
from ptychopinn.stitching import Stitcher

# Bytes per pattern pixel while a physics step works on it, for one probe mode: exit wave, far
# field, correction (complex64), amplitude, index.
CANVAS_BYTES = 64
# Memory of the patterns that one batch works on: little enough to stay in the caches of a CPU.
BATCH_BYTES = 8 << 20
PATCH_BYTES = 4096
# Room around the canvas, in pixels, for positions that are refined.
MARGIN = 4


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


def canvas_problem(
    scan: PreparedScan,
    updates: int,
    device: torch.device,
    limit_bytes: int,
    refine_probe: bool = False,
    place: tuple[tuple[int, int], NDArray[np.int64]] | None = None,
) -> tuple[CanvasProblem, NDArray[np.int64]]:
    """A whole scan as a canvas problem, and the origin of its canvas.

    ``place`` is shape and origin of the canvas, the smallest one when not given. The patterns are kept when all of them fit into ``limit_bytes``; otherwise every pass reads them
    anew and holds one batch at a time.
    """
    n, m, modes = scan.scan.N, scan.scan.M, scan.probe.shape[0]
    positions = scan.scan.positions_px
    shape, origin = canvas_for(positions, n) if place is None else place
    probe = torch.from_numpy(scan.probe).to(device)
    count = subset_count(mean_overlap(positions, scan.probe), m, updates)
    subsets = ordered_subsets(positions, count, np.random.default_rng(0))
    keeps = m * n * n * (12 + 8 * modes) <= limit_bytes
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
        noise=scan.input_scale / 2,
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
    misfits = [float(m) for m in found.misfits]
    result = canvas_result(found.canvas, found.illumination, origin, misfits)
    return replace(result, corrections=tuple(found.corrections))


def canvas_result(
    canvas: Tensor, illumination: Tensor, origin: NDArray[np.int64], misfits: Sequence[float]
) -> CanvasResult:
    """The canvas as a result; pixels that hardly any light reached count as never seen."""
    light = (illumination / illumination.max()).cpu().numpy()
    return CanvasResult(
        object=canvas.cpu().numpy(),
        weight=np.where(light > RIM / 10, light, 0).astype(np.float32),
        origin_px=origin,
        losses=np.array(misfits),
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
