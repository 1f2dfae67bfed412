"""What a backend is: two functions. Everything around them is framework-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.preparation import PreparedScan


class Progress(Protocol):
    """Hears how the work advances; the command line draws it, a library call may ignore it."""

    def epoch(self, number: int, steps: int) -> None:
        """Training epoch ``number`` (from 0) begins and has this many steps."""

    def step(self, loss: float, patterns_per_s: float) -> None:
        """One step is done."""

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        """The epoch is over, validation included."""


class Silent:
    """A progress that is not shown."""

    def epoch(self, number: int, steps: int) -> None: ...

    def step(self, loss: float, patterns_per_s: float) -> None: ...

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None: ...


@dataclass(frozen=True, eq=False)
class TrainingOutcome:
    """What training hands back.

    weights : parameters by the names of the network description, float32.
    probe : (P, N, N) complex64 of the first scan, sqrt(counts).
    history : metric -> (epoch, value) pairs, epochs counted from 1; ``val_loss`` chose the weights.
    stopped_by : number of the signal that ended the run early, or None.
    """

    weights: Mapping[str, NDArray[np.float32]]
    probe: NDArray[np.complex64]
    history: Mapping[str, Sequence[tuple[int, float]]]
    stopped_by: int | None


@dataclass(frozen=True, eq=False)
class CanvasResult:
    """What inference hands back, in network units.

    object : (H, W) complex64.  weight : (H, W) float32, 0 = never seen.
    origin_px : (y, x) scan position of canvas pixel [0, 0].
    losses : relative amplitude misfit per physics step, empty for patch networks.
    """

    object: NDArray[np.complex64]
    weight: NDArray[np.float32]
    origin_px: NDArray[np.int64]
    losses: NDArray[np.float64]


class Backend(Protocol):
    """The two verbs of a backend; a module with these functions is one."""

    def train(
        self,
        scans: Sequence[PreparedScan],
        config: Config,
        execution: Any,
        directory: Path,
        *,
        resume: bool,
        progress: Progress,
    ) -> TrainingOutcome:
        """Train a network on the scans."""

    def reconstruct(
        self,
        config: Config,
        weights: Mapping[str, NDArray[np.float32]],
        scan: PreparedScan,
        execution: Any,
    ) -> CanvasResult:
        """Apply a trained network to every pattern of a scan."""
