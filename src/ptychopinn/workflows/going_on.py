"""A refinement that goes on by itself: what its verdict would tell to type is but more passes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from ptychopinn.checks.base import ALTERNATIVES, chosen_names
from ptychopinn.config import RefineConfig
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.machine.interruption import Interrupted, StopFlag
from ptychopinn.ops.base import Ops
from ptychopinn.physics.background import Background
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.workflows.before_axes import within_noise
from ptychopinn.workflows.unfinished import still_changes

log = logging.getLogger(__name__)

# Passes of each time that it goes on, as multiples of those that were made first.
ROUNDS = (1, 2)
# A background that the verdict names is kept when it leaves this share of the excess or less, or
# nothing but noise: one that is fitted to another fault leaves the rest of it.
LEFT = 0.1

Further = Callable[[Reconstruction | None, PhysicsConfig], Reconstruction]


def until_finished(
    xp: Ops,
    scan: Scan,
    result: Reconstruction,
    config: RefineConfig,
    further: Further,
    stop: StopFlag,
    no_mend: Collection[str] = (),
) -> Reconstruction:
    """The result after more passes, where its object would still change; before the verdict, whose
    trials take longer than they do.

    Parameters
    ----------
    xp : the operations of a framework.
    scan : the patterns that the result was made from, as they were mended.
    config : with which it was made.
    further : goes on from a result with these options.
    no_mend : names of checks that are left out, or "all".
    """
    if not isinstance(config, PhysicsConfig) or ALTERNATIVES in chosen_names(no_mend):
        return result
    for times in ROUNDS:
        used = replace(scan, probe=result.probe, positions_px=result.positions_px, object=None)
        if stop.signal is not None or still_changes(xp, used, result) is None:
            break
        options = config.model_copy(update={"passes": times * config.passes})
        log.info("the object would still change: %d passes more, at most", options.passes)
        found = _better(result, options, further, stop)
        if found is None:
            break
        result = found
    return result


def lit_by_itself(
    result: Reconstruction,
    config: RefineConfig,
    further: Further,
    stop: StopFlag,
    no_mend: Collection[str] = (),
) -> Reconstruction:
    """The result after more passes with a background, where its verdict says that there is one
    which was not fitted; as it is where hardly less is left.

    Parameters
    ----------
    config : with which it was made.
    further : goes on from a result with these options, and judges what that gives.
    no_mend : names of checks and effects that are left out, or "all".
    """
    fit, left_out = result.fit, chosen_names(no_mend)
    assert fit is not None  # every verb states it
    if not isinstance(config, PhysicsConfig) or {ALTERNATIVES, Background.name} & left_out:
        return result
    is_open = config.background is None and Background.name not in result.effects
    if stop.signal is not None or fit.likely != Background.name or not is_open:
        return result
    options = config.model_copy(update={"background": True, "passes": config.passes})
    log.info("the patterns have a background: %d passes more with it, at most", options.passes)
    found = _better(result, options, further, stop)
    if found is None or found.fit is None:
        return result
    kept = within_noise(found.fit) or found.fit.excess <= LEFT * fit.excess
    return found if kept else result


def _better(
    result: Reconstruction, options: PhysicsConfig, further: Further, stop: StopFlag
) -> Reconstruction | None:
    """What these passes give, with the seconds of both; None where it is no better, or they were
    stopped before the first one was over."""
    found = unless_stopped(further, result, options, stop)
    if found is None:
        return None
    assert result.fit is not None and found.fit is not None  # every verb states it
    if not found.fit.residual < result.fit.residual:
        return None
    return replace(found, seconds=together([result, found]))


def unless_stopped(
    further: Further, start: Reconstruction | None, options: PhysicsConfig, stop: StopFlag
) -> Reconstruction | None:
    """What these passes give, from ``start`` or from nothing; None where they were stopped before
    the first one was over."""
    try:
        return further(start, options)
    except Interrupted:
        if stop.signal is None:
            raise
        return None


def together(results: Sequence[Reconstruction]) -> dict[str, float]:
    """Seconds of the stages of all these results."""
    names = dict.fromkeys(name for result in results for name in result.seconds)
    return {name: sum(result.seconds.get(name, 0.0) for result in results) for name in names}


def passes_of(result: Reconstruction, start: Reconstruction | None) -> int:
    """Passes that a result has had since ``start``."""
    before = 0 if start is None else len(start.provenance.get("stages", ()))
    return sum(int(stage["passes"]) for stage in result.provenance["stages"][before:])
