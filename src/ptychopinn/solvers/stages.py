"""How the passes of the physics iterations follow each other: steps, updates of a pass, the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ptychopinn.solvers.configs import PhysicsConfig


@dataclass(frozen=True)
class Stage:
    """How the updates of a pass are made.

    merged : how many ordered subsets make one update
    step, momentum, phase_gain : of the update, see :mod:`ptychopinn.solvers.descent`
    """

    merged: int
    step: float
    momentum: float
    phase_gain: float

    def shared(self, count: int, ease: float, momentum: float) -> Stage:
        """For ``count`` slices that move at once: each goes its part of the way, with the step
        divided by ``ease`` as well, and what is left of the momentum's friction by ``momentum``."""
        kept = 1 - (1 - self.momentum) / max(1.0, momentum)
        return Stage(self.merged, self.step / (count * ease), kept, self.phase_gain / count)


# Small subsets find the object in a few passes, but each pulls it to its own noise; all patterns
# together settle it, with a momentum that makes up for the smaller number of updates.
EVERY = 1 << 30
STAGES = (Stage(1, 0.7, 0.7, 0.4), Stage(2, 0.7, 0.8, 0.4), Stage(EVERY, 1.0, 0.9, 0.2))
# A pass that lowers the misfit by less than this share ends a stage other than the last.
LITTLE = 0.01
# What parts the slices of a thick sample is found slowly: in the last stage their momentum makes up
# for so many times their share of a step.
PATIENT = 2
# The last stage is judged over so many passes, because its momentum lets the misfit ring.
SETTLING = 6
# How far the misfit of a pass rises above its least value where iterations go astray, and what
# their steps are divided by then.
RISING, CALMER = 1.5, 1.5
# A model that is dark everywhere has this misfit. Where it rises beyond, object and probe drive
# each other away: with few patterns to an update each update moves the probe as far as all of them
# should, and a probe that is given too wide lets the patterns seem to overlap more than they do.
AWAY = 1.0


class Schedule:
    """Goes on to the next stage when a pass improves little, and ends when the last stage
    improves nothing or the number of passes is reached."""

    def __init__(self, config: PhysicsConfig, slices: int = 1) -> None:
        self.config = config
        self.settling = SETTLING if slices == 1 else SETTLING * PATIENT * slices
        self.number, self.entered, self.least = 0, 0, 1

    def next_stage(self, misfits: Sequence[float], at_rest: bool = True) -> Stage | None:
        """Stage of the next pass, given the misfit of every pass so far and whether the positions
        are at rest, which the end waits for; None at the end."""
        done = len(misfits)
        if done >= self.config.passes:
            return None
        last = self.number == len(STAGES) - 1
        window, least = (self.settling, self.config.stagnation) if last else (1, LITTLE)
        if done - self.entered > window:
            earlier = misfits[-1 - window]
            # Of patterns without any structure nothing is left.
            gain = 1 - misfits[-1] / earlier if earlier > 0 else 0.0
            if gain < window * least:
                if last and at_rest:
                    return None
                if not last:
                    self.number, self.entered = self.number + 1, done
        stage = STAGES[self.number]
        return replace(stage, merged=max(stage.merged, self.least))

    def begin_again(self, done: int) -> None:
        """Take the first stage again, after so many passes, with updates from all patterns at
        once."""
        self.number, self.entered, self.least = 0, done, EVERY


def ran_away(misfits: Sequence[float]) -> bool:
    """Whether the last of these passes left the object worse than none, after a better one."""
    *before, last = misfits
    if not math.isfinite(last):
        return True
    return bool(before) and last > max(AWAY, RISING * min(before))
