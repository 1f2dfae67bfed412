"""Object and probe that drive each other away are brought back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.stages import AWAY, STAGES, Schedule, ran_away


@pytest.fixture(scope="module")
def too_wide() -> pp.Scan:
    """N = 32, 81 patterns, with the probe twice as wide as it is."""
    scan = pp.simulate(object="textures", N=32, patterns=81, step_px=4, seed=0)
    wide = np.kron(scan.probe[:, 8:24, 8:24], np.ones((1, 2, 2))) / 2
    return replace(scan, probe=wide.astype(np.complex64))


@pytest.mark.parametrize("options", [{}, {"refine_positions": True}, {"eigenprobes": 2}])
def test_a_probe_that_is_too_wide_is_refined(too_wide: pp.Scan, options: dict[str, Any]) -> None:
    """Without going back the misfit is 1e12 in the end, or above 1 with moving positions."""
    config = PhysicsConfig(refine_probe=True, passes=20, **options)
    misfits = [step.misfit for step in pp.iterate(too_wide, config, backend="numpy")]
    assert max(misfits) > AWAY  # else this shows nothing
    assert misfits[-1] < 0.05


def test_the_last_pass_leaves_no_object_that_ran_away(too_wide: pp.Scan) -> None:
    for step in pp.iterate(too_wide, PhysicsConfig(refine_probe=True), backend="numpy"):
        if step.misfit > AWAY:
            break
    fit = pp.misfit(step.result(), too_wide)
    assert fit.residual < 1


def test_what_ran_away() -> None:
    assert not ran_away([30.0])  # a start may be far off
    assert not ran_away([0.8, 1.1])  # first passes may be
    assert not ran_away([0.1, 0.4])  # momentum may ring
    assert not ran_away([30.0, 20.0, 25.0])
    assert ran_away([0.5, 0.2, AWAY * 1.1])
    assert ran_away([30.0, 50.0])
    assert ran_away([float("nan")]) and ran_away([0.1, float("inf")])


def test_all_patterns_make_one_update_from_then_on() -> None:
    schedule = Schedule(PhysicsConfig(passes=100))
    assert schedule.next_stage([0.5]) == STAGES[0]
    schedule.begin_again(2)
    stages = [schedule.next_stage([0.5, 9.0, *[0.5] * k]) for k in range(8)]
    found = [stage for stage in stages if stage is not None]
    assert [stage.momentum for stage in found[::2]] == [
        stage.momentum for stage in (STAGES[0], STAGES[1], STAGES[2], STAGES[2])
    ]
    assert {stage.merged for stage in found} == {STAGES[-1].merged}
