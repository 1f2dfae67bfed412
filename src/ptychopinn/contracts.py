"""What the parts of the program agree on: progress, what a solver hands back, what a solver is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ptychopinn.data.normalization import PreparedScan
    from ptychopinn.physics.effects import Effect


class Progress(Protocol):
    """Is called as training or iterations advance; the command line draws it."""

    def epoch(self, number: int, steps: int) -> None:
        """Training epoch, or pass of a solver, ``number`` (from 0) begins and has this many
        steps."""

    def step(self, loss: float, patterns_per_s: float) -> None:
        """One step is done."""

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        """The epoch is over, validation included."""


class Silent:
    """A progress that is not shown."""

    def epoch(self, number: int, steps: int) -> None: ...

    def step(self, loss: float, patterns_per_s: float) -> None: ...

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None: ...


SILENT: Progress = Silent()


@dataclass(frozen=True, eq=False)
class Canvas:
    """An object as a solver leaves it, in network units.

    object : (H, W) complex64, or (K, H, W) of the slices of a thick sample.
    weight : (H, W) float32, 0 = never seen.
    origin_px : (y, x) scan position of canvas pixel [0, 0].
    losses : relative amplitude misfit per pass, empty for patch networks.
    corrections : share of each learned correction that was taken: 1, less when it was damped
        because it raised the misfit, 0 when it was rejected; empty for other solvers.
    """

    object: NDArray[np.complex64]
    weight: NDArray[np.float32]
    origin_px: NDArray[np.int64]
    losses: NDArray[np.float64]
    corrections: tuple[float, ...] = ()

    def on(self, shape: tuple[int, int], origin_px: NDArray[np.int64]) -> NDArray[np.complex64]:
        """The object on another canvas; 1 outside of this one."""
        canvas = np.ones((*self.object.shape[:-2], *shape), dtype=np.complex64)
        low = np.maximum(self.origin_px, origin_px)
        high = np.minimum(self.origin_px + self.object.shape[-2:], origin_px + np.array(shape))
        if (low < high).all():
            (y, x), (v, u) = low - origin_px, low - self.origin_px
            height, width = high - low
            part = self.object[..., v : v + height, u : u + width]
            canvas[..., y : y + height, x : x + width] = part
        return canvas


@dataclass(frozen=True, eq=False)
class Solved:
    """What a solver hands back, in network units.

    canvas : the object.  probe : (P, N, N) complex64.  positions_px : (M, 2) float64.
    passes : how many were made.  effects : what was found of beam and detector.
    position_covariance : (M, 2, 2) of positions that were refined one by one, px^2; else None.
    """

    canvas: Canvas
    probe: NDArray[np.complex64]
    positions_px: NDArray[np.float64]
    passes: int
    effects: tuple[Effect, ...] = ()
    position_covariance: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Looked:
    """Some patterns as they are measured and as they are modelled.

    measured, modelled : (K, N, N) float32 photons, 0 where a pixel is bad.
    misfit : (K,) relative amplitude misfit of each; NaN of one without counts.
    """

    measured: NDArray[np.float32]
    modelled: NDArray[np.float32]
    misfit: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Glance:
    """What is known in the middle of the work, as cheap as can be, to be shown.

    object : (H, W) complex64, or (K, H, W) of slices.  seen : (H, W) bool.
    probe : (P, N, N) complex64.
    patterns : how many there are.
    look : models the patterns of these numbers (K,) anew.
    """

    object: NDArray[np.complex64]
    seen: NDArray[np.bool_]
    probe: NDArray[np.complex64]
    patterns: int
    look: Callable[[NDArray[np.int64]], Looked]

    @classmethod
    def of(cls, canvas: Canvas, probe: NDArray[np.complex64]) -> Glance:
        """A canvas and a probe, of which no patterns are known."""

        def none(numbers: NDArray[np.int64]) -> Looked:
            raise IndexError(numbers)

        return cls(canvas.object, canvas.weight > 0, probe, 0, none)


@dataclass(frozen=True, eq=False)
class Step:
    """A pass over the patterns that is done.

    number : of the pass, from 1.  misfit : relative amplitude misfit during it, NaN if the solver
    knows none.  result : makes what was found so far; the next pass makes it out of date.
    glance : the same in a hundredth of a pass, without what it takes to keep it; None where a
    solver has none.
    """

    number: int
    misfit: float
    result: Callable[[], Solved]
    glance: Callable[[], Glance] | None = None

    def look(self) -> Glance:
        """What there is to show; of a solver without a glance no patterns."""
        if self.glance is not None:
            return self.glance()
        found = self.result()
        return Glance.of(found.canvas, found.probe)


@runtime_checkable
class Follows(Protocol):
    """A progress that also takes what was found so far, after each pass of a solver."""

    def found(self, step: Step) -> None:
        """A pass is done; ``step.result()`` is the object as it is now."""


@runtime_checkable
class Glimpses(Protocol):
    """A progress that also looks in the middle of a pass."""

    def meanwhile(self, number: int, share: float, glance: Callable[[], Glance]) -> None:
        """A ``share`` of the patterns of pass ``number`` (from 1) is done; ``glance()`` is what
        there is at this moment."""


class Solver(ABC):
    """Finds the object of a scan, pass by pass.

    ``for step in solver.run(scan): ...`` watches it; leaving the loop stops it, and
    ``step.result()`` is what was found until then.
    """

    @abstractmethod
    def run(
        self, scan: PreparedScan, start: Canvas | None = None, progress: Progress = SILENT
    ) -> Iterator[Step]:
        """Passes over the patterns of ``scan`` from the object ``start``, or from an empty one.

        Raises
        ------
        InputError
            When scan and solver do not fit together, or the memory does not suffice.
        """

    def solve(
        self, scan: PreparedScan, start: Canvas | None = None, progress: Progress = SILENT
    ) -> Solved:
        """All passes, and what they found."""
        last = None
        for step in self.run(scan, start, progress):
            last = step
        assert last is not None  # every solver makes at least one pass
        return last.result()
