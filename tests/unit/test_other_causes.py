"""What is tried on some patterns, and in which case."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

import ptychopinn as pp
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.evaluation.verdict import MORE_MODES, SPREAD
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.point_spread import PointSpread
from ptychopinn.workflows import other_causes


def test_a_point_spread_that_leaves_much_does_not_keep_more_modes_from_being_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan = pp.simulate(N=32, patterns=64, step_px=3.0, photons=1e5, seed=2)

    class Solver:
        """Leaves 9 times the photon noise, 4 times it with a point spread or more modes."""

        def __init__(self, *args: Any, effects: Sequence[Any] = ()) -> None:
            self.spread = any(isinstance(effect, PointSpread) for effect in effects)

        def solve(self, part: PreparedScan, start: Any = None) -> SimpleNamespace:
            times = 4 if self.spread or len(part.probe) > 1 else 9
            return SimpleNamespace(canvas=SimpleNamespace(losses=[times * part.expected_misfit]))

    monkeypatch.setattr(other_causes, "PhysicsSolver", Solver)
    monkeypatch.setattr(other_causes, "found_exposure", lambda *args, **how: None)
    monkeypatch.setattr(other_causes, "found_thickness", lambda *args: None)
    found = dict(other_causes.tried(NumpyOps(), scan))
    assert {SPREAD, MORE_MODES} <= set(found)
