"""Plain physics iterations: object, probe modes and scan positions until the misfit stands still.

The updates are those of the canvas network without its learned correction (see
:mod:`ptychopinn.networks.unrolled`), in the stages of :mod:`ptychopinn.solvers.refinement`. A position is
moved along

    delta = argmin sum_p sum_u |chi_p - P_p (delta . grad O)|^2,

a 2 x 2 system per pattern, chi being the change of the exit wave by the modulus projection. The
mean of all moves, which only shifts the object, is taken out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.backends.base import CanvasResult, Progress, Refined
from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.canvas import CanvasProblem, Descent, PatternBatch
from ptychopinn.backends.pytorch.execution import computing, device_of
from ptychopinn.backends.pytorch.inference import canvas_problem
from ptychopinn.config import RefineConfig
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.ops.options import TorchExecution
from ptychopinn.physics.forward import canvas_for
from ptychopinn.solvers.patches import canvas_result
from ptychopinn.solvers.refinement import MARGIN, Stage, iterate, least_squares_moves, level, moved


def refine(
    scan: PreparedScan,
    config: RefineConfig,
    execution: TorchExecution,
    start: CanvasResult | None,
    progress: Progress,
) -> Refined:
    """Refine the object of ``start``, or an empty one, until nothing improves any more."""
    with torch.inference_mode(), computing(execution):
        run = PhysicsIterations(scan, config, execution, start)
        misfits = iterate(config, progress, run)
        light = run.state.all_light().cpu().numpy()
        obj, probe = run.state.canvas.cpu().numpy(), run.state.probe.cpu().numpy()
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
        execution: TorchExecution,
        start: CanvasResult | None,
    ) -> None:
        self.scan, self.config, self.execution = scan, config, execution
        margin = MARGIN if config.refine_positions else 0
        self.shape, self.origin = canvas_for(scan.scan.positions_px, scan.scan.N, margin)
        self.problem, self.merged = self._problem(), 1
        canvas = None
        if start is not None:
            found = torch.from_numpy(start.on(self.shape, self.origin))
            canvas = found.to(self.problem.probe.device)
        self.state = Descent(self.problem, canvas, config.refine_probe)

    def _problem(self) -> CanvasProblem:
        problem, _ = canvas_problem(
            self.scan,
            self.config.subsets,
            device_of(self.execution),
            self.execution.inference_batch_mib << 20,
            refine_probe=self.config.refine_probe,
            place=(self.shape, self.origin),
        )
        return problem

    def merge(self, count: int) -> int:
        if count != self.merged:
            self.merged = count
            self.state = self.state.onto(self.problem.merged(count))
        return len(self.state.problem.subsets)

    def update(self, number: int, stage: Stage, decide: bool) -> float:
        step, momentum, turn = map(torch.tensor, (stage.step, stage.momentum, stage.turn))
        found = self.state.update(number, step, momentum, turn, decide=decide)
        return float(found.misfit) / self.problem.power

    def move(self) -> None:
        scan = self.scan.scan
        moves = position_moves(self.state, scan.M)
        positions = moved(scan.positions_px, moves, scan.N, self.shape, self.origin)
        self.scan = replace(self.scan, scan=replace(scan, positions_px=positions))
        self.problem = self._problem()
        self.state = self.state.onto(self.problem.merged(self.merged))


def position_moves(state: Descent, count: int) -> NDArray[np.float64]:
    """Least-squares moves (M, 2) of the positions of all ``count`` patterns, in pixels."""
    canvas = state.canvas
    slopes = [(torch.roll(canvas, -1, d) - torch.roll(canvas, 1, d)) / 2 for d in (0, 1)]
    matrices, right = np.zeros((count, 2, 2)), np.zeros((count, 2))
    for numbers, batches in zip(state.problem.numbers, state.problem.subsets, strict=True):
        found = [move_equations(state, batch, slopes) for batch in batches()]
        matrices[numbers] = torch.cat([matrix for matrix, _ in found]).cpu().numpy()
        right[numbers] = torch.cat([side for _, side in found]).cpu().numpy()
    return least_squares_moves(matrices, right)


def move_equations(
    state: Descent, batch: PatternBatch, slopes: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Matrices (M, 2, 2) and right sides (M, 2) for the moves of the positions of a batch."""
    probes = batch.shifted(state.probe)
    fields = physics.far_field(probes, physics.gather(state.canvas, batch.rows))
    spare = state.problem.spare
    amplitude = torch.sqrt(physics.intensity(fields) + spare)
    measured = torch.sqrt(batch.amplitudes.square() + spare)
    difference = state.problem.good * (measured - amplitude)
    chi = physics.ifft(fields * (difference / amplitude)[:, None])
    waves = [probes * physics.gather(slope, batch.rows)[:, None] for slope in slopes]
    right = torch.stack([(w.conj() * chi).real.sum(dim=(1, 2, 3)) for w in waves], dim=1)
    rows = [
        torch.stack([(a.conj() * b).real.sum(dim=(1, 2, 3)) for b in waves], dim=1) for a in waves
    ]
    return torch.stack(rows, dim=1), right
