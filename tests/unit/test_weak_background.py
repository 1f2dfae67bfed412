"""A background too weak for the patterns that choose a model is followed with `auto` as without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.workflows.beyond_probe import keeps_background


def test_auto_follows_a_background_that_its_trials_do_not_see() -> None:
    scan = pp.simulate(
        object="leaves", N=32, patterns=121, step_px=3.5, photons=1e5, seed=2, background=1.6
    )
    plain, auto = (
        pp.refine(scan, model=model, backend="numpy", no_mend="all") for model in (None, "auto")
    )
    assert "background" in plain.effects  # else this shows nothing
    assert np.isclose(auto.effects["background"].mean(), 1.6, rtol=0.2)
    assert plain.fit is not None and auto.fit is not None
    assert auto.fit.residual <= plain.fit.residual * 1.02
    record = auto.provenance["effects_model"]
    assert record["chosen"].split("+")[-1] == "background"
    assert record["tried"] or record["untried"]


def test_reconstruct_follows_a_background_that_no_trial_tells() -> None:
    plain, light = (
        pp.simulate(
            object="leaves", N=32, patterns=121, step_px=3.5, photons=1e5, seed=2, background=level
        )
        for level in (0.0, 0.3)
    )
    scans = [replace(scan, object=None) for scan in (plain, light)]
    clean, found = (pp.reconstruct(scan, backend="numpy") for scan in scans)
    network = pp.reconstruct(scans[1], backend="numpy", refine="never", no_mend="all")
    assert network.fit is not None and network.fit.verdict == "good"  # else this shows nothing
    assert not clean.effects
    assert np.isclose(found.effects["background"].mean(), 0.3, rtol=0.2)
    scores = [
        pp.evaluate(result, truth=light).metrics["amplitude_psnr_db"] for result in (network, found)
    ]
    assert scores[1] > scores[0] + 5


def test_a_background_that_no_pattern_needs_is_not_kept() -> None:
    scan = pp.simulate(object="leaves", N=32, patterns=121, step_px=3.5, photons=1e5, seed=2)
    before, after = (
        pp.refine(replace(scan, object=None), None, config, backend="numpy", no_mend="all")
        for config in (None, pp.PhysicsConfig(background=True))
    )
    assert not keeps_background(before, after)


@pytest.mark.parametrize("photons", [3e3, 1e4])
def test_a_background_of_few_photons_leaves_the_object_as_good(photons: float) -> None:
    """The noise of counts in which an object hides stays out of it."""
    plain, light = (
        pp.simulate(
            object="leaves", N=32, patterns=144, step_px=3.5, photons=photons, seed=4,
            background=share * photons / 32**2,
        )
        for share in (0.0, 0.03)
    )  # fmt: skip
    scores = []
    for scan in (plain, light):
        result = pp.refine(replace(scan, object=None), backend="numpy", no_mend="all")
        assert ("background" in result.effects) == (scan is light)
        scores.append(pp.evaluate(result, truth=scan).metrics["amplitude_psnr_db"])
    assert scores[1] > scores[0] - 1


def test_factors_of_the_beam_that_made_up_for_a_background_are_found_anew() -> None:
    scan = pp.simulate(
        object="leaves", N=32, patterns=144, step_px=3.5, photons=1e4, seed=4,
        background=0.3 * 1e4 / 32**2,
    )  # fmt: skip
    result = pp.refine(replace(scan, object=None), backend="numpy", no_mend="all")
    assert "background" in result.effects and "beam-current" not in result.effects
    assert pp.evaluate(result, truth=scan).metrics["amplitude_psnr_db"] > 28
