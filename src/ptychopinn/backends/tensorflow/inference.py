"""Applying a trained network to every pattern of a scan, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.backends.base import CanvasResult
from ptychopinn.backends.tensorflow import physics
from ptychopinn.backends.tensorflow.canvas import CanvasNetwork, CanvasProblem, PatternBatch
from ptychopinn.backends.tensorflow.execution import computing, working
from ptychopinn.backends.tensorflow.family import PatchFamily, pattern_batch
from ptychopinn.backends.tensorflow.network import BuiltNetwork
from ptychopinn.canvas_plan import canvas_subsets, places
from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan, batch_length
from ptychopinn.errors import InputError
from ptychopinn.networks.registry import describe, family
from ptychopinn.ops.options import TFExecution
from ptychopinn.ops.workers import ALONE, Workers
from ptychopinn.physics.forward import canvas_for
from ptychopinn.solvers.patches import (
    CANVAS_BYTES,
    canvas_result,
    kept,
    reconstruct_patches,
)

# Memory of the patterns that one batch works on: calling a graph costs as much as some patterns,
# so batches are larger than the caches of a CPU.
BATCH_BYTES = 32 << 20
# A batch is also as large as this many canvases, because each batch fills one.
BATCH_CANVASES = 2


def reconstruct(
    config: Config,
    weights: Mapping[str, NDArray[np.float32]],
    scan: PreparedScan,
    execution: TFExecution,
) -> CanvasResult:
    """Reconstruct a scan with trained weights (see ptychopinn.backends.base.Backend)."""
    try:
        with computing(execution):
            network = BuiltNetwork(describe(config.model), weights)
            if family(config.model) == "patch":
                return _reconstruct_patches(config, network, scan, execution)
            return _reconstruct_canvas(network, scan, execution)
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            f"inference must fit into the memory of the device, received: "
            f"{str(error).splitlines()[0]}; lower --tf-inference-batch-mib or use "
            "--tf-accelerator cpu."
        ) from error


def canvas_problem(
    scan: PreparedScan,
    updates: int,
    limit_bytes: int,
    workers: Workers = ALONE,
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
    size = tf.constant(shape, tf.int32)
    probe = tf.constant(scan.probe)
    subsets = canvas_subsets(positions, scan.probe, updates)
    keeps = kept(scan, limit_bytes)
    cached = probe if keeps and not refine_probe else None
    size_bytes = max(BATCH_BYTES, BATCH_CANVASES * 8 * shape[0] * shape[1])
    step = batch_length(n, CANVAS_BYTES * modes, min(limit_bytes // 4, size_bytes))

    def batch(chosen: NDArray[np.int64]) -> PatternBatch:
        amplitudes = np.fft.ifftshift(scan.amplitudes(chosen), axes=(-2, -1))
        where = places(positions[chosen], n, shape, origin)
        return pattern_batch(
            tf.constant(amplitudes),
            tf.constant(where.corner, tf.int32),
            tf.constant(where.fraction, tf.float32),
            tf.constant(where.centre, tf.int32),
            cached,
            size,
        )

    parts = [np.array_split(subset, -(-len(subset) // step)) for subset in subsets]
    readers: list[Callable[[], Iterable[PatternBatch]]] = [partial(map, batch, p) for p in parts]
    if keeps:
        made = [found for _, found in workers.each(batch, chain.from_iterable(parts))]
        readers = [partial(list, [made.pop(0) for _ in p]) for p in parts]
    problem = CanvasProblem(
        subsets=readers,
        count=len(subsets),
        numbers=subsets,
        shape=size,
        probe=probe,
        low=physics.LowFrequency.of(scan.probe, shape),
        good=tf.constant(np.fft.ifftshift(scan.scan.good_pixels).astype(np.float32)),
        power=tf.constant(m * n * n / 4.0),
        noise=tf.constant(scan.photon_scale / 2, tf.float32),
        expected=scan.expected_misfit,
        workers=workers,
    )
    return problem, origin


def _reconstruct_canvas(
    network: BuiltNetwork, scan: PreparedScan, execution: TFExecution
) -> CanvasResult:
    unrolled = CanvasNetwork(network)
    limit = execution.inference_batch_mib << 20
    with working(execution) as workers:
        problem, origin = canvas_problem(scan, unrolled.updates, limit, workers)
        found = unrolled(problem, guarded=True)
    result = canvas_result(
        found.canvas.numpy(),
        found.illumination.numpy(),
        origin,
        [float(m) for m in found.misfits],
    )
    return replace(result, corrections=tuple(found.corrections))


def _reconstruct_patches(
    config: Config, network: BuiltNetwork, scan: PreparedScan, execution: TFExecution
) -> CanvasResult:
    patch_family = PatchFamily(network, [scan], False, scan.scan.N)
    weight = tf.constant(patch_family.weight(0))

    def patches_of(amplitudes: Tensor, offsets: Tensor) -> Tensor:
        patches = patch_family.objects(amplitudes)
        if config.model.gridsize == 1:
            return patches
        return physics.common_patches(patches, offsets, weight)

    compiled = tf.function(
        patches_of,
        autograph=False,
        input_signature=[
            tf.TensorSpec([None] * 4, tf.float32),
            tf.TensorSpec([None, None, 2], tf.float64),
        ],
    )

    def apply(
        amplitudes: NDArray[np.float32], offsets: NDArray[np.float64]
    ) -> NDArray[np.complex64]:
        found: NDArray[np.complex64] = compiled(amplitudes, offsets).numpy()
        return found

    return reconstruct_patches(config.model, scan, execution.inference_batch_mib << 20, apply)
