"""Did the intensity of the beam change where an object, or other scan axes, make up for it?

Half a scan with a brighter beam looks like an object that is more transparent there, but for the
patterns at the border, which the object, the positions or the axes then spoil to fit. From nothing,
with a factor for each pattern, some neighbouring patterns show it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from ptychopinn.checks.base import finding
from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.findings import Finding, with_findings
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.verdict import STEADY, UNSTEADY
from ptychopinn.ops.base import Ops
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import Effect
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units

log = logging.getLogger(__name__)

PASSES = 16
# Factors are believed when they leave this share of the residual beyond photon noise, or less, and
# take away this share of that noise.
BELIEVED, OF_NOISE = 0.6, 0.1


def unsteady_beam(xp: Ops, scan: Scan, effects: Sequence[Effect]) -> tuple[float, float] | None:
    """Residuals of some neighbouring patterns as they are, and with a factor for each pattern,
    where the second is clearly smaller; None elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result.
    effects : what the result knows of beam and detector; its factors stay as they are.
    """
    if scan.M < FEWEST:
        return None
    numbers = neighbours(scan)
    chosen = replace(scan.select(numbers), object=None)
    part = prepare(chosen)
    here = in_network_units([effect.chosen(numbers) for effect in effects], part)
    known = here.pop(BeamCurrent.name, None)

    def left(*beam: Effect) -> tuple[float, bool]:
        config = PhysicsConfig(passes=PASSES, stagnation=0.0)
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=(*here.values(), *beam))
        solved = solver.solve(part)
        changed = any(e.name == BeamCurrent.name and e.changes for e in solved.effects)
        return float(solved.canvas.losses[-1]), changed

    fitted, changed = left(BeamCurrent.none(chosen.positions_px, scan.N))
    if not changed:
        return None
    as_given, _ = left(*(() if known is None else (_kept(known),)))
    noise = part.expected_misfit
    clearly = fitted - noise <= BELIEVED * (as_given - noise)
    return (as_given, fitted) if clearly and fitted < as_given - OF_NOISE * noise else None


def with_doubted_beam(result: Reconstruction, as_given: float, fitted: float) -> Reconstruction:
    """The result with the finding that the beam changed, which is a WARNING as well."""
    doubt = finding(
        BeamCurrent.name,
        "doubt",
        f"the intensity of the beam changed: with a factor for each pattern some patterns around "
        f"the middle leave a residual of {fitted:.4g}, without {as_given:.4g}; refine the result, "
        "which fits such factors.",
        residual=fitted,
        residual_as_given=as_given,
    )
    log.warning("%s: %s", result.name, doubt.message)
    return replace(result, provenance=with_findings(result.provenance, [doubt]))


def doubted_beam(findings: Collection[Finding]) -> list[tuple[str, float]]:
    """A beam that was found to have changed, as alternatives."""
    for found in findings:
        known = (found.details.get(name) for name in ("residual_as_given", "residual"))
        # Those of a file may be anything.
        numbers = [number for number in known if isinstance(number, float)]
        if found.name == BeamCurrent.name and found.level == "doubt" and len(numbers) == 2:
            return [(STEADY, numbers[0]), (UNSTEADY, numbers[1])]
    return []


def _kept(known: Effect) -> Effect:
    """Factors that are not followed any more."""
    return BeamCurrent(np.array(known.values), settled=True)
