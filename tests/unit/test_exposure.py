"""A sample that moves during the exposure: told from the patterns, and refined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from moving_scans import on_the_fly
from ptychopinn.config import RefineConfig
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation.signs import Signs
from ptychopinn.evaluation.verdict import MOVING, STILL, judge
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.effects import restored
from ptychopinn.physics.moving_exposure import FEWEST, MOST, MovingExposure, directions_of
from ptychopinn.simulation import simulate
from ptychopinn.workflows import alternatives, other_causes
from ptychopinn.workflows.exposure import (
    FIRST,
    LONGER,
    found_exposure,
    least_length,
    possible_directions,
    washed_out,
)
from ptychopinn.workflows.refinement import refine
from ptychopinn.workflows.verbs import reconstruct

LENGTH = 5.0


@pytest.fixture(scope="module")
def still() -> Scan:
    return simulate(object="leaves", N=32, patterns=100, step_px=3, photons=1e6, seed=4)


@pytest.fixture(scope="module")
def moved(still: Scan) -> Scan:
    return on_the_fly(still, LENGTH)


def test_directions_follow_the_scan_and_not_its_flyback() -> None:
    rows = np.array([[y, x] for y in (0.0, 4.0) for x in (0.0, 5.0, 10.0)])
    assert np.abs(directions_of(rows)) == pytest.approx(np.array([[0.0, 1.0]] * 6))
    assert (directions_of(np.zeros((3, 2))) == 0).all()


@pytest.mark.parametrize(("length", "copies"), [(0.0, 1), (0.3, FEWEST), (7.2, 9), (80.0, MOST)])
def test_places_along_the_way_are_a_pixel_apart(length: float, copies: int) -> None:
    assert MovingExposure(np.array([[0.0, length], [0.0, 0.0]])).copies == copies


@pytest.mark.parametrize(("true", "tries"), [(0.0, 2), (1.5, 2), (3.5, 3), (6.2, 3), (12.0, 4)])
def test_longer_ways_are_tried_while_they_leave_less(true: float, tries: int) -> None:
    asked = list[float]()

    def left(length: float) -> float:
        asked.append(length)
        return 1 + (length**2 - true**2) ** 2

    length, least = least_length(left, {0.0: left(0.0), FIRST: left(FIRST)})
    assert length == pytest.approx(true, abs=1e-3) and least == pytest.approx(1)
    assert len(asked) == 2 + tries
    assert (LONGER[0] in asked) == (true > FIRST / 2**0.5)


def test_its_length_and_direction_are_found(moved: Scan) -> None:
    ways = possible_directions(moved.positions_px)
    found = found_exposure(NumpyOps(), prepare(moved), ways)
    assert found is not None
    name, length, without, least = found
    assert name == "scan"
    assert length == pytest.approx(LENGTH, abs=1)
    assert least < 0.8 * without


def test_nothing_is_found_where_nothing_moves(still: Scan) -> None:
    ways = possible_directions(still.positions_px)
    assert found_exposure(NumpyOps(), prepare(still), ways) is None


@pytest.mark.parametrize("no_mend", [(), ("moving-exposure",)])
def test_it_is_not_looked_for_when_that_is_switched_off(
    moved: Scan, no_mend: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(other_causes, "found_exposure", lambda *of: looked.append(of))
    # Whatever else explains the patterns.
    monkeypatch.setattr(alternatives, "worth_a_trial", lambda fit: True)
    monkeypatch.setattr(other_causes, "NEAR_NOISE", 0.0)
    monkeypatch.setattr(other_causes, "BETTER", -1e9)
    refine(moved, None, RefineConfig(passes=10), backend="numpy", no_mend=no_mend)
    assert bool(looked) is not bool(no_mend)


def test_a_refinement_with_the_way_explains_the_patterns(moved: Scan) -> None:
    without = refine(moved, None, RefineConfig(passes=20), backend="numpy", no_mend="all")
    known = RefineConfig(passes=20, exposure_px=LENGTH)
    found = refine(moved, None, known, backend="numpy", no_mend="all")
    assert without.fit is not None
    assert found.fit is not None
    assert found.fit.excess < 0.3 * without.fit.excess
    assert "moving-exposure" in {one.name for one in found.findings}
    assert found.effects["moving-exposure"].shape == (moved.M, 2)
    further = refine(moved, found, RefineConfig(passes=2), backend="numpy", no_mend="all")
    assert "moving-exposure" in further.effects


def test_the_verdict_names_it() -> None:
    signs = Signs(residual=0.003, expected=0.001, explained=0.9)
    words = f"{MOVING}6.0 px along the scan"
    found = judge(signs, [("as it is", 0.0019), (STILL, 0.002), (words, 0.001)])
    assert found.likely == "moving-exposure"
    assert found.cause is not None
    assert "6.0 px along the scan" in found.cause


@pytest.fixture(scope="module")
def few_photons() -> Scan:
    return simulate(object="leaves", N=32, patterns=64, step_px=3, photons=1e4, seed=5)


@pytest.mark.parametrize("length", [0.0, LENGTH])
def test_a_residual_like_that_of_noise_hides_no_way(few_photons: Scan, length: float) -> None:
    """What is left of the washed out fringes is less than a tenth of the noise."""
    given = few_photons if length == 0 else on_the_fly(few_photons, length)
    found = refine(replace(given, object=None), None, RefineConfig(passes=10), backend="numpy")
    fit = found.fit
    assert fit is not None
    assert fit.excess < 0.1 * fit.expected
    assert (washed_out(given, found) is not None) is (length > 0)
    named = fit.verdict, fit.likely
    assert named == (("doubtful", "moving-exposure") if length else ("good", None))


def test_ways_must_belong_to_the_patterns() -> None:
    with pytest.raises(InputError, match=r"shape \(4, 2\)"):
        restored({"moving-exposure": np.zeros((3, 2))}, 4, 8)


def test_a_network_that_follows_no_noise_shows_a_way_that_fits_from_nothing_hide() -> None:
    still = simulate(object="siemens", N=32, patterns=100, step_px=3.2, photons=3e3, seed=3000)
    for length in (0.0, 4.0):
        scan = replace(still, object=None) if length == 0 else on_the_fly(still, length)
        found = reconstruct(scan, backend="numpy", refine="never")
        assert found.fit is not None
        named = found.fit.verdict, found.fit.likely
        assert named == (("doubtful", "moving-exposure") if length else ("good", None))
