"""Scan positions from the misfit. A position is moved along

    delta = argmin sum_p sum_u |chi_p - P_p (delta . grad O)|^2,

a 2 x 2 system per pattern, chi being the change of the exit wave by the modulus projection. The
mean of all moves, which only shifts the object, is taken out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.forward import PatternBatch
from ptychopinn.physics.propagators import Propagator
from ptychopinn.solvers.descent import Descent, projection

# Largest move of a position in one pass, pixels, and the share of the solution that is taken.
LARGEST_MOVE, MOVE_SHARE = 0.5, 0.5
# Added to the diagonal of the 2 x 2 system, relative to its trace: flat patches stay in place.
STIFFNESS = 1e-2
# Room around the canvas, in pixels, for positions that are refined.
MARGIN = 4


def position_moves(state: Descent, count: int) -> NDArray[np.float64]:
    """Least-squares moves (M, 2) of the positions of all ``count`` patterns, in pixels."""
    xp, problem = state.xp, state.problem
    down, right = (
        xp.scaled(xp.roll(state.canvas, -1, d) - xp.roll(state.canvas, 1, d), 0.5) for d in (0, 1)
    )
    matrices, sides = np.zeros((count, 2, 2)), np.zeros((count, 2))
    further = (state.canvas, problem.stabiliser, down, right)
    for subset, numbers in enumerate(problem.numbers):
        found = [equations for _, equations in state.each(move_equations, subset, *further)]
        matrices[numbers] = np.concatenate([xp.to_numpy(matrix) for matrix, _ in found])
        sides[numbers] = np.concatenate([xp.to_numpy(side) for _, side in found])
    return least_squares_moves(matrices, sides)


def move_equations(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    e: Any,
    down: Array,
    right: Array,
) -> tuple[Array, Array]:
    """Matrices (M, 2, 2) and right sides (M, 2) for the moves of the positions of a batch, on a
    ``canvas`` (H, W) with the slopes ``down`` and ``right``."""
    n = xp.shape(batch.amplitudes)[-1]
    chi = projection(xp, propagator, canvas, batch, good, e).chi
    waves = [batch.probes * xp.gather(slope, batch.places, n)[:, None] for slope in (down, right)]

    def product(a: Array, b: Array) -> Array:
        return xp.sum(xp.real(a) * xp.real(b) + xp.imag(a) * xp.imag(b), axis=(1, 2, 3))

    target = xp.stack([product(w, chi) for w in waves], axis=1)
    rows = [xp.stack([product(a, b) for b in waves], axis=1) for a in waves]
    return xp.stack(rows, axis=1), target


def least_squares_moves(matrices: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """Moves (M, 2) that solve the systems ``matrices`` (M, 2, 2), ``right`` (M, 2) of all patterns.

    What is added to the diagonals follows the mean over all patterns: where the object is flat,
    hardly anything fixes where a pattern belongs, and it stays.
    """
    traces = np.trace(np.asarray(matrices, np.float64), axis1=1, axis2=2)
    stiff = STIFFNESS * (traces + traces.mean())[:, None, None] * np.eye(2)
    solution: NDArray[np.float64] = np.linalg.solve(matrices + stiff, right[..., None])[..., 0]
    return solution


def moved(
    positions_px: NDArray[np.float64],
    moves: NDArray[Any],
    n: int,
    shape: tuple[int, int],
    origin_px: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Positions (M, 2) after a share of least-squares ``moves`` (M, 2), within the canvas.

    The mean of all moves, which only shifts the object, is taken out.
    """
    limited = np.clip(MOVE_SHARE * np.asarray(moves, np.float64), -LARGEST_MOVE, LARGEST_MOVE)
    limited -= limited.mean(axis=0)
    low = origin_px + n // 2
    high = origin_px + np.array(shape) - n + n // 2
    return np.clip(positions_px + limited, low, high)
