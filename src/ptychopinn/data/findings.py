"""What was noticed about a scan: what was mended, what is doubtful, what makes it useless."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import brief

# A mended fault is taken out of the data; a doubt is left in, and the result may suffer; a fault
# cannot be mended safely, and nothing is computed. A note says what patterns cannot tell, of scans
# without any fault as well.
Level = Literal["note", "mended", "doubt", "fault"]
# Named by the check and by the verdict.
CLIPPED, AFTERGLOW, FLAT_PROBE = "clipped-counts", "afterglow", "flat-probe"
# Of a probe that nobody gave.
FROM_NOTHING = "probe-from-nothing"
LEVELS: tuple[Level, ...] = ("note", "mended", "doubt", "fault")


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes
    ----------
    name : stable, as in ``hot-pixels``; ``no_mend`` takes it.
    level : "note", "mended", "doubt" or "fault".
    message : one sentence with the numbers and, unless it was mended, the remedy.
    details : the numbers as plain JSON data.
    """

    name: str
    level: Level
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON data, for records and the provenance of a result."""
        return {
            "name": self.name,
            "level": self.level,
            "message": self.message,
            "details": dict(self.details),
        }


def refused(found: Finding) -> str:
    """The sentence of an error for a fault, with the way to go on all the same."""
    return (
        f"{found.message.rstrip('.')}; if that is meant, leave this check out with the option "
        f"no_mend {found.name}."
    )


def recorded_findings(provenance: Mapping[str, Any]) -> tuple[Finding, ...]:
    """The findings in the provenance of a scan or a result; what is no finding is left out."""
    found = []
    scan = provenance.get("scan")
    for source in (provenance, scan if isinstance(scan, Mapping) else {}):
        stored = source.get("findings")
        for item in stored if isinstance(stored, list) else []:
            if isinstance(item, Mapping) and item.get("level") in LEVELS:
                details = item.get("details")
                found.append(
                    Finding(
                        brief(item.get("name", ""), 80),
                        item["level"],
                        brief(item.get("message", ""), 2000),
                        dict(details) if isinstance(details, Mapping) else {},
                    )
                )
    return tuple(found)


def left_out(findings: Collection[Finding]) -> NDArray[np.int64]:
    """The numbers of the patterns that were left out, ascending, as the scan was given."""
    numbers: set[int] = set()
    for found in findings:
        patterns = found.details.get("patterns")
        if found.level == "mended" and isinstance(patterns, list):
            numbers |= {int(k) for k in patterns if isinstance(k, int)}
    return np.array(sorted(numbers), dtype=np.int64)


def with_findings(
    provenance: Mapping[str, Any], findings: tuple[Finding, ...] | list[Finding]
) -> dict[str, Any]:
    """The provenance of a scan with these findings added to those it has."""
    if not findings:
        return dict(provenance)
    earlier = provenance.get("findings")
    known = list(earlier) if isinstance(earlier, list) else []
    return {**provenance, "findings": known + [finding.as_json() for finding in findings]}
