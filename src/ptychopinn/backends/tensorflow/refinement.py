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
from ptychopinn.backends.tensorflow import physics
from ptychopinn.backends.tensorflow.canvas import CanvasProblem, Descent, PatternBatch
from ptychopinn.backends.tensorflow.execution import computing, working
from ptychopinn.backends.tensorflow.graphs import (
    IMAGE,
    INDEX,
    NUMBER,
    PATTERNS,
    PROBES,
    REAL,
    compiled,
    projected,
)
from ptychopinn.backends.tensorflow.inference import canvas_problem
from ptychopinn.config import RefineConfig
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.errors import InputError
from ptychopinn.ops.options import TFExecution
from ptychopinn.ops.workers import Workers
from ptychopinn.physics.forward import canvas_for
from ptychopinn.solvers.patches import canvas_result
from ptychopinn.solvers.refinement import MARGIN, Stage, iterate, least_squares_moves, level, moved


def refine(
    scan: PreparedScan,
    config: RefineConfig,
    execution: TFExecution,
    start: CanvasResult | None,
    progress: Progress,
) -> Refined:
    """Refine the object of ``start``, or an empty one, until nothing improves any more."""
    try:
        with computing(execution), working(execution) as workers:
            run = PhysicsIterations(scan, config, execution, workers, start)
            misfits = iterate(config, progress, run)
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            f"refinement must fit into the memory of the device, received: "
            f"{str(error).splitlines()[0]}; lower --tf-inference-batch-mib or use "
            "--tf-accelerator cpu."
        ) from error
    state = run.state
    light, obj, probe = state.all_light().numpy(), state.canvas.numpy(), state.probe.numpy()
    if config.refine_probe:
        obj, probe = level(obj, light, probe, float((np.abs(scan.probe) ** 2).sum()))
    result = canvas_result(obj, light, run.origin, misfits)
    return Refined(result, probe, run.scan.scan.positions_px, len(misfits))


class PhysicsIterations:
    """See :class:`ptychopinn.solvers.refinement.Iterations`."""

    def __init__(
        self,
        scan: PreparedScan,
        config: RefineConfig,
        execution: TFExecution,
        workers: Workers,
        start: CanvasResult | None,
    ) -> None:
        self.scan, self.config, self.execution = scan, config, execution
        self.workers = workers
        margin = MARGIN if config.refine_positions else 0
        self.shape, self.origin = canvas_for(scan.scan.positions_px, scan.scan.N, margin)
        self.problem, self.merged = self._problem(), 1
        canvas = None if start is None else tf.constant(start.on(self.shape, self.origin))
        self.state = Descent(self.problem, canvas, config.refine_probe)

    def _problem(self) -> CanvasProblem:
        problem, _ = canvas_problem(
            self.scan,
            self.config.subsets,
            self.execution.inference_batch_mib << 20,
            self.workers,
            refine_probe=self.config.refine_probe,
            place=(self.shape, self.origin),
        )
        return problem

    def _turn_to(self, problem: CanvasProblem) -> None:
        low = physics.LowFrequency.of(self.state.probe.numpy(), self.shape)
        self.state = self.state.onto(problem, low)

    def merge(self, count: int) -> int:
        if count != self.merged:
            self.merged = count
            self._turn_to(self.problem.merged(count))
        return len(self.state.problem.subsets)

    def update(self, number: int, stage: Stage, decide: bool) -> float:
        step, momentum, turn = (
            tf.constant(v, tf.float32) for v in (stage.step, stage.momentum, stage.turn)
        )
        found = self.state.update(number, step, momentum, turn, decide=decide)
        return float(found.misfit) / float(self.problem.power)

    def move(self) -> None:
        scan = self.scan.scan
        moves = position_moves(self.state, scan.M)
        positions = moved(scan.positions_px, moves, scan.N, self.shape, self.origin)
        self.scan = replace(self.scan, scan=replace(scan, positions_px=positions))
        self.problem = self._problem()
        self._turn_to(self.problem.merged(self.merged))


def position_moves(state: Descent, count: int) -> NDArray[np.float64]:
    """Least-squares moves (M, 2) of the positions of all ``count`` patterns, in pixels."""
    canvas, good, spare = state.canvas, state.problem.good, state.problem.spare
    slopes = [(tf.roll(canvas, -1, d) - tf.roll(canvas, 1, d)) / 2 for d in (0, 1)]
    matrices, right = np.zeros((count, 2, 2)), np.zeros((count, 2))

    def of_batch(b: PatternBatch) -> tuple[Tensor, Tensor]:
        probes = b.shifted(state.probe)
        found: tuple[Tensor, Tensor] = move_equations(
            canvas, b.amplitudes, probes, b.index, good, spare, *slopes
        )
        return found

    for numbers, batches in zip(state.problem.numbers, state.problem.subsets, strict=True):
        found = [equations for _, equations in state.problem.workers.each(of_batch, batches())]
        matrices[numbers] = np.concatenate([matrix for matrix, _ in found])
        right[numbers] = np.concatenate([side for _, side in found])
    return least_squares_moves(matrices, right)


@compiled(IMAGE, PATTERNS, PROBES, INDEX, REAL, NUMBER, IMAGE, IMAGE)
def move_equations(
    canvas: Tensor,
    amplitudes: Tensor,
    probes: Tensor,
    index: Tensor,
    good: Tensor,
    spare: Tensor,
    down: Tensor,
    right: Tensor,
) -> tuple[Tensor, Tensor]:
    """Matrices (M, 2, 2) and right sides (M, 2) for the moves of the positions of a batch, on a
    ``canvas`` (H, W) with the slopes ``down`` and ``right``."""
    n = tf.shape(amplitudes)[-1]
    chi = projected(canvas, amplitudes, probes, index, good, spare).chi
    waves = [probes * physics.gather(slope, index, n)[:, None] for slope in (down, right)]

    def product(a: Tensor, b: Tensor) -> Tensor:
        real = tf.math.real(a) * tf.math.real(b) + tf.math.imag(a) * tf.math.imag(b)
        return tf.reduce_sum(real, axis=[1, 2, 3])

    target = tf.stack([product(w, chi) for w in waves], axis=1)
    rows = [tf.stack([product(a, b) for b in waves], axis=1) for a in waves]
    return tf.stack(rows, axis=1), target
