"""Was a result left before it was finished? Told by its fit, and by what was tried beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.alignment import align, scan_box
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.evaluation.signs import signs_of
from ptychopinn.evaluation.verdict import (
    AS_FOUND,
    AS_IT_IS,
    BETTER,
    FINISHED,
    FOLLOWED,
    GOOD_EXPLAINED,
)
from ptychopinn.ops.base import Ops
from ptychopinn.ops.selector import BackendName
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.results import reported, was_refined
from ptychopinn.workflows.slicing import canvas_from

# Ordinary objects are explained better than this by the pretrained network, or up to this share of
# the photon noise. What it leaves more of, of phases that wrap or patterns that hardly overlap,
# hides a wrong picture.
NETWORK_EXPLAINED, NETWORK_EXCESS_OF_NOISE = 0.997, 0.06
# A refined result is not finished where its own probe, from nothing, leaves this share of its
# excess or less on some patterns, and that excess is so many times the noise.
UNFINISHED, TIMES_NOISE = 0.3, 5.0
# An object of a network that so many passes on some patterns change by this share of its contrast
# was left too early: it was below 29 dB, or its amplitude below 22, in 14 of 14 clean scans that
# changed by 0.101 to 0.41, and at 33 to 38 dB in five that changed by less.
FURTHER, CHANGES = 30, 0.1
# A refinement goes slowly where phases wrap, patterns hardly overlap or a background is followed.
# What explains less than this was left too early where it still changes by so much: 19 to 30 dB in
# eight that changed by 0.093 to 0.23 and gained 2 to 19 dB later, 33 dB and more in eleven that
# changed by 0.072 at most.
REFINED_EXPLAINED, REFINED_CHANGES = 0.999, 0.08
# Pixels that the positions of these patterns span at least, so that objects can be compared.
SPAN_PX = 10
# What stages of a result say of the probe.
PROBE = "refine_probe"


def left_by_network(fit: Misfit) -> bool:
    """Whether a network was too quick for a scan that it explains nearly."""
    return _nearly(fit) and fit.excess > NETWORK_EXCESS_OF_NOISE * fit.expected


def _nearly(fit: Misfit) -> bool:
    """Whether a network explains a scan, but not as it explains ordinary ones."""
    return GOOD_EXPLAINED <= fit.explained < NETWORK_EXPLAINED


def left_by_refinement(fit: Misfit) -> bool:
    """Whether a refinement may have ended too early for a scan that it explains nearly."""
    share = fit.explained if np.isfinite(fit.explained) else signs_of(fit).faint
    nearly = GOOD_EXPLAINED <= share < REFINED_EXPLAINED
    return nearly and fit.excess > NETWORK_EXCESS_OF_NOISE * fit.expected


def behind(
    xp: Ops, scan: Scan, result: Reconstruction, found: Sequence[tuple[str, float]]
) -> list[tuple[str, float]]:
    """An object that has not followed the probe that was refined with it, or that a network or a
    refinement was too quick for, as alternatives.

    Beside a probe that moves far it is left behind, and of many photons what is missing is a few
    per cent of the structure only. So it is with phases that wrap and few passes.

    Parameters
    ----------
    xp : the operations of a framework.
    scan : the patterns, with the probe and the positions of the result.
    found : what was tried beside it, (words, residual on some patterns).
    """
    fit, known = result.fit, dict(found)
    assert fit is not None  # every verb states it
    further = still_changes(xp, scan, result)
    if further is not None:
        return [(AS_FOUND, fit.residual), (FINISHED, further)]
    if AS_IT_IS not in known:
        return []
    left = known[AS_IT_IS] + known.get(FOLLOWED, 0.0) - fit.expected
    if of_network(result):
        unfinished = left <= BETTER * fit.excess
    else:
        far = was_refined(result, PROBE) and fit.excess > TIMES_NOISE * fit.expected
        unfinished = far and left <= UNFINISHED * fit.excess
    return [(AS_FOUND, fit.residual), (FINISHED, left + fit.expected)] if unfinished else []


def still_changes(xp: Ops, scan: Scan, result: Reconstruction) -> float | None:
    """The residual of some patterns where physics goes on from an object that explains them nearly
    and changes by much; None elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of the result.
    """
    network, fit = of_network(result), result.fit
    assert fit is not None  # every verb states it
    # What a network leaves in the bright does not show where readings are bounds.
    hidden = network and _nearly(fit) and scan.saturation is not None
    if not (hidden or (left_by_network(fit) if network else left_by_refinement(fit))):
        return None
    numbers = neighbours(scan)
    span = np.ptp(scan.positions_px[numbers], axis=0)
    if scan.M < FEWEST or result.slices is not None or span.min() < SPAN_PX:
        return None
    further = gone_on(xp, scan, result, numbers)
    assert further.fit is not None  # every verb states it
    origin = np.asarray(further.origin_px)
    pair = align(
        result.object,
        result.weight,
        np.asarray(result.origin_px) - origin,
        further.object,
        scan_box(further.positions_px - origin),
        register=False,
    )
    change = np.linalg.norm(pair.reconstruction - pair.truth)
    contrast = np.linalg.norm(pair.truth - pair.truth.mean())
    least = CHANGES if network else REFINED_CHANGES
    return further.fit.residual if change > least * contrast else None


def gone_on(
    xp: Ops, scan: Scan, result: Reconstruction, numbers: NDArray[np.int64]
) -> Reconstruction:
    """What physics iterations make of an object, on some patterns.

    scan : the patterns, with the probe and the positions of the result.
    numbers : of these patterns.
    """
    chosen = replace(scan.select(numbers), object=None)
    part = prepare(chosen)
    known = in_network_units([effect.chosen(numbers) for effect in effects_of(result)], part)
    config = PhysicsConfig(passes=FURTHER, stagnation=0.0)
    solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=tuple(known.values()))
    solved = solver.solve(part, canvas_from(result, part, 1))
    name = cast(BackendName, xp.name)
    return reported(solved.canvas, part, chosen, {}, name, [], {}, "", solved.effects)


def of_network(result: Reconstruction) -> bool:
    """Whether nothing but a network made a result."""
    stages = result.provenance.get("stages", ())
    # Those of a file may be anything.
    known = [stage for stage in stages if isinstance(stage, Mapping)]
    return bool(known) and all(stage.get("stage") == "network" for stage in known)
