"""Does anything tell the object from its complex conjugate? See :mod:`ptychopinn.physics.twin`."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import TWIN, finding
from ptychopinn.data.findings import FROM_NOTHING, Finding, recorded_findings, with_findings
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.physics.twin import (
    likeness,
    of_reversed_positions,
    of_turned_patterns,
    strongest,
)
from ptychopinn.probes.recipes import AUTO

log = logging.getLogger(__name__)

# The share of its power by which a probe must be more like the known one than like its conjugate.
TELLS = 0.05
# What is like the refined probe, in words of what must have been turned by 180 degrees.
PATTERNS, POSITIONS, BOTH = "the patterns", "the positions", "the patterns or the positions"


def with_twin(result: Reconstruction, scan: Scan) -> Reconstruction:
    """The result with a finding where nothing tells its object from the complex conjugate (level
    "note"), or where the probe that was given speaks for the conjugate (level "doubt", a WARNING).

    Parameters
    ----------
    scan : the patterns with the probe that was given, before it was refined.
    """
    if not scan.propagator.measures_momentum or result.slices is not None:
        return result
    if any(found.name == TWIN for found in result.findings):
        return result
    found = _found(result.probe, scan)
    if found is None:
        return result
    if found.level == "doubt":
        log.warning("%s: %s", scan.name, found.message)
    else:
        log.info("%s: %s", scan.name, found.message)
    return replace(result, provenance=with_findings(result.provenance, [found]))


def _found(refined: NDArray[np.complex64], scan: Scan) -> Finding | None:
    """What the known probe of a scan says of the twin; None where it speaks for the result."""
    if any(
        found.name == FROM_NOTHING and found.details.get("spec") == AUTO
        for found in recorded_findings(scan.provenance)
    ):
        return _untold("the probe was found from the same patterns", {})
    given, probe = strongest(scan.probe), strongest(refined)
    alike = {
        "as_given": likeness(probe, given),
        "patterns_turned": likeness(probe, of_turned_patterns(given)),
        "positions_turned": likeness(probe, of_reversed_positions(given)),
    }
    patterns, positions = alike["patterns_turned"], alike["positions_turned"]
    told = alike["as_given"] - max(patterns, positions)
    if told > TELLS:
        return None
    if told >= -TELLS:
        return _untold("the probe that is known hardly differs from its conjugate", alike)
    what = BOTH if abs(patterns - positions) <= TELLS else PATTERNS
    what = POSITIONS if positions > patterns + TELLS else what
    remedy = {
        PATTERNS: "turn them (prepare with flip_y and flip_x)",
        POSITIONS: "reverse both axes of the positions",
        BOTH: "turn one of them (the patterns: prepare with flip_y and flip_x)",
    }[what]
    return finding(
        TWIN,
        "doubt",
        f"the phases of the object have the wrong sign: the refined probe has "
        f"{max(patterns, positions):.0%} of its power in common with the complex conjugate of the "
        f"given one and {alike['as_given']:.0%} with that itself, as where {what} "
        f"were turned by 180 degrees; {remedy}, or check the sign of the phases of the probe.",
        told=True,
        **alike,
    )


def _untold(why: str, alike: dict[str, float]) -> Finding:
    return finding(
        TWIN,
        "note",
        "nothing tells the object from its complex conjugate, whose phases have the opposite sign: "
        f"{why}, and patterns or positions that were turned by 180 degrees would fit as well; a "
        "known probe, or a part of the sample whose phase is known, tells.",
        told=False,
        **alike,
    )
