"""What a backend is: three functions. Everything around them is framework-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config, RefineConfig
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.networks.weights import Weights


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
    losses : relative amplitude misfit per pass, empty for patch networks.
    corrections : share of each learned correction that was taken: 1, less when it was damped
        because it raised the misfit, 0 when it was rejected; empty for patch networks.
    """

    object: NDArray[np.complex64]
    weight: NDArray[np.float32]
    origin_px: NDArray[np.int64]
    losses: NDArray[np.float64]
    corrections: tuple[float, ...] = ()

    def on(self, shape: tuple[int, int], origin_px: NDArray[np.int64]) -> NDArray[np.complex64]:
        """The object on a canvas of another place: 1 where this one does not reach."""
        canvas = np.ones(shape, dtype=np.complex64)
        low = np.maximum(self.origin_px, origin_px)
        high = np.minimum(self.origin_px + self.object.shape, origin_px + np.array(shape))
        if (low < high).all():
            (y, x), (v, u) = low - origin_px, low - self.origin_px
            height, width = high - low
            canvas[y : y + height, x : x + width] = self.object[v : v + height, u : u + width]
        return canvas


@dataclass(frozen=True, eq=False)
class Refined:
    """What plain physics iterations hand back.

    canvas : the object.  probe : (P, N, N) complex64, network units.  positions_px : (M, 2)
    float64.  passes : how many were made.
    """

    canvas: CanvasResult
    probe: NDArray[np.complex64]
    positions_px: NDArray[np.float64]
    passes: int


class Backend(Protocol):
    """The verbs of a backend; a module with these functions is one."""

    def train(
        self,
        scans: Sequence[PreparedScan],
        config: Config,
        execution: Any,
        directory: Path,
        *,
        resume: bool,
        start: Weights | None = None,
        progress: Progress,
    ) -> TrainingOutcome:
        """Train a network on the scans, from the weights ``start`` or from new ones."""

    def reconstruct(
        self,
        config: Config,
        weights: Mapping[str, NDArray[np.float32]],
        scan: PreparedScan,
        execution: Any,
    ) -> CanvasResult:
        """Apply a trained network to every pattern of a scan."""

    def refine(
        self,
        scan: PreparedScan,
        config: RefineConfig,
        execution: Any,
        start: CanvasResult | None,
        progress: Progress,
    ) -> Refined:
        """Plain physics iterations from ``start``, or from an empty object."""
