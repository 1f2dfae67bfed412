"""A background too weak for the patterns that choose a model is followed with `auto` as without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.evaluation.signs import usual
from ptychopinn.workflows.beyond_probe import TOLD_AFTER, keeps_background


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


def test_what_follows_a_beam_that_is_not_coherent_ends_early(star: Path) -> None:
    """A background of a measured scan that becomes far more than the dark pixels show."""
    made: list[int] = []

    class Counts:
        def epoch(self, number: int, steps: int) -> None: ...

        def step(self, loss: float, patterns_per_s: float) -> None: ...

        def epoch_done(self, number: int, metrics: Any) -> None:
            made.append(number)

    scan = replace(pp.load_scan(star, probe=f"{star}:probeGuess"), object=None)
    config = pp.PhysicsConfig(passes=14, refine_probe=True)
    found = pp.refine(scan, None, config, backend="numpy", no_mend="all", progress=Counts())
    assert "background" not in found.effects
    assert made == [*range(14), *range(TOLD_AFTER)]


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


def test_a_background_is_found_before_the_object_has_made_up_for_it() -> None:
    share, photons = 0.05, 1e7
    scan = pp.simulate(
        object="grf", N=32, patterns=121, step_px=3.5, photons=photons, seed=2,
        background=share * photons / 32**2,
    )  # fmt: skip
    result = pp.refine(replace(scan, object=None), backend="numpy", no_mend="all")
    assert np.isclose(result.effects["background"].mean(), share * photons / 32**2, rtol=0.006)
    assert pp.evaluate(result, truth=scan).metrics["phase_psnr_db"] > 47


def test_factors_of_the_beam_that_made_up_for_a_background_are_found_anew() -> None:
    scan = pp.simulate(
        object="leaves", N=32, patterns=144, step_px=3.5, photons=1e4, seed=4,
        background=0.3 * 1e4 / 32**2,
    )  # fmt: skip
    result = pp.refine(replace(scan, object=None), backend="numpy", no_mend="all")
    assert "background" in result.effects and "beam-current" not in result.effects
    assert pp.evaluate(result, truth=scan).metrics["amplitude_psnr_db"] > 28


@pytest.mark.parametrize(
    ("size", "photons", "kind", "gain_db"), [(32, 1e3, "natural", 0.8), (64, 1e4, "leaves", 2.0)]
)
def test_one_that_a_scan_counts_once_in_a_pixel_is_followed(
    size: int, photons: float, kind: str, gain_db: float
) -> None:
    """0.3 % of the counts, a photon or less in a dark pixel of all patterns together."""
    plain, light = (
        pp.simulate(
            object=kind, N=size, patterns=144, step_px=size / 9, photons=photons, seed=4,
            background=share * photons / size**2,
        )
        for share in (0.0, 0.003)
    )  # fmt: skip
    found = []
    for scan, followed in ((plain, None), (light, None), (light, False)):
        config = pp.PhysicsConfig(background=followed)
        result = pp.refine(replace(scan, object=None), None, config, no_mend="all")
        found.append((pp.evaluate(result, truth=scan).metrics["amplitude_psnr_db"], result.effects))
    (_, clean), (score, effects), (without, _) = found
    assert "background" not in clean
    assert "background" in effects
    assert score > without + gain_db


def test_the_level_of_few_counts_is_their_mean_but_for_hot_pixels() -> None:
    counts = np.random.default_rng(0).poisson(0.3, 1024).astype(np.float64)
    assert np.median(counts) == 0
    assert np.isclose(usual(counts, 0.3), 0.3, atol=0.05)
    counts[[5, 700]] = 1e4
    assert np.isclose(usual(counts, 0.3), 0.3, atol=0.1)
    many = np.arange(101.0)
    assert usual(many, 50.0) == 50
    assert usual(np.zeros(7), 0.0) == 0
