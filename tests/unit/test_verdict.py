"""Good, doubtful or poor, and why: scans with one fault each, and the numbers alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.causes import CAUSES
from ptychopinn.evaluation.misfit import misfit, recorded_alternatives
from ptychopinn.evaluation.prediction import predict
from ptychopinn.evaluation.signs import Signs, signs_of
from ptychopinn.evaluation.verdict import (
    AS_IT_IS,
    AXES_GIVEN,
    FOLLOWED,
    LIT,
    LONGER,
    MORE_MODES,
    OTHER_AXES,
    POSITIONS_FREE,
    PROBE_FREE,
    SHIFTED,
    SPREAD,
    TURNED,
    TURNED_AS_GIVEN,
    judge,
)
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.axes import ScanAxes
from ptychopinn.workflows.scan_axes import in_words
from ptychopinn.workflows.unfinished import behind, left_by_network, left_by_refinement

N, M = 32, 80


@pytest.fixture(scope="module")
def expected() -> Scan:
    """Expected counts of a scan, not yet drawn."""
    return pp.simulate(
        N=N, patterns=M, object="leaves", photons=2e5, seed=11, step_px=3.0, poisson=False
    )


def drawn(scan: Scan, counts: Any = None, **changes: Any) -> Scan:
    mean = np.asarray(scan.diffraction if counts is None else counts, dtype=np.float64)
    values = np.random.default_rng(5).poisson(mean).astype(np.uint32)
    return replace(scan, diffraction=values, **changes)


def true_result(scan: Scan, obj: Any = None) -> Reconstruction:
    obj = scan.object if obj is None else obj
    return Reconstruction(
        object=obj,
        origin_px=np.zeros(2, dtype=np.int64),
        weight=np.ones(np.shape(obj), dtype=np.float32),
        probe=scan.probe,
        positions_px=scan.positions_px,
        name="result",
    )


def test_a_background_is_no_structure_of_the_object(expected: Scan) -> None:
    """As it is with a sample that hardly shows, and as much light beside it."""
    faint = replace(expected, object=1 + 0.02 * (expected.object - 1))
    counts = np.concatenate([frames for _, frames in predict(true_result(faint))])
    light = float(counts.sum(axis=(1, 2)).mean())
    lit = np.full((N, N), light / N**2)
    alone = misfit(true_result(faint), drawn(expected, counts))
    both = misfit(
        replace(true_result(faint), effects={"background": lit}),
        drawn(expected, counts + lit),
    )
    # Pixels in which other counts are differ by less.
    assert 0 < both.structure < alone.structure < 0.001


def test_the_true_object_is_good(expected: Scan) -> None:
    fit = misfit(true_result(expected), drawn(expected))
    assert (fit.verdict, fit.likely, fit.cause) == ("good", None, None)
    assert fit.summary()["likely"] is None
    assert fit.factors == pytest.approx(np.ones(M), abs=0.02)
    assert np.median(fit.per_pattern / fit.expected_per_pattern) == pytest.approx(1, abs=0.05)


def test_a_beam_that_changes_is_named(expected: Scan) -> None:
    factor = np.random.default_rng(1).uniform(0.7, 1.3, M)
    scan = drawn(expected, expected.diffraction * factor[:, None, None])
    fit = misfit(true_result(expected), scan)
    assert fit.factors == pytest.approx(factor / np.mean(factor), rel=0.1)
    assert (fit.verdict, fit.likely) == ("doubtful", "beam-current")
    assert fit.cause is not None and "%" in fit.cause


def test_a_background_is_named(expected: Scan) -> None:
    level = 0.1 * expected.diffraction.sum() / expected.diffraction.size
    fit = misfit(true_result(expected), drawn(expected, expected.diffraction + level))
    assert fit.verdict != "good" and fit.likely == "background"
    assert signs_of(fit).background == pytest.approx(0.09, abs=0.03)


def test_pixels_are_named(expected: Scan) -> None:
    scan = drawn(expected)
    counts = np.array(scan.diffraction)
    counts[:, 3, 5] = counts[:, 27, 9] = 3000
    fit = misfit(true_result(expected), replace(scan, diffraction=counts))
    assert fit.verdict != "good" and fit.likely == "pixels"
    assert set(signs_of(fit).pixels) == {(3, 5), (27, 9)}
    assert fit.cause is not None and "(3, 5)" in fit.cause and "(27, 9)" in fit.cause


def test_a_bright_patch_that_is_off_by_little_is_no_bad_pixels(expected: Scan) -> None:
    """Its probe, or a curve of the detector, is wrong; that is doubted, and trials may tell."""
    mean = np.asarray(expected.diffraction).mean(axis=0)
    bright = mean >= np.sort(mean, axis=None)[-25]
    fit = misfit(true_result(expected), drawn(expected, expected.diffraction * (1 - 0.2 * bright)))
    signs = signs_of(fit)
    assert len(signs.pixels) > 8 and signs.clump
    assert (fit.verdict, fit.likely) == ("doubtful", "unknown")
    better = judge(signs, [(AS_IT_IS, 0.004), (PROBE_FREE, signs.expected)])
    assert (better.verdict, better.likely) == ("doubtful", "probe")
    dead = drawn(expected, expected.diffraction * ~bright)
    assert not signs_of(misfit(true_result(expected), dead)).clump


@pytest.mark.parametrize("times", [0.1, 3.0])
def test_a_few_patterns_of_another_exposure_are_the_beam(times: float, expected: Scan) -> None:
    """Neither the typical scatter of the factors nor bad patterns tell it."""
    factors = np.where(np.arange(M) % 14 == 5, times, 1.0)
    fit = misfit(
        true_result(expected), drawn(expected, expected.diffraction * factors[:, None, None])
    )
    assert signs_of(fit).uneven_share > 0.9
    assert fit.likely == "beam-current"
    assert fit.cause is not None and "refine the result" in fit.cause
    # One alone does not belong to the others.
    counts = expected.diffraction * np.where(np.arange(M) == 5, times, 1.0)[:, None, None]
    fit = misfit(true_result(expected), drawn(expected, counts))
    assert fit.likely == "patterns"
    assert signs_of(fit).patterns == (5,)


def test_no_pixel_is_quiet_beside_a_bad_fit(expected: Scan) -> None:
    """Where all others leave many times their noise some leave less of it."""
    fit = misfit(true_result(expected), drawn(expected))
    bright = fit.model_mean >= np.sort(fit.model_mean, axis=None)[-9]
    assert signs_of(replace(fit, times_noise=np.where(bright, 3.0, 20.0))).quiet == ()
    assert len(signs_of(replace(fit, times_noise=np.where(bright, 0.1, 20.0))).quiet) == 9


def test_pixels_whose_neighbours_are_off_as_well_are_not_bad(expected: Scan) -> None:
    """A probe that misses modes leaves half of the light in the middle; hot pixels stand alone."""
    y, x = np.indices((N, N)) - N // 2
    bump = np.exp(-(np.hypot(y - 2, x) ** 2) / 50)
    wrong = signs_of(
        misfit(true_result(expected), drawn(expected, expected.diffraction * (1 - 0.5 * bump)))
    )
    assert wrong.pixels and wrong.clump
    counts = np.array(drawn(expected).diffraction)
    counts[:, [3, 14, 20], [5, 18, 9]] += 3000
    hot = signs_of(misfit(true_result(expected), replace(expected, diffraction=counts)))
    assert len(hot.pixels) == 3 and not hot.clump


def test_pixels_without_noise_are_named_where_the_model_has_taken_them_up(expected: Scan) -> None:
    """A free probe makes up for a number that is stuck, and then nothing is left."""
    scan, result = drawn(expected), true_result(expected)
    assert signs_of(misfit(result, scan)).quiet == ()
    counts, model = np.array(scan.diffraction), np.asarray(expected.diffraction)
    order = np.argsort(-model.mean(axis=0), axis=None)[[0, 7, 30]]
    y, x = np.unravel_index(order, (N, N))
    counts[:, y, x] = np.round(model[:, y, x])
    fit = misfit(result, replace(scan, diffraction=counts))
    assert set(signs_of(fit).quiet) == set(zip(y, x, strict=True))
    assert (fit.verdict, fit.likely) == ("doubtful", "pixels")
    assert fit.cause is not None and "vary by far less than photons do" in fit.cause


def test_pixels_of_bounds_are_not_judged_by_their_few_readings(expected: Scan) -> None:
    """A network makes the few readings of a pixel that are none agree by chance, or its probe."""
    scan, result = drawn(expected), true_result(expected)
    model = np.asarray(expected.diffraction)
    order = np.argsort(-model.mean(axis=0), axis=None)[:12]
    y, x = np.unravel_index(order, (N, N))
    limit = np.uint16(np.quantile(scan.diffraction[:, y, x], 0.3))
    counts = np.array(scan.diffraction)
    few = counts[:, y, x] < limit
    counts[:, y, x] = np.where(few, np.round(model[:, y, x]).clip(0, limit - 1), counts[:, y, x])
    cut = replace(scan, diffraction=np.minimum(counts, limit), saturation=float(limit))
    assert few.mean() < 0.35 and len(signs_of(misfit(result, scan)).quiet) == 0
    assert signs_of(misfit(result, cut)).quiet == ()


def test_pixels_that_a_bad_fit_explains_are_not_quiet(expected: Scan) -> None:
    """Where all others leave many times the noise, the noise alone is nothing strange."""
    fit = misfit(true_result(expected), drawn(expected))
    bright = np.zeros((N, N), bool)
    bright[15:18, 15:18] = True
    bad = replace(fit, times_noise=np.where(bright, fit.times_noise, 9 * fit.times_noise))
    assert signs_of(bad).quiet == ()
    stuck = replace(bad, times_noise=np.where(bright, 0.1, bad.times_noise))
    assert len(signs_of(stuck).quiet) == 9


def test_patterns_are_named(expected: Scan) -> None:
    scan = drawn(expected)
    counts = np.array(scan.diffraction)
    counts[[7, 50]] = counts[[50, 7]]
    fit = misfit(true_result(expected), replace(scan, diffraction=counts))
    assert (fit.verdict, fit.likely) == ("doubtful", "patterns")
    assert set(signs_of(fit).patterns) == {7, 50}
    assert fit.cause is not None and "50" in fit.cause


def test_patterns_without_beam_are_named_within_the_noise(expected: Scan) -> None:
    """Their few counts make no excess, and yet the object follows them."""
    weak = replace(expected, diffraction=np.asarray(expected.diffraction) / 20)
    counts = np.array(drawn(weak).diffraction)
    counts[[24, 49]] //= 1000
    fit = misfit(true_result(weak), replace(weak, diffraction=counts))
    assert signs_of(fit).empty == (24, 49)
    assert fit.likely == "patterns" and fit.cause is not None and "hardly any counts" in fit.cause
    assert judge(Signs(0.05, 0.05, 1.0, empty=(24, 49))).verdict == "doubtful"
    # What a sample takes away is explained.
    hidden = replace(fit, factors=np.ones_like(fit.factors))
    assert signs_of(hidden).empty == ()


def test_a_flat_object_blames_geometry_or_probe(expected: Scan) -> None:
    fit = misfit(true_result(expected, np.ones_like(expected.object)), drawn(expected))
    assert (fit.verdict, fit.likely) == ("poor", "geometry-or-probe")


def test_a_model_that_is_worse_than_none_tells_nothing_by_its_shape(expected: Scan) -> None:
    flat = replace(expected, probe=np.full_like(expected.probe, np.abs(expected.probe).max()))
    fit = misfit(true_result(flat), drawn(expected))
    assert fit.residual > 1
    assert (fit.verdict, fit.likely) == ("poor", "geometry-or-probe")


def test_what_was_tried_is_remembered_and_decides(expected: Scan) -> None:
    scan = drawn(expected)
    blurred = expected.object + 0.12 * np.random.default_rng(3).normal(size=expected.object.shape)
    result = true_result(expected, blurred)
    alone = misfit(result, scan)
    assert alone.verdict == "doubtful"
    given, free = alone.residual, alone.expected * 1.05
    tried = [(AS_IT_IS, given), (PROBE_FREE, free), (POSITIONS_FREE, given)]
    fit = misfit(result, scan, tried)
    assert (fit.verdict, fit.likely) == ("doubtful", "probe")
    kept = replace(result, provenance={"fit": fit.summary()})
    assert recorded_alternatives(kept.provenance) == tuple(tried)
    assert misfit(kept, scan).likely == "probe"
    assert misfit(kept, scan, ()).likely == alone.likely


# --- the numbers alone ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("residual", "noise", "explained", "verdict"),
    [
        (1e-4, 1e-7, 0.998, "good"),  # a network at 1e9 photons
        (0.0316, 0.0009, 0.6, "doubtful"),
        (0.0549, 0.005, 0.99, "good"),
        (0.0551, 0.005, 0.99, "poor"),
        (0.01, 0.005, 0.29, "poor"),
        (float("nan"), 0.005, float("nan"), "poor"),
        (0.30, 0.31, float("nan"), "good"),  # 300 photons cannot tell
        (0.34, 0.31, float("nan"), "doubtful"),
        (0.012, 0.0066, 0.905, "doubtful"),  # a measured star, nothing tried
    ],
)
def test_thresholds(residual: float, noise: float, explained: float, verdict: str) -> None:
    assert judge(Signs(residual, noise, explained)).verdict == verdict


def test_faint_structure_is_doubtful_where_it_is_not_explained() -> None:
    weak = pp.simulate(
        N=N, patterns=M, object="leaves", photons=1e9, seed=12, step_px=3.0,
        phase=(-0.1, 0.1), amplitude=(0.9, 1.0),
    )  # fmt: skip
    true = misfit(true_result(weak), weak)
    assert np.isnan(true.explained) and 1e-4 < true.structure < 5e-3
    assert true.verdict == "good"
    flat = misfit(true_result(weak, np.ones_like(weak.object)), weak)
    assert np.isnan(flat.explained) and signs_of(flat).faint == pytest.approx(0, abs=0.05)
    assert flat.verdict == "doubtful" and flat.likely == "geometry-or-probe"


def test_few_photons_are_no_reason_to_doubt() -> None:
    """The share explained, and what a trial gives, are uncertain within the noise."""
    signs = Signs(0.0734, 0.07, 0.75)
    tried = [(AS_IT_IS, 0.05), (PROBE_FREE, 0.03), (POSITIONS_FREE, 0.05)]
    assert judge(signs).verdict == judge(signs, tried).verdict == "good"


def test_a_mean_pattern_that_is_off_is_the_detector() -> None:
    """A refined probe follows hot pixels, so that they no longer stand out by their share."""
    tried = [(AS_IT_IS, 0.00137), (PROBE_FREE, 0.00135), (POSITIONS_FREE, 0.00137)]
    signs = Signs(0.0014, 0.001, 0.98, systematic=0.3, pixels=((3, 4),), pixels_share=0.09)
    assert judge(signs, tried).verdict == "good"
    off = judge(replace(signs, systematic=0.93), tried)
    assert (off.verdict, off.likely) == ("doubtful", "pixels")
    assert judge(replace(signs, systematic=0.93, pixels=()), tried).likely == "unknown"
    # Within the noise of few photons the share means nothing.
    assert judge(replace(signs, residual=0.00105, systematic=2.0)).verdict == "good"


def test_some_patterns_are_named_where_structure_is_faint() -> None:
    signs = Signs(3.8e-4, 3e-7, faint=0.81, patterns=(3, 8), patterns_share=0.8)
    assert judge(signs).likely == "patterns"
    assert judge(replace(signs, residual=6e-7, faint=0.9998)).verdict == "good"


def test_faint_structure_is_seen_where_photons_are_many() -> None:
    """Each pattern at the position of the one before left 29 times the noise and was called good:
    its structure is 0.4 % of the counts, and 16 % of that was missing."""
    told = judge(Signs(6e-4, 2.1e-5, faint=0.84))
    assert (told.verdict, told.likely) == ("doubtful", "unknown")
    assert told.cause is not None and told.cause.startswith("16% of the structure")
    assert judge(Signs(6e-4, 2e-4, faint=0.84)).verdict == "good"
    assert judge(Signs(3.6e-5, 9e-7, faint=0.99)).verdict == "good"


def test_another_orientation_is_named_where_the_residual_is_that_of_noise() -> None:
    signs = Signs(0.30, 0.31)
    tried = [(TURNED_AS_GIVEN, 0.3052), (TURNED + "axes swapped", 0.301)]
    found = judge(signs, tried)
    assert (found.verdict, found.likely) == ("doubtful", "geometry-or-probe")
    assert found.cause is not None and "with axes swapped" in found.cause
    assert judge(signs, tried[:1]).verdict == "good"


def test_systematic_residuals_are_good_when_nothing_else_is_better() -> None:
    star = Signs(0.012, 0.0066, 0.905)
    tried = [(AS_IT_IS, 0.0118), (PROBE_FREE, 0.0112), (POSITIONS_FREE, 0.0116)]
    assert judge(star, tried).verdict == "good"
    turned = judge(star, [*tried, ("the axes swapped", 0.0075)])
    assert (turned.verdict, turned.likely) == ("doubtful", "geometry")
    assert turned.cause is not None and "the axes swapped" in turned.cause
    # A wrong flip explains less than half.
    assert judge(Signs(0.0191, 0.0024, 0.37), tried).verdict == "doubtful"


def test_a_fit_of_few_patterns_that_follows_their_noise_does_not_call_that_of_all_unfinished() -> (
    None
):
    star = Signs(0.00883, 0.00687, 0.962)
    tried = [(AS_IT_IS, 0.00801), (PROBE_FREE, 0.0077), (POSITIONS_FREE, 0.00762)]
    assert judge(star, tried).likely == "unfinished"
    assert judge(star, [*tried, (FOLLOWED, 0.0007)]).verdict == "good"


def test_the_best_alternative_is_the_cause() -> None:
    signs = Signs(0.02, 0.001, 0.8)

    def likely(**left: float) -> Any:
        names = {"probe": PROBE_FREE, "positions": POSITIONS_FREE, "modes": MORE_MODES, "lit": LIT}
        names |= {"spread": SPREAD, "shifted": SHIFTED}
        return judge(signs, [(AS_IT_IS, 0.019), *((names[k], v) for k, v in left.items())]).likely

    assert likely(probe=0.002, positions=0.015) == "probe"
    assert likely(probe=0.012, positions=0.0015) == "positions"
    assert likely(probe=0.018, positions=0.018) == "unknown"
    # More modes always fit a little better.
    assert likely(probe=0.018, positions=0.018, modes=0.003) == "unknown"
    assert likely(probe=0.018, positions=0.018, modes=0.00108) == "modes"
    assert likely(probe=0.0012, positions=0.018, modes=0.00115) == "probe"
    # A free probe makes up for a part of a background.
    assert likely(probe=0.004, positions=0.018, lit=0.0011) == "background"
    # Of a ring of light more than a background of so few numbers does; of no wrong probe that.
    assert likely(probe=0.0043, positions=0.018, lit=0.007) == "background"
    assert likely(probe=0.0043, positions=0.018, lit=0.0125) == "probe"
    assert likely(probe=0.0011, positions=0.018, lit=0.007) == "probe"
    assert likely(probe=0.0011, positions=0.018, spread=0.0012) == "point-spread"
    assert likely(probe=0.0011, positions=0.018, spread=0.002) == "probe"
    # A shift of each pattern makes up for a wrong probe.
    assert likely(probe=0.0029, positions=0.018, shifted=0.0031) == "probe"
    assert judge(signs, [(AS_IT_IS, 0.003), (PROBE_FREE, 0.003)]).likely == "unfinished"


@pytest.mark.parametrize(("refined", "left"), [(True, 0.2), (True, 0.6), (False, 0.2)])
def test_an_object_that_its_refined_probe_has_left_behind_is_not_finished(
    expected: Scan, refined: bool, left: float
) -> None:
    """A few per cent of the structure are missing, which is many times the noise."""
    result = true_result(expected, expected.object + 0.02 * (expected.object - 1))
    fit = misfit(result, replace(expected, diffraction=np.asarray(expected.diffraction) * 100))
    fit = replace(fit, expected=fit.residual / 20, excess=0.95 * fit.residual, explained=0.975)
    tried = [(AS_IT_IS, fit.expected + left * fit.excess), (PROBE_FREE, fit.residual)]
    assert fit.judged(tried).verdict == "good"
    result = replace(result, fit=fit, provenance={"stages": [{"refine_probe": refined}]})
    found = fit.judged([*tried, *behind(NumpyOps(), expected, result, tried)])
    told = refined and left < 0.3
    assert (found.verdict, found.likely) == (("doubtful", "unfinished") if told else ("good", None))


@pytest.mark.parametrize("left", [0.5, 0.7])
def test_a_network_that_was_too_quick_is_not_good(expected: Scan, left: float) -> None:
    """Phases that wrap leave a picture wrong that explains nearly all."""
    result = true_result(expected, expected.object + 0.02 * (expected.object - 1))
    fit = misfit(result, drawn(expected))
    fit = replace(fit, expected=fit.residual / 2, excess=0.5 * fit.residual, explained=0.98)
    tried = [(AS_IT_IS, fit.expected + left * fit.excess), (PROBE_FREE, fit.residual)]
    result = replace(result, fit=fit, provenance={"stages": [{"stage": "network"}]})
    found = fit.judged([*tried, *behind(NumpyOps(), expected, result, tried)])
    told = left <= 0.6
    assert (found.verdict, found.likely) == (("doubtful", "unfinished") if told else ("good", None))


@pytest.mark.parametrize(
    ("explained", "excess", "left"),
    [(0.99, 0.1, True), (0.9985, 60.0, False), (0.98, 0.04, False), (0.9, 1.0, False)],
)
def test_physics_goes_on_where_a_network_explains_nearly(
    expected: Scan, explained: float, excess: float, left: bool
) -> None:
    """Not where it explains as much as of ordinary objects, up to noise, or where it is far off."""
    fit = misfit(true_result(expected), expected)
    fit = replace(fit, explained=explained, excess=excess * fit.expected)
    assert left_by_network(fit) == left


@pytest.mark.parametrize(
    ("explained", "excess", "left"),
    [(0.99, 60.0, True), (0.9995, 60.0, False), (0.98, 0.04, False), (0.9, 1.0, False)],
)
def test_a_refinement_is_asked_where_it_explains_nearly_even_a_faint_structure(
    expected: Scan, explained: float, excess: float, left: bool
) -> None:
    fit = misfit(true_result(expected), expected)
    fit = replace(fit, explained=explained, excess=excess * fit.expected)
    assert left_by_refinement(fit) == left
    faint = replace(fit, structure=fit.excess / (1 - explained), explained=float("nan"))
    assert left_by_refinement(faint) == left


@pytest.mark.parametrize(("passes", "told"), [(12, True), (60, False)])
def test_a_refinement_that_would_still_change_its_object_is_not_finished(
    passes: int, told: bool
) -> None:
    scan = pp.simulate(
        object="siemens", phase=(-1.0, 1.0), seed=69, photons=1e7, patterns=64, N=32, step_px=5.5
    )
    scan = replace(scan, object=None)
    config = pp.RefineConfig(passes=passes)
    result = pp.refine(scan, None, config, backend="numpy", no_mend="all")
    assert result.fit is not None
    result = replace(result, fit=replace(result.fit, explained=0.99))
    assert bool(behind(NumpyOps(), scan, result, [])) == told


def test_bounds_hide_what_a_network_left() -> None:
    """Saturated readings are the bright ones; the others are explained to within their noise."""
    scan = pp.simulate(
        object="leaves", phase=(-3.0, 3.0), seed=5, photons=1e6, patterns=100, N=32, step_px=4.0
    )
    scan = replace(scan, object=None)
    result = pp.reconstruct(scan, refine="never", no_mend="all", backend="numpy")
    assert result.fit is not None
    fit = replace(result.fit, explained=0.99, excess=0.01 * result.fit.expected)
    result = replace(result, fit=fit)
    assert behind(NumpyOps(), scan, result, []) == []
    most = float(np.max(scan.diffraction[:]))
    assert behind(NumpyOps(), replace(scan, saturation=2 * most), result, []) != []


def test_what_was_only_quicker_is_no_cause() -> None:
    signs = Signs(0.0048, 0.00025, 0.84)
    tried = [(AS_IT_IS, 0.00064), (PROBE_FREE, 0.00057), (MORE_MODES, 0.00029)]
    assert judge(signs, tried).likely == "modes"
    assert judge(signs, [*tried, (LONGER, 0.00024)]).likely == "unfinished"
    # A fault is what more passes do not remove.
    assert judge(signs, [*tried, (LONGER, 0.0006)]).likely == "modes"


@pytest.mark.parametrize(("modes", "likely"), [(1, {"unfinished"}), (3, {"probe", "modes"})])
def test_an_unfinished_object_is_no_fault_of_the_probe(modes: int, likely: set[str]) -> None:
    scan = pp.simulate(N=32, patterns=49, photons=1e6, seed=3, modes=modes)
    power = np.sqrt((np.abs(scan.probe) ** 2).sum() / (np.abs(scan.probe[0]) ** 2).sum())
    scan = replace(scan, probe=scan.probe[:1] * np.float32(power), object=None)
    found = pp.refine(scan, None, pp.RefineConfig(passes=4), backend="numpy")
    assert found.fit is not None
    assert found.fit.likely in likely


@pytest.mark.parametrize("name", CAUSES)
def test_every_cause_is_one_sentence(name: Any, numbers: Callable[[], dict[str, Any]]) -> None:
    cause = CAUSES[name]
    text = f"{cause.words.format(**numbers())}; {cause.remedy}."
    assert "--" not in text and "\n" not in text and not text[0].isupper()


@pytest.fixture
def numbers() -> Callable[[], dict[str, Any]]:
    return lambda: {
        "pixels": "(1, 2)", "patterns": "3", "share": 0.5,
        "words": "the axes swapped", "how": "with the positions refined", "better": 0.001,
        "given": 0.01, "missing": 0.2, "explained": 0.1, "number": 60, "before": 0.02,
        "after": 0.3,
    }  # fmt: skip


def test_other_axes_are_said_with_their_numbers_whatever_the_residual() -> None:
    within_noise = Signs(0.0701, 0.07, 0.999)
    axes = in_words(ScanAxes(3.0, 0.04, -0.02))
    assert axes.startswith(OTHER_AXES)
    tried = [(AXES_GIVEN, 0.0712), (axes, 0.0701)]
    told = judge(within_noise, tried)
    assert (told.verdict, told.likely) == ("doubtful", "positions")
    assert told.cause is not None and "3.00 degrees" in told.cause and "4.00 %" in told.cause
    assert "refine_positions" in told.cause and "0.0701, as they are 0.0712" in told.cause
    # Against the other trials they are not weighed: those began from an empty object.
    others = [(AS_IT_IS, 0.080), (PROBE_FREE, 0.079), (POSITIONS_FREE, 0.071)]
    assert judge(within_noise, [*others, *tried]) == told
    assert judge(within_noise, others).verdict == "good"
    # A record of them is kept whole.
    record = {"fit": {"alternatives": [[words, left] for words, left in tried]}}
    assert recorded_alternatives(record) == tuple(tried)


def test_foreign_records_are_no_alternatives() -> None:
    for fit in (None, 3, {"alternatives": "x"}, {"alternatives": [1, ["a"], ["a", "b"]]}):
        assert recorded_alternatives({"fit": fit}) == ()


def test_every_cause_says_what_to_type() -> None:
    from ptychopinn.cli.results import TO_TYPE

    assert set(TO_TYPE) == set(CAUSES)


@pytest.mark.parametrize(("excess", "explained"), [(0.09, 0.68), (0.09, 0.95), (0.03, 0.68)])
def test_little_that_is_explained_is_doubtful_near_noise(excess: float, explained: float) -> None:
    """Of few photons all structure may be less than noise, and a third of it missing."""
    found = judge(Signs(0.075 * (1 + excess), 0.075, explained=explained))
    assert (found.verdict == "doubtful") == ((excess, explained) == (0.09, 0.68))
