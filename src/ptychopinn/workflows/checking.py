"""The look at a scan that every verb takes first, and :func:`check_scan` that only looks."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ptychopinn.checks import CHECKS, Checked, centre, examine
from ptychopinn.checks.base import LATER, chosen_names
from ptychopinn.checks.position_unit import NAME as UNIT
from ptychopinn.checks.position_unit import sparse
from ptychopinn.checks.upright import right_geometry
from ptychopinn.data.fingerprint import GIVEN, identity_of
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.signs import faint_share
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, get_ops
from ptychopinn.workflows.results import require_scan

# What a good fit leaves beyond photon noise at most, as a share of that noise and of the counts,
# and the share of the structure that it explains, or of structure that is a very small part of the
# counts.
EXCESS_OF_NOISE, LEAST_EXCESS, EXPLAINED, EXPLAINED_OF_FAINT = 0.5, 0.002, 0.9, 0.8

log = logging.getLogger(__name__)


def check_scan(scan: Scan, *, no_mend: Collection[str] = ()) -> Checked:
    """Look at a scan before anything is computed.

    What is safe to mend is mended: pixels are masked, patterns left out, arrays rolled to the
    middle. Every finding has a stable name, a level ("mended", "doubt", "fault") and a message with
    numbers.

    Parameters
    ----------
    scan : as :func:`ptychopinn.load_scan` reads it.
    no_mend : names of checks to leave out, or "all".

    Returns
    -------
    The mended scan and the findings; ``.require()`` gives the scan or raises InputError for a
    fault.

    Raises
    ------
    InputError
        For a name that no check has.
    """
    require_scan(scan, no_mend, "check_scan(scan)")
    checked = examine(scan, no_mend)
    if checked.scan is scan:
        return checked
    # Results remember the scan as it is in its file.
    origin = {**checked.scan.provenance, GIVEN: identity_of(scan)}
    return replace(checked, scan=replace(checked.scan, provenance=origin))


def mended(scan: Scan, no_mend: Collection[str] = ()) -> Scan:
    """The mended scan; what was noticed is a WARNING.

    Raises
    ------
    InputError
        For a fault.
    """
    checked = check_scan(scan, no_mend=no_mend)
    for found in checked.findings:
        if found.level != "fault":
            log.warning("%s: %s", scan.name, found.message)
    return checked.require()


def suspicious(fit: Misfit) -> bool:
    """Whether a fit leaves so much more than photon noise that the geometry is worth a trial."""
    little = fit.explained < EXPLAINED or faint_share(fit) < EXPLAINED_OF_FAINT
    return leaves_much(fit.residual, fit.expected) or little


def leaves_much(residual: float, expected: float) -> bool:
    """Whether a residual exceeds that of photon noise by more than a good geometry leaves."""
    return residual - expected > max(EXCESS_OF_NOISE * expected, LEAST_EXCESS)


def in_right_geometry(
    scan: Scan,
    backend: BackendName,
    execution: Execution,
    no_mend: Any,
    fit: Misfit | None = None,
) -> Scan:
    """The scan turned, or its patterns moved by a frame, where that explains them far better.

    What was found is a WARNING and a finding in its provenance; the same scan when nothing was.
    Where a ``fit`` is not suspicious only the unit of positions that are far apart is looked at,
    of which it says nothing.
    """
    skip = chosen_names(no_mend) & set(LATER)
    if fit is not None and not suspicious(fit):
        skip |= {*LATER} - {UNIT} if sparse(scan) else {*LATER}
    if skip == set(LATER):
        return scan
    turned, findings = right_geometry(get_ops(backend, execution), scan, skip)
    if any(f.details.get("turned") == "patterns" or "gaps" in f.details for f in findings):
        # A beam beside the middle is elsewhere now.
        again = examine(
            centre.untilted(turned),
            [*chosen_names(no_mend), *(n for n in CHECKS if n != centre.NAME)],
        )
        turned, findings = again.scan, (*findings, *again.findings)
    for found in findings:
        log.warning("%s: %s", scan.name, found.message)
    if findings:
        turned = replace(turned, provenance={**turned.provenance, GIVEN: identity_of(scan)})
    return turned
