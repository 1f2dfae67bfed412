"""A jump in mid-scan, of beam or patterns, that object and probe take up within noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.signs import Signs
from ptychopinn.evaluation.verdict import ASTRAY, IN_PLACE, judge
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.workflows import hidden_shifts as hidden
from ptychopinn.workflows.before_axes import within_noise
from ptychopinn.workflows.hidden_shifts import hidden_shifts, jumped_shifts
from ptychopinn.workflows.unsteady_beam import GROWING, _fading_jump, growing_factors

M = 110


@pytest.fixture(scope="module")
def expected() -> Scan:
    return pp.simulate(
        N=32, patterns=M, step_px=3.0, photons=1e4, object="grf", scan="fermat", seed=4,
        phase=(-1, 1), poisson=False,
    )  # fmt: skip


def drawn(mean: Scan, expected: Any) -> Scan:
    counts = np.random.default_rng(1).poisson(expected).astype(np.uint32)
    return replace(mean, diffraction=counts, object=None)


def moved(mean: Scan, shifts: Any) -> Scan:
    """Each pattern moved on the detector by (dy, dx) pixels."""
    u = (np.arange(mean.N) - mean.N // 2) / mean.N
    obj, patterns = np.asarray(mean.object, np.complex128), []
    for at, (y, x) in zip(mean.positions_px, shifts, strict=True):
        ramp = np.exp(2j * np.pi * (y * u[:, None] + x * u[None]))
        patterns.append(pp.intensities(obj, mean.probe * ramp, at[None])[0])
    return drawn(mean, np.stack(patterns))


def refined(scan: Scan) -> Reconstruction:
    config = pp.RefineConfig(passes=15, refine_probe=True)
    found = pp.refine(scan, None, config, backend="numpy", no_mend="all")
    assert found.fit is not None and within_noise(found.fit)
    return found


@pytest.mark.parametrize("first", [0, M // 2, M // 3])
def test_patterns_that_jump_behind_a_refined_probe_are_told(expected: Scan, first: int) -> None:
    after = (np.arange(M) >= first)[:, None]
    scan = moved(expected, after * np.array([0.3, -0.1]))
    result = refined(scan)
    used = replace(scan, probe=result.probe, positions_px=result.positions_px)
    found = jumped_shifts(used, result)
    assert (found is not None) == (first > 0)
    assert found is None or found[1] < found[0]


def test_patterns_that_are_not_at_their_positions_do_not_jump(expected: Scan) -> None:
    scan = drawn(expected, expected.diffraction)
    off = np.random.default_rng(2).standard_normal(scan.positions_px.shape)
    result = pp.refine(replace(scan, positions_px=scan.positions_px + off), None,
                       pp.RefineConfig(passes=15), backend="numpy", no_mend="all")  # fmt: skip
    used = replace(scan, probe=result.probe, positions_px=result.positions_px)
    assert jumped_shifts(used, result) is None


@pytest.mark.parametrize(("pixels", "told"), [(0.0, False), (0.4, True)])
def test_a_drift_is_told_by_what_patterns_ask_for_where_no_trial_tells(
    expected: Scan, pixels: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few photons, or behind a refined probe, a trial from nothing may be no better."""
    monkeypatch.setattr(hidden, "LIKELIER", np.inf)
    monkeypatch.setattr(hidden, "jumped_shifts", lambda scan, result: None)
    scan = moved(expected, np.outer(np.linspace(0, 1, M), [pixels, -pixels / 2]))
    result = refined(scan)
    used = replace(scan, probe=result.probe, positions_px=result.positions_px)
    found = hidden_shifts(NumpyOps(), used, result)
    assert (found is not None) == told
    assert found is None or found[1] < found[0]


def test_a_drift_behind_a_refined_probe_is_told_by_its_course() -> None:
    """The shifts that are asked for are few hundredths of a pixel, within the noise, and other axes
    of the scan make up for a part of them. Without a drift iterations that are not quite at rest
    are no reason to doubt these."""
    mean = pp.simulate(
        N=32, patterns=100, step_px=3.0, photons=1e6, object="natural", seed=4, poisson=False
    )
    named = []
    for pixels in (0.0, 0.3):
        scan = moved(mean, np.outer(np.linspace(0, 1, mean.M), [pixels, -pixels / 2]))
        config = pp.RefineConfig(passes=20, refine_probe=True)
        fit = pp.refine(scan, None, config, backend="numpy").fit
        assert fit is not None
        named.append((fit.verdict, fit.likely))
    assert named == [("good", None), ("doubtful", "pattern-shift")]


def test_patterns_at_the_border_of_a_jump_are_no_bad_ones() -> None:
    signs = Signs(0.04, 0.0001, explained=0.9, patterns=(40, 41, 42), patterns_share=0.7)
    assert judge(signs).likely == "patterns"
    jump = judge(signs, [(IN_PLACE, 0.04), (ASTRAY, 0.03)])
    assert (jump.verdict, jump.likely) == ("doubtful", "pattern-shift")


@pytest.mark.parametrize("kind", ["jump", "flicker", "one dark pattern"])
def test_a_beam_that_jumps_and_whose_factors_come_back_is_told(expected: Scan, kind: str) -> None:
    factors = {
        "jump": np.where(np.arange(M) < M // 2, 1.0, 0.7),
        "flicker": 1 + 0.15 * np.random.default_rng(1).uniform(-1, 1, M),
        "one dark pattern": np.where(np.arange(M) == M // 2, 0.4, 1.0),
    }
    result = refined(drawn(expected, expected.diffraction * factors[kind][:, None, None]))
    words = [words for words, _ in growing_factors(result)]
    assert (GROWING in words) == _fading_jump(result) == (kind == "jump")
