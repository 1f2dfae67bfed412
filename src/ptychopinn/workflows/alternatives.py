"""Would something else explain the patterns better? Tried on a few, where a fit leaves much.

From an empty object, some neighbouring patterns are refined with the probe and the positions of the
result, then with the probe free, then with the positions free. What lowers the residual is the
likely cause.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ptychopinn.checks.base import ALTERNATIVES, chosen_names
from ptychopinn.checks.upright import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import Misfit, effects_of
from ptychopinn.evaluation.verdict import AS_IT_IS, POSITIONS_FREE, PROBE_FREE, TRIED_BELOW
from ptychopinn.ops.base import Ops
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, get_ops
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units

PASSES = 16
# Causes that the residual shows by its shape; no trial is needed for them.
SHOWN = ("pixels", "patterns", "beam-current", "background")


def judged(
    result: Reconstruction,
    scan: Scan,
    backend: BackendName,
    execution: Execution,
    no_mend: Collection[str] = (),
) -> Reconstruction:
    """The result with a verdict that knows what else was tried, where its fit leaves much.

    ``scan`` holds the patterns that the result was made from, as they were mended.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    if ALTERNATIVES in chosen_names(no_mend) or not worth_a_trial(fit):
        return result
    found = tried(get_ops(backend, execution), scan, result)
    fit = fit.judged([*fit.alternatives, *found])
    return replace(result, fit=fit, provenance={**result.provenance, "fit": fit.summary()})


def worth_a_trial(fit: Misfit) -> bool:
    """Whether a fit leaves so much, and is so silent about the cause, that others are tried."""
    if fit.likely in SHOWN:
        return False
    return fit.verdict != "good" or fit.explained < TRIED_BELOW


def tried(xp: Ops, scan: Scan, result: Reconstruction) -> tuple[tuple[str, float], ...]:
    """(words, residual) on some patterns around the middle: as it is, probe free, positions free.

    Parameters
    ----------
    xp : the operations of a framework.
    scan : the patterns, one for each position of the result.
    """
    if scan.M < FEWEST or len(result.positions_px) != scan.M:
        return ()
    whole = replace(scan, probe=result.probe, positions_px=result.positions_px, object=None)
    chosen = neighbours(whole)
    part = prepare(whole.select(chosen))
    here = [effect.chosen(chosen) for effect in effects_of(result)]
    effects = tuple(in_network_units(here, part).values())
    found = []
    for words, free in (
        (AS_IT_IS, {}),
        (PROBE_FREE, {"refine_probe": True}),
        (POSITIONS_FREE, {"refine_positions": True}),
    ):
        options: dict[str, Any] = {"passes": PASSES, "stagnation": 0.0, **free}
        solver = PhysicsSolver(xp, PhysicsConfig(**options), LIMIT_BYTES, effects=effects)
        solved = solver.solve(part)
        found.append((words, float(solved.canvas.losses[-1])))
    return tuple(found)
