"""Causes that other scan axes make up for, so that they are asked for before the axes are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.causes import listed
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.verdict import (
    AS_READ,
    AT_HOME,
    CHANGING,
    ELSEWHERE,
    IN_ONE,
    ONE_PROBE,
    PUT_BACK,
    RESTORED,
    SEEN_EXCESS_OF_NOISE,
    TRIED_BELOW,
)
from ptychopinn.ops.base import Ops
from ptychopinn.workflows.changing_probe import changing_probe
from ptychopinn.workflows.dead_time import dead_time
from ptychopinn.workflows.displaced_part import displaced_behind, displaced_part
from ptychopinn.workflows.hidden_shifts import jumped_shifts
from ptychopinn.workflows.misplaced import misplaced
from ptychopinn.workflows.results import was_refined
from ptychopinn.workflows.unfinished import PROBE
from ptychopinn.workflows.wide_probe import wider_beam

# Causes that the residual shows by its shape, so that no trial is needed for them.
SHOWN = ("alone", "pixels", "detector-gain", "patterns", "beam-current", "background")


def before_axes(
    xp: Ops, scan: Scan, result: Reconstruction, probe: NDArray[np.complex64] | None = None
) -> list[tuple[str, float]]:
    """Such a cause, as alternatives: a probe of other pixels, a part of the detector that is
    displaced, its dead time, a probe that changes, or patterns that belong elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of the result.
    probe : what its probe, where that was refined, began as.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    if fit.verdict != "good" and (wide := wider_beam(result)):
        return wide
    free = was_refined(result, PROBE)
    askew = None
    # Noise may be all that a probe leaves which makes up for a part that is displaced.
    if free and probe is not None and result.slices is None:
        askew = displaced_behind(xp, replace(scan, probe=probe), result)
    if askew is None and within_noise(fit):
        return []
    if result.slices is None:
        if askew is None:
            askew = displaced_part(xp, scan, result, free)
        if askew is not None:
            return [(IN_ONE, askew.given), (PUT_BACK + askew.words, askew.back)]
        lost = dead_time(xp, scan, result, free)
        if lost is not None:
            return [(AS_READ, lost.given), (f"{RESTORED}{lost.lost:.0%}", lost.corrected)]
    changing = None
    if fit.verdict != "good" or fit.explained < TRIED_BELOW:
        changing = changing_probe(scan, result)
    if changing is not None:
        words = f"{CHANGING}{changing.defocus:.2f} rad"
        return [(ONE_PROBE, changing.given), (words, changing.left)]
    if fit.verdict == "good" or fit.likely in set(SHOWN) - {"patterns"}:
        return []
    # Patterns beside a jump on the detector look like ones from elsewhere.
    elsewhere = misplaced_patterns(scan, result, in_noise=False)
    return [] if elsewhere and jumped_shifts(scan, result) else elsewhere


def misplaced_patterns(
    scan: Scan, result: Reconstruction, in_noise: bool = True
) -> list[tuple[str, float]]:
    """What :func:`misplaced` finds, as alternatives."""
    found = misplaced(scan, result, in_noise)
    if found is None:
        return []
    words = ELSEWHERE + listed(found.numbers)
    return [(AT_HOME, found.given), (words, found.elsewhere)]


def within_noise(fit: Misfit) -> bool:
    """Whether the residual is so near to that of noise that no trial of residuals can lower it."""
    return not fit.excess > SEEN_EXCESS_OF_NOISE * fit.expected
