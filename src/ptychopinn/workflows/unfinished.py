"""Was a result left before it was finished? Told by its fit, and by what was tried beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.verdict import (
    AS_FOUND,
    AS_IT_IS,
    BETTER,
    FINISHED,
    FOLLOWED,
    GOOD_EXPLAINED,
)
from ptychopinn.workflows.results import was_refined

# Ordinary objects are explained better than this by the pretrained network, or up to this share of
# the photon noise. What it leaves more of, of phases that wrap or patterns that hardly overlap,
# hides a wrong picture.
NETWORK_EXPLAINED, NETWORK_EXCESS_OF_NOISE = 0.997, 0.06
# A refined result is not finished where its own probe, from nothing, leaves this share of its
# excess or less on some patterns, and that excess is so many times the noise.
UNFINISHED, TIMES_NOISE = 0.3, 5.0
# What stages of a result say of the probe.
PROBE = "refine_probe"


def left_by_network(fit: Misfit) -> bool:
    """Whether a network was too quick for a scan that it explains nearly."""
    nearly = GOOD_EXPLAINED <= fit.explained < NETWORK_EXPLAINED
    return nearly and fit.excess > NETWORK_EXCESS_OF_NOISE * fit.expected


def behind(result: Reconstruction, found: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """An object that has not followed the probe that was refined with it, or that a network was too
    quick for, as alternatives.

    Beside a probe that moves far it is left behind, and of many photons what is missing is a few
    per cent of the structure only. So it is with phases that wrap and the passes of a network.

    found : what was tried beside it, (words, residual on some patterns).
    """
    fit, known = result.fit, dict(found)
    assert fit is not None  # every verb states it
    if AS_IT_IS not in known:
        return []
    left = known[AS_IT_IS] + known.get(FOLLOWED, 0.0) - fit.expected
    if _of_network(result):
        unfinished = left <= BETTER * fit.excess
    else:
        far = was_refined(result, PROBE) and fit.excess > TIMES_NOISE * fit.expected
        unfinished = far and left <= UNFINISHED * fit.excess
    return [(AS_FOUND, fit.residual), (FINISHED, left + fit.expected)] if unfinished else []


def _of_network(result: Reconstruction) -> bool:
    """Whether nothing but a network made a result."""
    stages = result.provenance.get("stages", ())
    # Those of a file may be anything.
    known = [stage for stage in stages if isinstance(stage, Mapping)]
    return bool(known) and all(stage.get("stage") == "network" for stage in known)
