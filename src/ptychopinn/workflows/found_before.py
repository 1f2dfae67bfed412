"""What findings of earlier looks say, as alternatives of a verdict."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields

from ptychopinn.checks.base import AXES
from ptychopinn.checks.slips import NAME as SLIP
from ptychopinn.data.findings import Finding
from ptychopinn.errors import brief
from ptychopinn.evaluation.verdict import AXES_GIVEN, IN_STEP, SLIPPED
from ptychopinn.physics.axes import ScanAxes
from ptychopinn.workflows.scan_axes import in_words


def stated_share(findings: Collection[Finding], name: str, what: str = "share") -> float | None:
    """The share that a finding of the look at the scan states; None without it."""
    shares = (one.details.get(what) for one in findings if one.name == name)
    return next((share for share in shares if isinstance(share, float)), None)


def other_axes(findings: Collection[Finding]) -> list[tuple[str, float]]:
    """Other scan axes that were found, as alternatives."""
    for found in findings:
        if found.name == AXES and found.level == "doubt":
            names = [field.name for field in fields(ScanAxes)] + ["residual_as_given", "residual"]
            # Those of a file may be anything.
            known = (found.details.get(name) for name in names)
            numbers = [number for number in known if isinstance(number, float)]
            if len(numbers) == len(names):
                *axes, given, residual = numbers
                return [(AXES_GIVEN, given), (in_words(ScanAxes(*axes)), residual)]
    return []


def slipped_frames(
    findings: Collection[Finding], levels: Collection[str]
) -> list[tuple[str, float]]:
    """A frame that was lost or came twice, as alternatives, where the finding has such a level."""
    for found in findings:
        words, *known = (found.details.get(k) for k in ("words", "residual_as_given", "residual"))
        numbers = [number for number in known if isinstance(number, float)]
        slipped = isinstance(words, str) and words.startswith(SLIPPED)
        if found.level in levels and slipped and len(numbers) == 2:
            return [(IN_STEP, numbers[0]), (brief(words), numbers[1])]
    return []


def other_geometry(findings: Collection[Finding]) -> list[tuple[str, float]]:
    """Another orientation, or a shift by a frame, that a trial believes in, as alternatives."""
    return [
        (str(found.details["words"]), float(found.details["residual"]))
        for found in findings
        if found.level == "mended" and found.name != SLIP
    ]
