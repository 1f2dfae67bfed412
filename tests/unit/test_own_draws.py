"""Patterns of few photons that are washed out behind a network which has followed their noise."""

from __future__ import annotations

from dataclasses import replace

import pytest

import ptychopinn as pp
from moving_scans import on_the_fly
from ptychopinn.workflows import alternatives

LENGTH = 8.0


@pytest.fixture(scope="module")
def expected() -> pp.Scan:
    return pp.simulate(
        object="lines", N=64, patterns=81, step_px=6.4, photons=1e4, seed=1, poisson=False
    )


def test_patterns_of_a_sample_at_rest_are_like_draws_from_the_result(expected: pp.Scan) -> None:
    found = pp.reconstruct(on_the_fly(expected, 0.0), backend="numpy", refine="never")
    assert found.fit is not None
    assert (found.fit.verdict, found.fit.likely) == ("good", None)


def test_a_way_that_noise_hides_is_told_by_draws_from_the_result(expected: pp.Scan) -> None:
    scan = on_the_fly(expected, LENGTH)
    found = pp.reconstruct(scan, backend="numpy", refine="never")
    fit = found.fit
    assert fit is not None and fit.cause is not None
    assert abs(fit.excess) < 0.1 * fit.expected
    assert (fit.verdict, fit.likely) == ("doubtful", "washed-out")
    assert "washed out along" in fit.cause
    # A later look says the same.
    assert pp.misfit(found, scan).likely == "washed-out"


def test_it_is_not_looked_for_when_that_is_switched_off(
    expected: pp.Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alternatives, "washed_beyond_draws", None)  # calling it would fail
    off = ("moving-exposure",)
    scan = on_the_fly(expected, LENGTH)
    fit = pp.reconstruct(scan, backend="numpy", refine="never", no_mend=off).fit
    assert fit is not None and fit.verdict == "good"


def test_draws_of_fewer_photons_than_tell_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three clean scans in sixty they differed by 5 to 9 standard deviations."""
    monkeypatch.setattr(alternatives, "washed_beyond_draws", None)  # calling it would fail
    scan = pp.simulate(object="leaves", N=32, patterns=81, step_px=3.2, photons=100, seed=1)
    fit = pp.reconstruct(replace(scan, object=None), backend="numpy", refine="never").fit
    assert fit is not None and fit.verdict == "good" and fit.expected > alternatives.DRAWS_TELL
