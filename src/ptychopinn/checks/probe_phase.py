"""A probe whose phase was dropped when it was stored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptychopinn.checks.base import Look, Noticed, check, finding, likeness
from ptychopinn.data.findings import FLAT_PROBE, FROM_NOTHING, recorded_findings

# A phase that is the same everywhere, or the opposite, by this share of the amplitude; and a far
# field that is less like the mean pattern than this. That of whole probes is by 0.9 and more.
FLAT, ALIKE = 1e-4, 0.8


@check(FLAT_PROBE)
def flat_probe(look: Look) -> Iterator[Noticed]:
    """A probe with one phase all over, whose far field the patterns contradict."""
    scan = look.scan
    if not scan.propagator.measures_momentum:
        return
    first = scan.probe[0]
    brightest = first.ravel()[int(np.abs(first).argmax())]
    if not abs(brightest) > 0:
        return
    # All modes of a probe would have been stored alike.
    if np.abs((first * np.conj(brightest)).imag).max() > FLAT * abs(brightest) ** 2:
        return
    if any(found.name == FROM_NOTHING for found in recorded_findings(scan.provenance)):
        return
    mean, beam = (np.sqrt(np.where(look.good, part, 0)) for part in (look.mean, look.vacuum))
    alike = likeness(mean, beam)
    if not alike < ALIKE:
        return
    yield (
        finding(
            FLAT_PROBE, "doubt",
            f"the probe has the same phase everywhere, and its far field is like the mean pattern "
            f"by {alike:.0%} only: its phase was dropped, as where abs() of it was stored; "
            "give the complex probe, or none with the option probe auto.",
            likeness=alike,
        ),
        None,
    )  # fmt: skip
