"""Short refinements of some neighbouring patterns, judged by a few that are left out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import LIMIT_BYTES, neighbours
from ptychopinn.contracts import Canvas, Solved
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.exposure import possible_directions
from ptychopinn.workflows.left_out import covered, misfits

# Patterns of a trial, and those of them that are left out.
WINDOW, LEFT_OUT = 144, 24
# Passes of the first run, and of a trial.
BEGUN, PASSES = 30, 12


@dataclass(frozen=True, eq=False)
class Fit:
    """A model that some patterns were refined with.

    effects : as they were found.  whole : those that are known for all patterns of the window.
    free : whether the probe is refined.  misfits : of the patterns that were left out (m,).
    """

    canvas: Canvas
    probe: NDArray[np.complex64]
    effects: tuple[Effect, ...]
    whole: tuple[Effect, ...]
    free: bool
    misfits: Values

    @property
    def score(self) -> float:
        return float(np.log(np.maximum(self.misfits, np.finfo(np.float64).tiny)).mean())


class Trials:
    """Some patterns around the middle of a scan, a few of which are left out.

    Attributes
    ----------
    window : all of them, prepared.  part : those that are used, in the same units.
    used, left : their numbers in the window.  ways : unit vectors (M, 2) of the window, by name of
    the direction.  known : effects of the window that are known before.
    """

    def __init__(
        self,
        xp: Ops,
        scan: Scan,
        config: PhysicsConfig,
        effects: Sequence[Effect],
        count: int = WINDOW,
        left_out: int = LEFT_OUT,
    ) -> None:
        self.xp, self.config = xp, config
        numbers = neighbours(scan, count)
        self.window = prepare(replace(scan.select(numbers), object=None))
        positions = self.window.scan.positions_px
        self.left = covered(positions, left_out, np.random.default_rng(0))
        self.used = np.setdiff1d(np.arange(len(positions)), self.left)
        part = replace(self.window.scan.select(self.used), object=None)
        self.part = replace(self.window, scan=part)
        directions = possible_directions(scan.positions_px)
        self.ways = {name: unit[numbers] for name, unit in directions.items()}
        power = self.window.input_scale**2
        self.known = tuple(effect.chosen(numbers).scaled(power) for effect in effects)

    def begun(self) -> Fit:
        """A first refinement of the patterns that are used, from an empty object; factors of the
        beam are followed where an option says so."""
        scan = self.part.scan
        own = tuple(effect.chosen(self.used) for effect in self.known)
        if self.config.beam_current and "beam_current" in self.config.model_fields_set:
            own = (*own, BeamCurrent.none(scan.positions_px, scan.N))
        return self.further(None, own, self.known, BEGUN, self.config.refine_probe)

    def further(
        self,
        before: Fit | None,
        effects: Sequence[Effect],
        whole: Sequence[Effect],
        passes: int,
        free: bool,
        probe: NDArray[np.complex64] | None = None,
        canvas: Canvas | None = None,
    ) -> Fit:
        """So many passes from what was found before, or from nothing."""
        config = PhysicsConfig(
            passes=passes,
            stagnation=0.0,
            refine_probe=free,
            total_variation=self.config.total_variation,
            subsets=self.config.subsets,
        )
        if probe is None:
            probe = self.part.probe if before is None else before.probe
        if canvas is None and before is not None:
            canvas = before.canvas
        solver = PhysicsSolver(self.xp, config, LIMIT_BYTES, effects=effects)
        solved = solver.solve(replace(self.part, probe=probe), canvas)
        left = self._misfits(solved, whole)
        kept = solved.probe if free else probe
        return Fit(solved.canvas, kept, solved.effects, tuple(whole), free, left)

    def _misfits(self, solved: Solved, whole: Sequence[Effect]) -> Values:
        """Of the patterns that were left out (m,)."""
        of_all = {effect.name: effect for effect in whole}
        here = [
            of_all[effect.name].chosen(self.left)
            if effect.name in of_all and effect.name != BeamCurrent.name
            else effect.elsewhere(self.used, self.left)
            for effect in solved.effects
        ]
        return misfits(self.xp, self.window, self.left, here, solved)

    def gone_on(
        self,
        current: Fit,
        *further: Effect,
        passes: int = PASSES,
        free: bool = False,
        probe: NDArray[np.complex64] | None = None,
        whole: Sequence[Effect] = (),
    ) -> Fit:
        """``current`` gone on with, with further effects."""
        effects = (*current.effects, *further)
        return self.further(
            current, effects, (*current.whole, *whole), passes, free or current.free, probe
        )
