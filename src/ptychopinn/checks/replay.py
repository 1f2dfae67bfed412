"""What an earlier look has mended, mended again: for another verb with the same scan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ptychopinn.checks.base import CHECKS, LATER, examine
from ptychopinn.checks.geometry_mends import mend_of
from ptychopinn.data.findings import Finding, recorded_findings, with_findings
from ptychopinn.data.scan import Scan


def mended_like(scan: Scan, findings: Collection[Finding]) -> Scan:
    """The scan with what these findings of an earlier look at it have mended, and no more. What
    that look doubts in its patterns is still true, and kept.

    What the scan says has been mended in it already is not done twice: patterns would be turned
    back, positions scaled again, and others left out.
    """
    left = list(findings)
    for done in recorded_findings(scan.provenance):
        alike = (k for k, f in enumerate(left) if (f.name, f.message) == (done.name, done.message))
        if (k := next(alike, None)) is not None:
            del left[k]
    names = {found.name for found in left if found.level == "mended"}
    if names & set(CHECKS):
        scan = examine(scan, [name for name in CHECKS if name not in names]).scan
    doubts = [f for f in left if f.level == "doubt" and f.name in set(CHECKS) - names]
    if doubts:
        scan = replace(scan, provenance=with_findings(scan.provenance, doubts))
    for found in left:
        if found.name in LATER:
            scan = mend_of(found, scan).of(scan)
            # Those after it go by the numbers of the patterns that are left.
            scan = replace(scan, provenance=with_findings(scan.provenance, [found]))
    return scan
