"""Plain physics iterations, what needs no framework: their steps, their end, and what they cannot
know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import RefineConfig


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
