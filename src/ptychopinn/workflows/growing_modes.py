"""Incoherent modes that are added to a probe while patterns that were left out gain from them.

Some patterns, scattered over the scan, move neither object nor probe in a trial. It goes on from
what was found, once with the modes as they are and once with two more; modes are kept when the
patterns that were left out are then explained better by clearly more than they scatter. They were
used before the trial, and both of its results know them equally.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import RefineConfig
from ptychopinn.contracts import Canvas, Solved
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.ops.base import Ops
from ptychopinn.physics.effects import Effect, Values
from ptychopinn.probes import orthogonalised, with_modes
from ptychopinn.solvers.configs import PhysicsConfig, PtychiConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import varies, with_free_probe
from ptychopinn.workflows.left_out import gain_of, misfits

log = logging.getLogger(__name__)

PASSES, ADDED, MOST = 8, 2, 9
# Patterns that are left out: one in so many, within these numbers. With fewer than the last in a
# scan nothing is tried.
ONE_IN, FEWEST, MOST_LEFT_OUT, LEAST_PATTERNS = 8, 16, 64, 64


@dataclass(frozen=True)
class Trial:
    """modes : how many were tried.  gain : share by which they lower the misfit of the patterns
    that were left out.  error : standard error of the gain.  kept : whether they were."""

    modes: int
    gain: float
    error: float
    kept: bool


@dataclass(frozen=True, eq=False)
class Grown:
    """probe : (P, N, N) in network units, orthogonal.  canvas : the object with it.  trials : what
    was tried, in that order."""

    probe: NDArray[np.complex64]
    canvas: Canvas
    trials: tuple[Trial, ...]


def asked_modes(
    scan: Scan,
    start: Reconstruction | None,
    config: RefineConfig | None,
    modes: int | Literal["auto"],
) -> tuple[Scan, Reconstruction | None, RefineConfig]:
    """Scan or start with so many modes, and the options, which refine the probe."""
    config = RefineConfig() if config is None else config
    config = with_free_probe(config, "modes")
    if modes == "auto":
        if isinstance(config, PtychiConfig):
            raise InputError(
                "modes must be a number with the engine ptychi, received 'auto'; give a number or "
                "use the engine physics."
            )
        if varies(config, start):
            raise InputError(
                "eigenprobes need a probe of one mode, received modes 'auto'; leave either out."
            )
        return scan, start, config
    if isinstance(modes, bool) or not isinstance(modes, int):
        raise InputError(f"modes must be a number or 'auto', received {shown(modes)}; give one.")
    if start is not None:
        return scan, replace(start, probe=with_modes(start.probe, modes)), config
    return replace(scan, probe=with_modes(scan.probe, modes)), None, config


def grown_modes(
    xp: Ops, prepared: PreparedScan, canvas: Canvas, effects: Sequence[Effect], limit_bytes: int
) -> Grown:
    """As many modes as patterns gain from, beginning with those of a probe that was refined.

    Parameters
    ----------
    prepared : the scan with the probe so far.
    canvas : the object so far, in network units.
    effects : of beam and detector, in network units.
    """
    probe, m = prepared.probe, prepared.scan.M
    if m < LEAST_PATTERNS:
        log.warning("no modes are tried: that takes %d patterns, received %d", LEAST_PATTERNS, m)
        return Grown(probe, canvas, ())
    count = min(MOST_LEFT_OUT, max(FEWEST, m // ONE_IN))
    left = np.sort(np.random.default_rng(0).choice(m, count, replace=False))
    used = np.setdiff1d(np.arange(m), left)
    part = replace(prepared, scan=replace(prepared.scan.select(used), object=None))
    config = PhysicsConfig(passes=PASSES, stagnation=0.0, refine_probe=True)
    known = tuple(effect.chosen(used) for effect in effects)
    seen = tuple(effect.chosen(left) for effect in effects)

    def further(probe: NDArray[np.complex64], canvas: Canvas) -> Solved:
        solver = PhysicsSolver(xp, config, limit_bytes, effects=known)
        return solver.solve(replace(part, probe=probe), canvas)

    trials: list[Trial] = []
    as_it_is = further(probe, canvas)
    while len(probe) + ADDED <= MOST:
        more = further(with_modes(probe, len(probe) + ADDED), canvas)
        before, after = (misfits(xp, prepared, left, seen, found) for found in (as_it_is, more))
        trial = judged_trial(before, after, prepared.expected_misfit, len(more.probe))
        trials.append(trial)
        log.info(
            "%d modes: patterns that were left out gain %.1f %% +- %.1f %%; %s",
            trial.modes, 100 * trial.gain, 100 * trial.error, "kept" if trial.kept else "not kept",
        )  # fmt: skip
        if not trial.kept:
            break
        probe, canvas = orthogonalised(more.probe), more.canvas
        if len(probe) + ADDED <= MOST:
            as_it_is = further(probe, canvas)
    return Grown(probe, canvas, tuple(trials))


def judged_trial(before: Values, after: Values, expected: float, modes: int) -> Trial:
    """The trial of so many ``modes``; the other arguments are those of
    :func:`ptychopinn.workflows.left_out.gain_of`."""
    return Trial(modes, *gain_of(before, after, expected))
