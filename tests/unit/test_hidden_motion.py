"""A sample that moves during the exposure is told although the refined probe has taken it up, and a
free probe that follows noise is no better than the given one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from moving_scans import on_the_fly
from ptychopinn.config import RefineConfig
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.verdict import AS_IT_IS, MORE_MODES, MOVING, PROBE_FREE, STILL
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.simulation import simulate
from ptychopinn.workflows import hidden_motion as hidden
from ptychopinn.workflows import moving_sample, other_causes
from ptychopinn.workflows.exposure import WashedOut, washed_out
from ptychopinn.workflows.other_causes import tried
from ptychopinn.workflows.refinement import refine

LENGTH = 4.0


@pytest.fixture(scope="module")
def expected() -> Scan:
    options = {"object": "natural", "N": 32, "patterns": 81, "step_px": 3.2, "photons": 1e4}
    return simulate(**options, seed=5, poisson=False)


@pytest.mark.parametrize("length", [0.0, LENGTH])
def test_a_refined_probe_hides_no_way(expected: Scan, length: float) -> None:
    scan = on_the_fly(expected, length)
    found = refine(scan, None, RefineConfig(passes=20, refine_probe=True), backend="numpy")
    assert found.fit is not None
    assert found.fit.excess < 0
    assert washed_out(scan, found) is None
    named = found.fit.verdict, found.fit.likely
    assert named == (("doubtful", "moving-exposure") if length else ("good", None))
    if length:
        assert found.fit.cause is not None
        assert "3.0 px along the scan" in found.fit.cause


def test_a_length_that_gains_alone_is_none() -> None:
    """The trial with 2 px comes to rest elsewhere; with 1 px it gains nothing."""
    scan = simulate(object="leaves", N=32, patterns=100, photons=3e4, seed=11)
    found = refine(scan, None, RefineConfig(passes=30, refine_probe=True), backend="numpy")
    assert found.fit is not None
    assert found.fit.verdict == "good"


@pytest.mark.parametrize("length", [0.0, LENGTH])
def test_a_way_along_an_axis_is_told_where_the_object_has_taken_it_up(length: float) -> None:
    """Positions in no order, and hardly more than noise left: trials of a residual end nowhere."""
    options = {"object": "leaves", "N": 32, "patterns": 81, "step_px": 3.2, "photons": 1e5}
    scan = simulate(**options, scan="random", seed=5, poisson=False)
    scan = on_the_fly(scan, length, along=np.array([0.0, 1.0]))
    found = refine(scan, None, RefineConfig(passes=15), backend="numpy")
    assert found.fit is not None and found.fit.explained > 0.99
    named = found.fit.verdict, found.fit.likely
    assert named == (("doubtful", "moving-exposure") if length else ("good", None))
    if length:
        assert found.fit.cause is not None and "along x" in found.fit.cause


def test_a_probe_that_was_not_refined_costs_no_trial(
    expected: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_sample, "hidden_motion", None)  # calling it would fail
    found = refine(on_the_fly(expected, 0.0), None, RefineConfig(passes=10), backend="numpy")
    assert found.fit is not None
    assert found.fit.verdict == "good"


@pytest.mark.parametrize("guessed", [False, True])
def test_a_guessed_probe_comes_to_rest_before_a_way_is_believed(
    guessed: bool, expected: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with its astigmatism washes patterns out as a way does, and trials are longer:
    one of 12 passes found 4 px in a clean scan, one of 24 none."""
    scan = on_the_fly(expected, 0.0)
    config = RefineConfig(passes=4, refine_probe=True)
    found = refine(scan, None, config, backend="numpy", no_mend="all")
    seen = WashedOut("x", True, 0.5, 4.0, 0.002, 0.0019)
    monkeypatch.setattr(moving_sample, "washed_out", lambda *_: seen)
    monkeypatch.setattr(moving_sample, "exposures", lambda *_, **__: [])
    asked = []

    def motion(*_: Any, passes: int) -> None:
        asked.append(passes)

    monkeypatch.setattr(moving_sample, "hidden_motion", motion)
    told = moving_sample.moved_within_noise(NumpyOps(), scan, found, True, guessed)
    assert bool(told) != guessed
    assert asked == ([36, 36] if guessed else [])


@pytest.mark.parametrize(("times", "told"), [((4.0, 2.0), True), ((8.0, 6.0), False)])
def test_a_trial_far_above_the_result_tells_of_no_way(
    times: tuple[float, float], told: bool, expected: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of weak lines under a probe without curvature a trial had explained little: there a way of
    3 px was only quicker, and a right picture was doubted."""
    scan = on_the_fly(expected, 0.0)
    found = refine(scan, None, RefineConfig(passes=4), backend="numpy", no_mend="all")
    assert found.fit is not None
    still, moving = (factor * found.fit.residual for factor in times)
    seen = WashedOut("x", True, 0.5, 0.0, 0.002, 0.002)
    monkeypatch.setattr(moving_sample, "washed_out", lambda *_: seen)
    monkeypatch.setattr(moving_sample, "hidden_motion", lambda *_, **__: ("x", 3.0, still, moving))
    monkeypatch.setattr(moving_sample, "exposures", lambda *_, **__: [])
    assert bool(moving_sample.moved_beyond_noise(NumpyOps(), scan, found)) is told
    assert bool(moving_sample.moved_within_noise(NumpyOps(), scan, found, False)) is told


@pytest.mark.parametrize(("share", "told"), [(0.5, True), (1.5, False)])
def test_a_way_that_leaves_more_than_modes_of_the_probe_is_none(
    share: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"object": "siemens", "N": 32, "patterns": 64, "step_px": 3.3, "photons": 1e6}
    scan = on_the_fly(simulate(**options, seed=5, poisson=False), 3.5)
    without = dict(tried(NumpyOps(), scan, (), ("moving-exposure", "slices")))
    ways = [(STILL, 1.0), (MOVING + "3.0 px along x", share * without[MORE_MODES])]
    monkeypatch.setattr(other_causes, "exposures", lambda *_, **__: ways)
    found = dict(tried(NumpyOps(), scan, (), ("slices",)))
    assert (STILL in found) is told


def test_eigenprobes_are_not_taken_for_a_way(
    expected: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_sample, "washed_out", None)  # calling it would fail
    config = RefineConfig(passes=24, refine_probe=True, eigenprobes=1)
    scan = on_the_fly(expected, 0.0)
    found = refine(scan, None, config, backend="numpy", no_mend="all")
    assert moving_sample.moved_within_noise(NumpyOps(), scan, found, True) == []
    assert moving_sample.moved_beyond_noise(NumpyOps(), scan, found) == []


def test_a_free_probe_that_follows_noise_is_no_better() -> None:
    """Three modes have a quarter as many numbers as 25 patterns have readings."""
    scan = simulate(object="leaves", N=32, patterns=25, step_px=3, photons=1e5, seed=3, modes=3)
    found = dict(tried(NumpyOps(), replace(scan, object=None), (), ("moving-exposure", "slices")))
    assert found[PROBE_FREE] >= found[AS_IT_IS]


@pytest.mark.parametrize(
    ("within", "modes", "noise", "told"),
    [(2.0, 0.15, 1.0, True), (0.0, 0.15, 1.0, False), (2.0, 0.4, 1.0, False),
     (2.0, 0.15, 0.1, False)],
)  # fmt: skip
def test_a_gain_across_is_allowed_for_where_it_is_uncertain(
    within: float, modes: float, noise: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A way gains 20 % along the scan and 15 +- 7 % across it. Where more modes of the probe gain
    far more the beam is not coherent, and where nothing is gained once trials that leave more than
    noise go on, they were only sooner at their end."""
    scatter = 0.7 * np.tile([-1.0, 1.0], 12)

    class Fitted:
        def __init__(self, gain: float, scatter: object) -> None:
            self.misfits = np.exp(-gain + np.asarray(scatter))
            self.effects = self.whole = ()
            self.canvas = SimpleNamespace(losses=[np.exp(-gain)])

    class Trials:
        known = ()

        def __init__(self, xp: object, scan: Scan, *_: object) -> None:
            self.left, self.used = np.arange(24), np.arange(24, scan.M)
            self.ways = {"scan": np.tile([0.0, 1.0], (scan.M, 1))}
            self.part = SimpleNamespace(probe=scan.probe, expected_misfit=noise)

        def further(self, before: object, effects: tuple, *__: object) -> Fitted:
            if before is not None:
                return Fitted(0.5, 0.0 * scatter)
            if not effects:
                return Fitted(modes, 0.0 * scatter)
            length, (y, _x) = np.hypot(*effects[-1].values[0]), effects[-1].values[0]
            if abs(y) > 0:
                return Fitted(0.15, scatter)
            return Fitted(0.2 * min(length / 3.0, 1.0) ** 2, 0.0 * scatter)

    monkeypatch.setattr(hidden, "Trials", Trials)
    scan = simulate(object="leaves", N=32, patterns=81, seed=1)
    found = hidden.hidden_motion(NumpyOps(), scan, (), "scan", within=within)
    assert (found is not None) == told
