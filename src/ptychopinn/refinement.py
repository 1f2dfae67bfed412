"""Plain physics iterations, what needs no framework: their steps, their end, and what they cannot
know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptychopinn.backends.base import Progress
from ptychopinn.solvers.configs import PhysicsConfig

# Largest move of a position in one pass, pixels, and the share of the solution that is taken.
LARGEST_MOVE, MOVE_SHARE = 0.5, 0.5
# Added to the diagonal of the 2 x 2 system, relative to its trace: flat patches stay in place.
STIFFNESS = 1e-2
# Room around the canvas, in pixels, for positions that are refined.
MARGIN = 4


@dataclass(frozen=True)
class Stage:
    """How the updates of a pass are made.

    merged : how many ordered subsets make one update.  step, momentum, turn : of the update (see
    :mod:`ptychopinn.networks.unrolled`).
    """

    merged: int
    step: float
    momentum: float
    turn: float


# Small subsets find the object in a few passes, but each pulls it to its own noise; all patterns
# together settle it, with a momentum that makes up for the smaller number of updates.
STAGES = (Stage(1, 0.7, 0.7, 0.4), Stage(2, 0.7, 0.8, 0.4), Stage(1 << 30, 1.0, 0.9, 0.2))
# A pass that lowers the misfit by less than this share ends a stage other than the last.
LITTLE = 0.01
# The last stage is judged over so many passes, because its momentum lets the misfit ring.
SETTLING = 6


class Schedule:
    """Goes on to the next stage when a pass brings little, and ends when the last brings nothing or
    the number of passes is reached."""

    def __init__(self, config: PhysicsConfig) -> None:
        self.config = config
        self.number = self.entered = 0

    def next_stage(self, misfits: Sequence[float]) -> Stage | None:
        """Stage of the next pass, given the misfit of every pass so far; None at the end."""
        done = len(misfits)
        if done >= self.config.passes:
            return None
        last = self.number == len(STAGES) - 1
        window, least = (SETTLING, self.config.stagnation) if last else (1, LITTLE)
        if done - self.entered > window:
            gain = 1 - misfits[-1] / misfits[-1 - window]
            if gain < window * least:
                if last:
                    return None
                self.number, self.entered = self.number + 1, done
        return STAGES[self.number]


class Iterations(Protocol):
    """Plain physics iterations of one backend."""

    def merge(self, count: int) -> int:
        """Let ``count`` subsets at a time make one update; returns the updates of a pass."""

    def update(self, number: int, stage: Stage, decide: bool) -> float:
        """Make one update; its share of the relative misfit.

        With ``decide`` it is settled anew whether the low-frequency phase is followed.
        """

    def move(self) -> None:
        """Move the positions."""


def iterate(config: PhysicsConfig, progress: Progress, iterations: Iterations) -> list[float]:
    """Passes until the schedule ends them; the relative misfit during each."""
    schedule = Schedule(config)
    misfits: list[float] = []
    while (stage := schedule.next_stage(misfits)) is not None:
        updates = iterations.merge(stage.merged)
        progress.epoch(len(misfits), updates)
        misfit = 0.0
        for u in range(updates):
            misfit += iterations.update(u, stage, u == updates - 1)
            progress.step(misfit, 0.0)
        misfits.append(misfit)
        progress.epoch_done(len(misfits) - 1, {"misfit": misfit})
        if config.refine_positions and len(misfits) >= config.positions_from:
            iterations.move()
    return misfits


def least_squares_moves(matrices: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """Moves (M, 2) that solve the systems ``matrices`` (M, 2, 2), ``right`` (M, 2) of all patterns.

    What is added to the diagonals follows the mean over all patterns: where the object is flat,
    hardly anything tells where a pattern belongs, and it stays.
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


def level(
    obj: NDArray[np.complex64], light: NDArray[Any], probe: NDArray[np.complex64], power: float
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Object (H, W) and probe (P, N, N) in the one of their equivalent forms that reads best.

    When both are free, exp(-i k u) on the object and exp(i k u) on the probe change no pattern, nor
    does a factor between them. Here the object has no mean phase gradient, weighted with the
    ``light`` (H, W), and the probe has the given ``power``, sum abs(P)^2.
    """
    weight = np.asarray(light, dtype=np.float64)
    slopes = []
    for axis in (0, 1):
        near = np.delete(obj, -1, axis).astype(np.complex128)
        far = np.delete(obj, 0, axis)
        w = np.delete(weight, -1, axis) * np.delete(weight, 0, axis)
        slopes.append(float(np.angle((w * np.conj(near) * far).sum())))

    def ramp(shape: tuple[int, ...], sign: int) -> NDArray[np.complex128]:
        y, x = np.arange(shape[-2])[:, None], np.arange(shape[-1])[None]
        return np.exp(1j * sign * (slopes[0] * y + slopes[1] * x))

    factor = np.sqrt(power / (np.abs(probe.astype(np.complex128)) ** 2).sum())
    levelled = obj / factor * ramp(obj.shape, -1)
    return levelled.astype(np.complex64), (probe * factor * ramp(probe.shape, 1)).astype(
        np.complex64
    )
