"""Plain physics iterations, what needs no framework: their steps, their end, and what they cannot
know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.backends.base import Progress
from ptychopinn.config import RefineConfig

MOMENTUM = 0.7
# Largest move of a position in one pass, pixels, and the share of the solution that is taken.
LARGEST_MOVE, MOVE_SHARE = 0.5, 0.5
# Added to the diagonal of the 2 x 2 system, relative to its trace: flat patches stay in place.
STIFFNESS = 1e-2
# Room around the canvas, in pixels, for positions that are refined.
MARGIN = 4


class Schedule:
    """Halves the step whenever a pass brings little, and ends when the smallest brings nothing.

    A pass brings little when it lowers the misfit by less than ``config.stagnation``, relatively.
    """

    def __init__(self, config: RefineConfig) -> None:
        self.config = config
        self.step = 1.0

    def next_step(self, misfits: Sequence[float]) -> float | None:
        """Step of the next pass relative to the first one; None when it is time to end."""
        if len(misfits) >= self.config.passes:
            return None
        if len(misfits) >= 2 and misfits[-1] > misfits[-2] * (1 - self.config.stagnation):
            self.step /= 2
        return None if self.step < self.config.smallest_step else self.step


def iterate(
    config: RefineConfig,
    progress: Progress,
    update: Callable[[int, float, bool], float],
    move: Callable[[], None],
) -> list[float]:
    """Passes until the schedule ends them; the relative misfit during each.

    ``update(number, size, decide)`` makes an update with steps of this size and returns the misfit
    of its patterns, extrapolated to the whole scan; it may ``decide`` anew whether the
    low-frequency phase is followed. ``move()`` moves the positions.
    """
    schedule = Schedule(config)
    misfits: list[float] = []
    while (size := schedule.next_step(misfits)) is not None:
        progress.epoch(len(misfits), config.updates)
        misfit = 0.0
        for u in range(config.updates):
            number = len(misfits) * config.updates + u
            misfit += update(number, size, u in (0, config.updates - 1)) / config.updates
            progress.step(misfit, 0.0)
        misfits.append(misfit)
        progress.epoch_done(len(misfits) - 1, {"misfit": misfit})
        if config.refine_positions and len(misfits) >= config.positions_from:
            move()
    return misfits


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
