"""Did the intensity of the beam change where an object, or other scan axes, make up for it?

Half a scan with a brighter beam looks like an object that is more transparent there, but for the
patterns at the border, which the object, the positions or the axes then spoil to fit. From nothing,
with a factor for each pattern, some neighbouring patterns show it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ptychopinn.checks.base import finding
from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.findings import Finding, with_findings
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.verdict import GROWING, HALTED, STEADY, UNSTEADY
from ptychopinn.ops.base import Ops
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import Effect
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.exposure import HARDLY

log = logging.getLogger(__name__)

PASSES = 16
# Factors are believed when they leave this share of the residual beyond photon noise, or less, and
# take away this share of that noise.
BELIEVED, OF_NOISE = 0.6, 0.1
# Factors that were followed would still grow when that lowered -2 log L by so much: the square of a
# standard normal number where they are at rest.
# A step of less than this (rms) changes nothing that anybody sees, however many photons tell it.
STILL_GROWING, TINY = 20.0, 1e-4
# Where more than noise is left: when their errors go with that step by so many times what errors of
# that size do by chance, and the step is as large as this (rms). Of the measured star it is half
# that at most.
ALONG, FAR = 3.0, 8e-4
# A jump of factors: from one pattern to the next by so many times what is usual, and of the medians
# of so many before and after by so many times their scatter. It fades when the mean of all before
# and after differs by so much less, absolute and as a share.
SIDE, SUDDEN, CLEAR, FADED, FADED_SHARE = 8, 5.0, 8.0, 0.02, 0.1


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


def growing_factors(result: Reconstruction) -> list[tuple[str, float]]:
    """Factors of the beam that a refinement has followed and that would still grow, as
    alternatives: residuals as they are and after a step.

    Half a scan with a brighter beam is explained by an object that is more transparent there, but
    for the patterns at the border, so that factors g_j take long to fetch the change from it. With
    the counts C_j, their relative noise s_j, and d the mean of g - 1 over neighbours, a common step
    along d lowers -2 log L by z^2 with

        z = sum d_j e_j / s_j^2 / sqrt(sum d_j^2 / s_j^2),  e_j = C_j / modelled C_j - 1 - b_j,

    where b_j = (s_j / t)^2 (g_j - 1) is what shrinking by t^2 / (t^2 + s_j^2) leaves on purpose
    (:mod:`ptychopinn.physics.beam_current`). Where factors are at rest z is standard normal, or
    less as they follow noise. The mean over neighbours is what an object can make up for. Where the
    residual is clearly more than photon noise, counts are off for other reasons too: see
    :func:`far_from_rest`.
    """
    fit, step = result.fit, _common_step(result)
    if fit is None or step is None or fit.residual > HARDLY * fit.expected:
        return []
    growing = step.z > 0 and step.z**2 >= STILL_GROWING and step.size >= TINY
    return _step_taken(fit, step) if growing or _fading_jump(result) else []


def far_from_rest(result: Reconstruction) -> list[tuple[str, float]]:
    """The same where more than noise is left and nothing else is found: with many photons a change
    that an object holds for the greater part is not 1 % of the structure.
    """
    fit, step = result.fit, _common_step(result)
    if fit is None or step is None or fit.residual <= HARDLY * fit.expected:
        return []
    clear = step.z >= ALONG * max(step.scatter, 1.0) and step.size >= FAR
    return _step_taken(fit, step) if clear or _fading_jump(result) else []


class _Step(NamedTuple):
    """z : what a common step of the factors gains, in standard deviations of photon noise.
    scatter : of their errors, as a multiple of that noise.  size : of the step (rms)."""

    z: float
    scatter: float
    size: float


def _step_taken(fit: Misfit, step: _Step) -> list[tuple[str, float]]:
    gained = step.z**2 * fit.noise.photon / (4 * float(fit.counts.sum()))
    return [(HALTED, fit.residual), (GROWING, max(fit.residual - gained, fit.expected))]


def _common_step(result: Reconstruction) -> _Step | None:
    """What :func:`growing_factors` explains; None where no factors were followed."""
    fit, values = result.fit, result.effects.get(BeamCurrent.name)
    if fit is None or values is None or len(values) < FEWEST:
        return None
    near = BeamCurrent.none(result.positions_px, result.N).near
    lit = (fit.counts > 0) & np.isfinite(fit.factors)
    if near is None or not near.size or not lit.any():
        return None
    moved = np.asarray(values, np.float64) - 1
    pixels = int(np.isfinite(fit.measured_mean).sum())
    counts = np.where(lit, fit.counts, 1.0)
    noise = pixels * np.asarray(fit.noise.variance(counts / pixels)) / counts**2
    # What was kept of a deviation of variance t^2 has the variance v = t^4 / (t^2 + s^2).
    v, typical = float((moved**2).mean()), float(np.median(noise))
    followed = (v + np.sqrt(v**2 + 4 * v * typical)) / 2
    if not followed > 0:
        return None
    error = np.where(lit, fit.factors - 1 - noise / followed * moved, 0.0)
    along = (moved + moved[near].sum(axis=1)) / (near.shape[1] + 1)
    length = max(float(np.sqrt((along**2 / noise).sum())), 1e-12)
    z = float((along * error / noise).sum()) / length
    scatter = float(np.sqrt((error**2 / noise).mean()))
    size = abs(z) / length * float(np.sqrt((along**2).mean()))
    return _Step(z, scatter, size)


def _fading_jump(result: Reconstruction) -> bool:
    """Whether the factors of a result jump from some pattern on, and come back: a jump in mid-scan
    of which an object holds what is far from the border of both parts. No likelihood tells it from
    a beam that rises before and after, since slow factors and a slow modulus do nearly the same.
    """
    values = result.effects.get(BeamCurrent.name)
    if values is None or len(values) < 2 * FEWEST:
        return False
    values = np.asarray(values, np.float64)
    steps = np.diff(values)
    usual = float(np.median(np.abs(steps - np.median(steps)))) / 0.6745
    windows = np.median(np.lib.stride_tricks.sliding_window_view(values, SIDE), axis=1)
    jumps = windows[SIDE:] - windows[:-SIDE]
    k = int(np.abs(jumps).argmax())
    # A median of several is as far when the first of them is not.
    near = slice(k + SIDE // 2, k + 3 * SIDE // 2)
    first = near.start + int(np.abs(steps[near]).argmax()) + 1
    sudden = abs(steps[first - 1]) > SUDDEN * usual
    # Each median has the scatter usual / sqrt(2) * sqrt(pi / 2 / SIDE).
    if not sudden or abs(jumps[k]) < CLEAR * usual * np.sqrt(np.pi / 2 / SIDE):
        return False
    whole = float(values[first:].mean() - values[:first].mean()) * np.sign(jumps[k])
    return bool(abs(jumps[k]) - whole > max(FADED, FADED_SHARE * abs(jumps[k])))


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
    return BeamCurrent(np.array(known.values), fixed=True)
