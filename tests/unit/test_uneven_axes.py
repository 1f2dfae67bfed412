"""One axis of the positions in another unit: told by the distances, believed by the patterns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.trial_fits import scaled
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.causes import CAUSES
from ptychopinn.evaluation.signs import Signs
from ptychopinn.evaluation.verdict import AXIS_GIVEN, OTHER_UNIT, judge
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.simulation import simulate
from ptychopinn.workflows import alternatives
from ptychopinn.workflows.uneven_axes import (
    even_axes,
    even_axes_within_noise,
    factors_of,
    unevenness,
)


def scan_of(**options: object) -> Scan:
    settings = {"object": "leaves", "N": 32, "patterns": 100, "photons": 1e5, "seed": 2,
                "step_px": 4.0}  # fmt: skip
    return replace(simulate(**{**settings, **options}), object=None)


@pytest.mark.parametrize("kind", ["raster", "fermat"])
@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 2.0, 1000.0])
def test_distances_tell_the_factor(kind: str, factor: float) -> None:
    positions = scan_of(scan=kind).positions_px
    assert unevenness(scaled(positions, np.array([factor, 1.0]))) == pytest.approx(factor, rel=0.1)
    # In whatever order and however often they come.
    again = np.concatenate([positions, positions[::-1]])
    assert unevenness(again) == pytest.approx(1.0, rel=0.1)


def test_axes_that_are_a_thousand_times_apart() -> None:
    """Of many positions of no order the first triangles are needles."""
    positions = np.random.default_rng(3).uniform(0, 60, (400, 2))
    uneven = unevenness(scaled(positions, np.array([1e-3, 1.0])))
    assert uneven == pytest.approx(1e-3 * unevenness(positions), rel=0.01)
    assert factors_of(uneven)[0] == (1, 1e-3)


def test_positions_on_a_line_tell_none() -> None:
    assert unevenness(np.stack([np.arange(20.0), np.zeros(20)], axis=1)) == 1.0
    assert unevenness(np.zeros((20, 2))) == 1.0


def test_factors_are_those_between_units_where_one_is_near() -> None:
    assert factors_of(1.3) == [] and factors_of(1 / 1.5) == []
    assert factors_of(10.0) == [(0, 0.1), (1, 10.0)]
    assert factors_of(1 / 1040) == [(1, 1e-3), (0, 1000.0)]
    assert factors_of(300.0) == [(0, 1 / 300), (1, 300.0)]
    assert factors_of(2.4) == [(0, 1 / 2), (1, 2.0), (0, 1 / 2.4), (1, 2.4)]
    assert factors_of(np.inf) == []


@pytest.mark.parametrize(
    ("axis", "factor", "words"),
    [(0, 2.0, "y divided by 2"), (1, 0.5, "x times 2"), (1, 3.0, "x divided by ")],
)
def test_the_patterns_believe_it(axis: int, factor: float, words: str) -> None:
    scan = scan_of()
    by = np.where(np.arange(2) == axis, factor, 1.0)
    found = even_axes(NumpyOps(), replace(scan, positions_px=scaled(scan.positions_px, by)))
    assert found is not None
    assert found[0].startswith(words)
    assert found[1] < 0.5 * found[2]


def test_a_scan_of_oblong_steps_stays_as_it_is() -> None:
    scan = scan_of(patterns=196, jitter_px=0.5)
    every_second = [np.arange(14 * row, 14 * row + 14) for row in range(0, 14, 2)]
    sparse = scan.select(np.concatenate(every_second))
    assert factors_of(unevenness(sparse.positions_px))
    assert even_axes(NumpyOps(), sparse) is None
    assert even_axes_within_noise(NumpyOps(), sparse) is None


def test_the_verdict_says_it() -> None:
    signs = Signs(residual=0.003, expected=0.001, explained=0.9)
    found = judge(signs, [(AXIS_GIVEN, 0.003), (f"{OTHER_UNIT}y divided by 2", 0.001)])
    assert (found.verdict, found.likely) == ("doubtful", "axis-unit")
    assert found.cause is not None and "along y divided by 2 some patterns" in found.cause
    assert CAUSES["axis-unit"].remedy in found.cause


def test_a_refinement_doubts_such_a_scan() -> None:
    scan = scan_of()
    wrong = replace(scan, positions_px=scaled(scan.positions_px, np.array([4.0, 1.0])))
    fit = pp.refine(wrong, backend="numpy").fit
    assert fit is not None and (fit.verdict, fit.likely) == ("doubtful", "axis-unit")


def test_patterns_that_hardly_overlap_explain_themselves_but_none_that_is_left_out() -> None:
    """The residual is that of noise, since each pattern has an object of its own."""
    scan = scan_of(object="grf", photons=3e3, scan="fermat", seed=4, step_px=3.0)
    wrong = replace(scan, positions_px=scaled(scan.positions_px, np.array([10.0, 1.0])))
    found = even_axes_within_noise(NumpyOps(), wrong)
    assert found is not None and found[0] == "y divided by 10"


def test_a_fit_within_noise_is_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "y divided by 10", 0.02, 0.04
    monkeypatch.setattr(alternatives, "even_axes_within_noise", lambda *_: told)
    fit = pp.refine(scan_of(photons=1e4), None, pp.RefineConfig(passes=10), backend="numpy").fit
    assert fit is not None and fit.excess < 0.1 * fit.expected
    assert (fit.verdict, fit.likely) == ("doubtful", "axis-unit")
