"""Plain physics iterations: object, probe modes and scan positions until the misfit stands still.

The twin of the PyTorch backend's module, which says what is done.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.backends.base import CanvasResult, Progress, Refined
from ptychopinn.backends.options import TFExecution
from ptychopinn.backends.tensorflow import physics
from ptychopinn.backends.tensorflow.canvas import (
    IMAGE,
    INDEX,
    PATTERNS,
    PROBES,
    REAL,
    Compiled,
    Descent,
    projected,
)
from ptychopinn.backends.tensorflow.execution import computing
from ptychopinn.backends.tensorflow.inference import canvas_problem
from ptychopinn.config import RefineConfig
from ptychopinn.errors import InputError
from ptychopinn.inference import canvas_result
from ptychopinn.networks.unrolled import PHASE_GAIN, STEP
from ptychopinn.physics.forward import canvas_for
from ptychopinn.preparation import PreparedScan
from ptychopinn.refinement import MARGIN, MOMENTUM, STIFFNESS, iterate, level, moved


def refine(
    scan: PreparedScan,
    config: RefineConfig,
    execution: TFExecution,
    start: CanvasResult | None,
    progress: Progress,
) -> Refined:
    """Refine the object of ``start``, or an empty one, until nothing improves any more."""
    try:
        with computing(execution):
            return _refined(scan, config, execution.inference_batch_mib << 20, start, progress)
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            f"refinement must fit into the memory of the device, received: "
            f"{str(error).splitlines()[0]}; lower --tf-inference-batch-mib or use "
            "--tf-accelerator cpu."
        ) from error


def _refined(
    scan: PreparedScan,
    config: RefineConfig,
    limit_bytes: int,
    start: CanvasResult | None,
    progress: Progress,
) -> Refined:
    place = canvas_for(
        scan.scan.positions_px, scan.scan.N, MARGIN if config.refine_positions else 0
    )
    problem, origin = canvas_problem(
        scan, config.updates, limit_bytes, refine_probe=config.refine_probe, place=place
    )
    canvas = None if start is None else tf.constant(start.on(place[0], origin))
    state = Descent(problem, canvas, config.refine_probe)
    positions = scan.scan.positions_px

    def update(number: int, size: float, decide: bool) -> float:
        found = state.update(
            number,
            tf.constant(STEP * size, tf.float32),
            tf.constant(MOMENTUM, tf.float32),
            tf.constant(PHASE_GAIN * size, tf.float32),
            decide,
        )
        return float(found.misfit) * len(state.problem.subsets) / float(state.problem.power)

    def move() -> None:
        nonlocal state, positions
        moves = position_moves(state, len(positions))
        positions = moved(positions, moves, scan.scan.N, place[0], origin)
        elsewhere = replace(scan, scan=replace(scan.scan, positions_px=positions))
        problem, _ = canvas_problem(
            elsewhere, config.updates, limit_bytes, refine_probe=config.refine_probe, place=place
        )
        state = state.onto(problem, physics.LowFrequency.of(state.probe.numpy(), place[0]))

    misfits = iterate(config, progress, update, move)
    light, found, probe = state.all_light().numpy(), state.canvas.numpy(), state.probe.numpy()
    if config.refine_probe:
        found, probe = level(found, light, probe, float((np.abs(scan.probe) ** 2).sum()))
    return Refined(canvas_result(found, light, origin, misfits), probe, positions, len(misfits))


def position_moves(state: Descent, count: int) -> NDArray[np.float32]:
    """Least-squares moves (M, 2) of the positions of all ``count`` patterns, in pixels."""
    canvas, good = state.canvas, state.problem.good
    slopes = [(tf.roll(canvas, -1, d) - tf.roll(canvas, 1, d)) / 2 for d in (0, 1)]
    moves = np.zeros((count, 2), dtype=np.float32)
    for numbers, batches in zip(state.problem.numbers, state.problem.subsets, strict=True):
        found = [
            _batch_moves(
                canvas, b.amplitudes, b.shifted(state.probe), b.index, good, slopes[0], slopes[1]
            )
            for b in batches()
        ]
        moves[numbers] = np.concatenate(found)
    return moves


def batch_moves(
    canvas: Tensor,
    amplitudes: Tensor,
    probes: Tensor,
    index: Tensor,
    good: Tensor,
    down: Tensor,
    right: Tensor,
) -> Tensor:
    """Least-squares moves (M, 2) of the positions of a batch, in pixels, on a ``canvas`` (H, W)
    with the slopes ``down`` and ``right``."""
    n = tf.shape(amplitudes)[-1]
    chi, _, _, _ = projected(canvas, amplitudes, probes, index, good)
    waves = [probes * physics.gather(slope, index, n)[:, None] for slope in (down, right)]

    def product(a: Tensor, b: Tensor) -> Tensor:
        real = tf.math.real(a) * tf.math.real(b) + tf.math.imag(a) * tf.math.imag(b)
        return tf.reduce_sum(real, axis=[1, 2, 3])

    target = tf.stack([product(w, chi) for w in waves], axis=1)
    rows = [tf.stack([product(a, b) for b in waves], axis=1) for a in waves]
    matrix = tf.stack(rows, axis=1)
    trace = tf.linalg.trace(matrix)
    stiff = STIFFNESS * (trace + tf.reduce_mean(trace))[:, None, None] * tf.eye(2)
    return tf.linalg.solve(matrix + stiff, target[..., None])[..., 0]


_batch_moves = Compiled(batch_moves, IMAGE, PATTERNS, PROBES, INDEX, REAL, IMAGE, IMAGE)
