"""Scan positions from the misfit: an affine map of all of them, and a displacement of each.

A position is moved along

    delta = argmin sum_p sum_u |chi_p - P_p (delta . grad O)|^2,

a 2 x 2 system M delta = b per pattern, chi being the change of the exit wave by the modulus
projection; where the sample is thick, P_p grad O is what a move of all slices at once makes of the
wave behind the last one. Displacements d from the affine map of the given positions
(:mod:`ptychopinn.solvers.affine`) are shrunk towards it by their estimated noise: they are taken
from a normal distribution of variance t^2 along each axis, so that with a variance v of the moduli

    (M + v / t^2) delta = b - v / t^2 d,

and t^2 is the mean of the squares of the likeliest displacements beyond the noise that they have
(empirical Bayes; Robbins, Proc. 3rd Berkeley Symp. 1, 157, 1956). Where the affine map explains
everything, t^2 is small and positions stay on it.

The moves of a pass go on with momentum. The mean of all moves, which only shifts the object, is
taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.forward import PatternBatch, changed_waves, patches_of
from ptychopinn.physics.propagators import Propagator
from ptychopinn.solvers.affine import affine_step, equations_of
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.projections import projection

# Largest move of a position in one pass, pixels, and how much of the last move it goes on with.
LARGEST_MOVE, MOVE_MOMENTUM = 1.0, 0.5
# Added to the diagonal of the 2 x 2 system, relative to its trace: flat patches stay in place.
STIFFNESS = 1e-2
# Room around the canvas, in pixels, for positions that are refined.
MARGIN = 4
# Displacements count beyond so many times their noise, because the object has noise as well, and
# beyond so many pixels (rms), which an object asks for that is still being found.
BEYOND_NOISE, UNSEEN = 2.0, 0.05
# The smallest t, in pixels.
LEAST_SPREAD = 1e-3
# While the affine map moves positions by more than this (rms, pixels), it alone is changed.
COARSE = 0.5
# Once it has moved them by less than this in a pass, it is looked at in one of so many passes.
FINE, SELDOM = 0.02, 3
# Positions have come to rest when they move by less than this in a pass (rms, pixels). After some
# such passes they are looked at as seldom as the affine map.
AT_REST, PASSES_AT_REST = 0.002, 4

Positions = NDArray[np.float64]


def move_systems(state: Descent, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrices (M, 2, 2) and right sides (M, 2) for the moves of all ``count`` patterns."""
    xp, problem = state.xp, state.problem
    down, right = slopes_of_canvas(xp, state.canvas)
    matrices, sides = np.zeros((count, 2, 2)), np.zeros((count, 2))
    further = (state.canvas, *state.rule, down, right)
    for subset, numbers in enumerate(problem.numbers):
        found = [equations for *_, equations in state.each(move_equations, subset, *further)]
        matrices[numbers] = np.concatenate([xp.to_numpy(matrix) for matrix, _ in found])
        sides[numbers] = np.concatenate([xp.to_numpy(side) for _, side in found])
    matrices, sides = xp.totals([matrices, sides])
    return matrices, sides


def slopes_of_canvas(xp: Ops, canvas: Array) -> list[Array]:
    """The slopes along y and x of an object (H, W), or of slices (K, H, W)."""
    return [
        xp.scaled(xp.roll(canvas, -1, axis) - xp.roll(canvas, 1, axis), 0.5) for axis in (-2, -1)
    ]


def move_equations(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    e: Any,
    by_photons: Any,
    down: Array,
    right: Array,
) -> tuple[Array, Array]:
    """Matrices (M, 2, 2) and right sides (M, 2) for the moves of the positions of a batch, on a
    ``canvas`` (H, W), or (K, H, W) of slices, with the slopes ``down`` and ``right``."""
    found = projection(xp, propagator, canvas, batch, good, e, by_photons)
    waves = [
        changed_waves(xp, batch, found.way, patches_of(xp, slope, batch)) for slope in (down, right)
    ]

    def product(a: Array, b: Array) -> Array:
        return xp.sum(xp.real(a) * xp.real(b) + xp.imag(a) * xp.imag(b), axis=(1, 2, 3))

    target = xp.stack([product(w, found.exits) for w in waves], axis=1)
    rows = [xp.stack([product(a, b) for b in waves], axis=1) for a in waves]
    return xp.stack(rows, axis=1), target


def least_squares_moves(
    matrices: NDArray[Any],
    right: NDArray[Any],
    displacements: Any = 0.0,
    variance: float = 0.0,
) -> Positions:
    """Moves (M, 2) that solve the systems ``matrices`` (M, 2, 2), ``right`` (M, 2) of all patterns,
    shrinking ``displacements`` (M, 2) when the ``variance`` of the moduli is given.

    What else is added to the diagonals follows the mean over all patterns: where the object is
    flat, hardly anything fixes where a pattern belongs, and it stays.
    """
    stiff = _stiffened(matrices)
    spread = spread_of(matrices, right, displacements, variance) - UNSEEN**2
    pull = variance / max(spread, LEAST_SPREAD**2)
    side = right - pull * displacements
    moves: Positions = np.linalg.solve(stiff + pull * np.eye(2), side[..., None])[..., 0]
    return moves


def spread_of(
    matrices: NDArray[Any], right: NDArray[Any], displacements: Any, variance: float
) -> float:
    """The variance of displacements along an axis, px^2, beyond their noise; below 0 for less."""
    inverse = np.linalg.inv(_stiffened(matrices))
    # The systems are those of waves, whose phases are not measured: twice as stiff as the data.
    likeliest = displacements + 2 * (inverse @ right[..., None])[..., 0]
    noise = variance * np.trace(inverse, axis1=1, axis2=2)
    squares = 0.5 * (likeliest**2).sum(axis=1)
    return float((squares - BEYOND_NOISE * noise).mean())


def _stiffened(matrices: NDArray[Any]) -> NDArray[np.float64]:
    matrices = np.asarray(matrices, np.float64)
    traces = np.trace(matrices, axis1=1, axis2=2)
    stiff: NDArray[np.float64] = matrices + STIFFNESS * (traces + traces.mean())[
        :, None, None
    ] * np.eye(2)
    return stiff


def moved(
    positions_px: Positions,
    moves: NDArray[Any],
    n: int,
    shape: tuple[int, int],
    origin_px: NDArray[np.int64],
) -> Positions:
    """Positions (M, 2) after ``moves`` (M, 2), which are limited, within the canvas.

    The mean of all moves, which only shifts the object, is taken out.
    """
    limited = np.clip(np.asarray(moves, np.float64), -LARGEST_MOVE, LARGEST_MOVE)
    limited -= limited.mean(axis=0)
    low = origin_px + n // 2
    high = origin_px + np.array(shape) - n + n // 2
    return np.clip(positions_px + limited, low, high)


@dataclass(eq=False)
class PositionSearch:
    """Where the positions are: ``c + A (given - c) + displacements``, c the mean of those given.

    Attributes
    ----------
    given : (M, 2).  total : A (2, 2).  displacements, velocity : (M, 2) pixels.
    single : whether single positions are moved as well.
    at_rest : whether the last pass hardly moved anything.
    spread : the variance of displacements along an axis, px^2; None while none is looked at.
    """

    given: Positions
    single: bool = True
    total: NDArray[np.float64] = field(default_factory=lambda: np.eye(2))
    at_rest: bool = False
    spread: float | None = None

    def __post_init__(self) -> None:
        self.displacements, self.velocity = np.zeros_like(self.given), np.zeros_like(self.given)
        self.centre = self.given.mean(axis=0)
        self._passes, self._resting, self._last = 0, 0, np.inf

    @property
    def positions_px(self) -> Positions:
        """(M, 2)."""
        mapped: Positions = self.centre + (self.given - self.centre) @ self.total.T
        return mapped + self.displacements

    def is_due(self) -> bool:
        """Whether a pass is one that looks at the positions; asked once in each pass."""
        self._passes += 1
        return self._resting < PASSES_AT_REST or self._passes % SELDOM == 0

    def turn(self, state: Descent, variance: float) -> NDArray[np.float64]:
        """Change the affine map, and find how each position moves on.

        ``variance`` is that of the moduli of ``state``. Returns the map B (2, 2) of the step.
        """
        before, step = self.positions_px, np.eye(2)
        if self._last > FINE or self._passes % SELDOM == 0:
            step = affine_step(equations_of(state), self.total, variance)
            self.total = step @ self.total
            self._last = _rms(self.positions_px - before)
        if self.single and self._last <= COARSE:
            systems = move_systems(state, len(self.given))
            moves = least_squares_moves(*systems, self.displacements, variance)
            # An error of less than UNSEEN counts as none, but it may be there.
            self.spread = max(spread_of(*systems, self.displacements, variance), UNSEEN**2)
            self.velocity = MOVE_MOMENTUM * self.velocity + moves
        else:
            self.velocity[:] = 0
        return step

    def move(self, n: int, shape: tuple[int, int], origin_px: NDArray[np.int64]) -> None:
        """Move each position on, within the canvas (H, W)."""
        before = self.positions_px
        change = moved(before, self.velocity, n, shape, origin_px) - before
        self.displacements = self.displacements + change
        self.velocity = change
        self.at_rest = max(_rms(change), self._last) < AT_REST
        self._resting = self._resting + 1 if self.at_rest else 0


def _rms(moves: Positions) -> float:
    return float(np.sqrt((moves**2).mean()))
