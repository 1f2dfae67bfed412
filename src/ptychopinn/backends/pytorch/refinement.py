"""Plain physics iterations: object, probe modes and scan positions until the misfit stands still.

The updates are those of the canvas network without its learned correction (see
:mod:`ptychopinn.networks.unrolled`), in the stages of :mod:`ptychopinn.refinement`. A position is
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
from ptychopinn.backends.options import TorchExecution
from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.canvas import CanvasProblem, Descent, PatternBatch
from ptychopinn.backends.pytorch.execution import computing, device_of
from ptychopinn.backends.pytorch.inference import MARGIN, canvas_problem
from ptychopinn.config import RefineConfig
from ptychopinn.inference import canvas_result
from ptychopinn.physics.forward import canvas_for
from ptychopinn.preparation import PreparedScan
from ptychopinn.refinement import Schedule, level

# Largest move of a position in one pass, pixels, and the share of the solution that is taken.
LARGEST_MOVE, MOVE_SHARE = 0.5, 0.5
# Added to the diagonal of the 2 x 2 system, relative to its trace: flat patches stay in place.
STIFFNESS = 1e-2


def refine(
    scan: PreparedScan,
    config: RefineConfig,
    execution: TorchExecution,
    start: CanvasResult | None,
    progress: Progress,
) -> Refined:
    """Refine the object of ``start``, or an empty one, until nothing improves any more."""
    device = device_of(execution)
    limit = execution.inference_batch_mib << 20
    place = canvas_for(
        scan.scan.positions_px, scan.scan.N, MARGIN if config.refine_positions else 0
    )
    schedule = Schedule(config)
    with torch.inference_mode(), computing(execution):

        def posed(scan: PreparedScan) -> CanvasProblem:
            return canvas_problem(
                scan, config.subsets, device, limit, refine_probe=config.refine_probe, place=place
            )[0]

        (shape, origin), problem = place, posed(scan)
        canvas = None
        if start is not None:
            canvas = torch.from_numpy(start.on(shape, origin)).to(device)
        state = Descent(problem, canvas, config.refine_probe)
        positions = scan.scan.positions_px
        misfits: list[float] = []
        merged = 1
        while (stage := schedule.next_stage(misfits)) is not None:
            if stage.merged != merged:
                merged = stage.merged
                state = state.onto(problem.merged(merged))
            updates = len(state.problem.subsets)
            progress.epoch(len(misfits), updates)
            step, momentum, turn = map(torch.tensor, (stage.step, stage.momentum, stage.turn))
            misfit = 0.0
            for u in range(updates):
                found = state.update(u, step, momentum, turn, decide=u == updates - 1)
                misfit += float(found.misfit) / problem.power
                progress.step(misfit, 0.0)
            misfits.append(misfit)
            progress.epoch_done(len(misfits) - 1, {"misfit": misfit})
            if config.refine_positions and len(misfits) >= config.positions_from:
                positions = moved_positions(state, scan, positions, origin)
                scan = replace(scan, scan=replace(scan.scan, positions_px=positions))
                problem = posed(scan)
                state = state.onto(problem.merged(merged))
        light = torch.stack(state.light).sum(dim=0).cpu().numpy()
        obj, probe = state.canvas.cpu().numpy(), state.probe.cpu().numpy()
        if config.refine_probe:
            obj, probe = level(obj, light, probe, float((np.abs(scan.probe) ** 2).sum()))
        return Refined(canvas_result(obj, light, origin, misfits), probe, positions, len(misfits))


def moved_positions(
    state: Descent,
    scan: PreparedScan,
    positions_px: NDArray[np.float64],
    origin: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Positions (M, 2) after one least-squares move each, within the canvas."""
    canvas = state.canvas
    slopes = [(torch.roll(canvas, -1, d) - torch.roll(canvas, 1, d)) / 2 for d in (0, 1)]
    moves = np.zeros_like(positions_px)
    for numbers, batches in zip(state.problem.numbers, state.problem.subsets, strict=True):
        done = 0
        for batch in batches():
            move = position_moves(state, batch, slopes)
            chosen = numbers[done : done + len(move)]
            moves[chosen] = move.cpu().numpy()
            done += len(move)
    moves = np.clip(MOVE_SHARE * moves, -LARGEST_MOVE, LARGEST_MOVE)
    moves -= moves.mean(axis=0)
    n = scan.scan.N
    low = origin + n // 2
    high = origin + np.array(canvas.shape) - n + n // 2
    return np.clip(positions_px + moves, low, high)


def position_moves(state: Descent, batch: PatternBatch, slopes: list[Tensor]) -> Tensor:
    """Least-squares moves (M, 2) of the positions of a batch, in pixels."""
    n = batch.amplitudes.shape[-1]
    probes = batch.shifted(state.probe)
    fields = physics.far_field(probes, physics.gather(state.canvas, batch.index, n))
    amplitude = torch.sqrt(physics.intensity(fields) + 1e-12)
    difference = state.problem.good * (batch.amplitudes - amplitude)
    chi = physics.ifft(fields * (difference / amplitude)[:, None])
    waves = [probes * physics.gather(slope, batch.index, n)[:, None] for slope in slopes]
    right = torch.stack([(w.conj() * chi).real.sum(dim=(1, 2, 3)) for w in waves], dim=1)
    rows = [
        torch.stack([(a.conj() * b).real.sum(dim=(1, 2, 3)) for b in waves], dim=1) for a in waves
    ]
    matrix = torch.stack(rows, dim=1)
    trace = matrix.diagonal(dim1=1, dim2=2).sum(dim=1)
    stiff = STIFFNESS * (trace + trace.mean())[:, None, None] * torch.eye(2, device=matrix.device)
    return torch.linalg.solve(matrix + stiff, right)
