"""Plain physics iterations, what needs no framework: their steps, their end, and what they cannot
know."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptychopinn.backends.base import Progress
from ptychopinn.config import RefineConfig
from ptychopinn.training.interruption import Interrupted, StopFlag

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

    def __init__(self, config: RefineConfig) -> None:
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


def iterate(
    config: RefineConfig, passes: Passes, iterations: Iterations, stop: StopFlag | None = None
) -> list[float]:
    """Passes until the schedule ends them or ``stop`` is set; the relative misfit during each
    finished one.

    Raises
    ------
    Interrupted
        When ``stop`` is set before a pass was finished.
    """
    stop = StopFlag() if stop is None else stop
    schedule = Schedule(config)
    misfits: list[float] = []
    while (stage := schedule.next_stage(misfits)) is not None and stop.signal is None:
        updates = iterations.merge(stage.merged)
        passes.begin(updates)
        for u in range(updates):
            passes.step(iterations.update(u, stage, u == updates - 1))
            if stop.signal is not None and u < updates - 1:
                break
        else:
            misfits.append(passes.end())
            # From now on there is something to save.
            stop.gentle = True
            if config.refine_positions and len(misfits) >= config.positions_from:
                iterations.move()
    if stop.signal is not None and not misfits:
        raise Interrupted(stop.signal)
    return misfits


class Passes:
    """Tells a progress how passes over all patterns of a scan advance.

    The loss it shows is the misfit of the patterns of the pass so far, so that it can be compared
    between steps and between passes.
    """

    def __init__(
        self, progress: Progress, patterns: int, before: Callable[[], None] | None = None
    ) -> None:
        """``before`` is called before every pass."""
        self._progress, self._patterns, self._before = progress, patterns, before
        self._number = self._updates = self._done = 0
        self._misfit = self._begun = 0.0

    def begin(self, updates: int) -> None:
        """A pass of so many updates begins, each with the same share of the patterns."""
        if self._before is not None:
            self._before()
        self._updates, self._done, self._misfit = updates, 0, 0.0
        self._begun = time.perf_counter()
        self._progress.epoch(self._number, updates)

    def step(self, misfit: float) -> None:
        """An update is done; its share of the relative misfit of the pass."""
        self.so_far(self._misfit + misfit)

    def so_far(self, misfit: float) -> None:
        """An update is done; the sum of the shares so far."""
        self._done += 1
        self._misfit = misfit
        share = self._done / self._updates
        elapsed = max(time.perf_counter() - self._begun, 1e-9)
        self._progress.step(self._misfit / share, self._patterns * share / elapsed)

    def end(self) -> float:
        """The pass is over; the relative misfit during it."""
        self._progress.epoch_done(self._number, {"misfit": self._misfit})
        self._number += 1
        return self._misfit


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
