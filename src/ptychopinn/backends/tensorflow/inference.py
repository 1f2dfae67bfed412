"""Applying a trained network to every pattern of a scan, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.backends.base import CanvasResult
from ptychopinn.backends.options import TFExecution
from ptychopinn.backends.tensorflow import physics
from ptychopinn.backends.tensorflow.canvas import (
    CanvasNetwork,
    CanvasProblem,
    PatternBatch,
    modulus_residual,
    probe_illumination,
)
from ptychopinn.backends.tensorflow.execution import computing
from ptychopinn.backends.tensorflow.family import PatchFamily, pattern_batch
from ptychopinn.backends.tensorflow.network import BuiltNetwork
from ptychopinn.config import Config
from ptychopinn.errors import InputError
from ptychopinn.inference import canvas_result, reconstruct_patches, repeated_passes
from ptychopinn.networks.registry import describe, family
from ptychopinn.physics.forward import canvas_for, split_positions
from ptychopinn.preparation import PreparedScan


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
            limit = execution.inference_batch_mib << 20
            if family(config.model) == "patch":
                return _reconstruct_patches(config, network, scan, limit)
            return _reconstruct_canvas(network, scan, limit)
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            f"inference must fit into the memory of the device, received: "
            f"{str(error).splitlines()[0]}; lower --tf-inference-batch-mib or use "
            "--tf-accelerator cpu."
        ) from error


class CompiledCanvasNetwork(CanvasNetwork):
    """The canvas network with the two halves of an iteration as graphs, for any sizes."""

    def __init__(self, network: BuiltNetwork) -> None:
        super().__init__(network)
        number, canvas = tf.TensorSpec([], tf.float32), tf.TensorSpec([None, None], tf.complex64)
        real = tf.TensorSpec([None, None], tf.float32)
        patterns = PatternBatch(
            tf.TensorSpec([None] * 3, tf.float32),
            tf.TensorSpec([None] * 4, tf.complex64),
            tf.TensorSpec([None] * 2, tf.int32),
        )
        self._residual = tf.function(
            modulus_residual, input_signature=[canvas, patterns, real], autograph=False
        )
        k = tf.TensorSpec([], tf.int32)
        self._advance = tf.function(
            super().advance,
            input_signature=[k, canvas, canvas, canvas, real, number],
            autograph=False,
        )

    def residual(
        self, canvas: Tensor, batch: PatternBatch, good: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = self._residual(canvas, batch, good)
        return found

    def advance(self, *state: Tensor) -> tuple[Tensor, Tensor]:
        after: tuple[Tensor, Tensor] = self._advance(*state)
        return after


def _reconstruct_canvas(
    network: BuiltNetwork, scan: PreparedScan, limit_bytes: int
) -> CanvasResult:
    n = scan.scan.N
    shape, origin = canvas_for(scan.scan.positions_px, n)
    probe, size = tf.constant(scan.probe), tf.constant(shape, tf.int32)

    def read(part: slice) -> PatternBatch:
        corner, fraction = split_positions(scan.scan.positions_px[part], n, origin)
        amplitudes = tf.constant(scan.amplitudes(np.arange(part.start, part.stop)))
        return pattern_batch(
            physics.to_fft_order(amplitudes),
            tf.constant(corner, tf.int32),
            tf.constant(fraction, tf.float32),
            probe,
            size,
        )

    batches = repeated_passes(scan, limit_bytes, read)
    illumination = probe_illumination(batches(), size)
    problem = CanvasProblem(
        batches=batches,
        shape=size,
        good=tf.constant(np.fft.ifftshift(scan.scan.good_pixels).astype(np.float32)),
        illumination=illumination,
        power=tf.constant(scan.scan.M * n * n / 4.0),
    )
    canvas, misfits, _ = CompiledCanvasNetwork(network)(problem)
    return canvas_result(canvas.numpy(), illumination.numpy(), origin, [float(m) for m in misfits])


def _reconstruct_patches(
    config: Config, network: BuiltNetwork, scan: PreparedScan, limit_bytes: int
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

    return reconstruct_patches(config.model, scan, limit_bytes, apply)
