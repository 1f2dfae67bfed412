"""The effects of beam, sample and detector that patterns which were left out choose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oracle.forward import intensities
from ptychopinn.checks.base import ALTERNATIVES, LATER
from ptychopinn.cli import scans
from ptychopinn.config import RefineConfig
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.data.trials import EffectTrial, recorded_trials
from ptychopinn.errors import InputError
from ptychopinn.ops.selector import choose, get_ops
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.varying_probe import VaryingProbe
from ptychopinn.simulation import simulate
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.left_out import covered, gain_of, misfits
from ptychopinn.workflows.model_terms import MOST_MODES, Number, terms_of, with_model
from ptychopinn.workflows.refinement import refine
from ptychopinn.workflows.verbs import reconstruct


@pytest.fixture(scope="module")
def ideal() -> Scan:
    return simulate(object="leaves", N=32, patterns=121, step_px=3, photons=1e6, seed=3)


def noisy(scan: Scan, expected: Any) -> Scan:
    drawn = np.random.default_rng(0).poisson(expected).astype(np.uint32)
    return replace(scan, diffraction=drawn, object=None)


def counts(scan: Scan) -> Any:
    obj = np.asarray(scan.object)
    return intensities(obj, scan.probe, scan.positions_px, np.zeros(2, np.int64))


@pytest.mark.parametrize(
    ("backend", "decided"),
    [("pytorch", {}), ("tensorflow", {"beam_current": False, "point_spread": False})],
)
def test_a_background_is_chosen(ideal: Scan, backend: Any, decided: dict[str, bool]) -> None:
    expected = counts(ideal)
    scan = noisy(ideal, expected + 0.3 * expected.mean())
    config = RefineConfig(passes=25, refine_probe=False, slices=1, **decided)
    result = refine(scan, None, config, model="auto", backend=backend, no_mend="all")
    kept = [trial.effect for trial in result.effects_tried if trial.kept]
    assert kept == ["background"] and list(result.effects) == ["background"]
    record = result.provenance["effects_model"]
    assert record["chosen"] == "far-field+background" and record["asked"] == "auto"
    (trial,) = (t for t in result.effects_tried if t.kept)
    assert trial.gain is not None and trial.error is not None and trial.gain > 0.5
    assert result.seconds["effects"] > 0 and result.seconds["first refinement"] > 0
    tried = {t.effect for t in result.effects_tried}
    assert tried >= {"background", "fly"}
    assert ("point-spread" in tried) is ("point_spread" not in decided)


def test_an_ideal_scan_costs_nothing(ideal: Scan) -> None:
    config = RefineConfig(passes=25)
    scan = replace(ideal, object=None)
    plain = refine(scan, None, config, no_mend="all")
    auto = refine(scan, None, config, model="auto", no_mend="all")
    assert np.array_equal(plain.object, auto.object)
    assert auto.effects_tried == ()
    assert auto.provenance["effects_model"]["chosen"] == "far-field"


def test_options_decide_before_patterns_do(ideal: Scan) -> None:
    """An effect whose option is given is not tried."""
    expected = counts(ideal)
    scan = noisy(ideal, expected + 0.3 * expected.mean())
    off = {"background": False, "refine_probe": False, "beam_current": False, "slices": 1}
    config = RefineConfig(passes=10, **off)
    left_out = ["moving-exposure", ALTERNATIVES, *LATER]
    result = refine(scan, None, config, model="auto", no_mend=left_out)
    names = {trial.effect.partition(":")[0] for trial in result.effects_tried}
    assert "background" not in result.effects and names
    assert not names & {"background", "beam-current", "probe", "modes", "opr", "fly"}


def test_terms_are_options(ideal: Scan) -> None:
    config, modes = with_model(
        "far-field+background+opr:3+slices:2+fly:5:y+point-spread", ideal, None, None
    )
    assert modes is None
    assert config.model_dump(
        include={
            "background", "beam_current", "eigenprobes", "refine_probe", "slices", "exposure_px",
            "exposure_along", "point_spread",
        }
    ) == {
        "background": True, "beam_current": False, "eigenprobes": 3, "refine_probe": True,
        "slices": 2, "exposure_px": 5.0, "exposure_along": "y", "point_spread": True,
    }  # fmt: skip
    given = RefineConfig(passes=7)
    config, modes = with_model("beam-current+modes:4", ideal, given, None)
    assert (config.passes, config.beam_current, modes) == (7, True, 4)  # type: ignore[attr-defined]
    # As many passes as the terms take, unless they are said.
    for model, passes in (("opr:3", 60), ("probe+slices:2", 100), ("background", 40)):
        for known in (None, RefineConfig(passes=7)):
            config, _ = with_model(model, ideal, known, None)
            assert config.passes == (passes if known is None else 7)
    config, _ = with_model("point-spread:0.7", ideal, None, None)
    assert config.point_spread_px == 0.7 and not config.point_spread  # type: ignore[attr-defined]


def test_what_a_result_knows_is_part_of_its_model(ideal: Scan) -> None:
    expected = counts(ideal)
    scan = noisy(ideal, expected + 0.3 * expected.mean())
    model = "background+fly:3:y+modes:2"
    first = refine(scan, None, RefineConfig(passes=5), model=model, no_mend="all")
    assert sorted(terms_of(first)) == ["background", "fly:3.0", "modes:2"]


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("near-field+background", {}, "model must be that of the scan"),
        ("far-field+fog", {}, "a term of a model must be one of auto, far-field"),
        ("OPR:3", {}, "received 'OPR:3' .did you mean opr."),
        ("far-field+", {}, "on both sides of each .+, received 'far-field.'"),
        ("background++probe", {}, "on both sides of each .+"),
        ("background+background", {}, "each term once, received background twice"),
        ("opr:2+ opr :3", {}, "each term once, received opr twice"),
        ("far-field+near-field", {}, "far-field and near-field cannot be in one model"),
        ("far-field:1", {}, "the term far-field of a model is written far-field, received"),
        ("background:3", {}, "the term background of a model is written background, received"),
        ("fly", {}, "written fly:PIXELS"),
        ("fly:far", {}, "written fly:PIXELS"),
        ("fly:0", {}, "PIXELS is a number above 0 up to 100, received 'fly:0'"),
        ("fly:-2", {}, "the term fly .* received 'fly:-2'"),
        ("fly:nan", {}, "the term fly .* received 'fly:nan'"),
        ("fly:1e9", {}, "the term fly .* received 'fly:1e9'"),
        ("fly:3:z", {}, "fly:PIXELS:y.x.scan, .* received 'fly:3:z'"),
        ("fly:3:y:2", {}, "the term fly .* received 'fly:3:y:2'"),
        ("opr:2.5", {}, "written opr:K"),
        ("opr:0", {}, "opr:K, where K is a whole number from 1 to 20, received 'opr:0'; correct"),
        ("opr:1_0", {}, "written opr:K"),
        ("opr:", {}, "written opr:K"),
        ("opr:-1", {}, "the term opr of a model is written opr:K"),
        ("slices:99", {}, "K is a whole number from 1 to 8, received 'slices:99'"),
        ("modes:0", {}, "K is auto or a whole number from 1 to 32, received 'modes:0'"),
        ("modes:99", {}, "the term modes .* received 'modes:99'"),
        ("point-spread:9", {}, "PIXELS is a number above 0 up to 5, received 'point-spread:9'"),
        ("opr:2+modes:3", {}, "opr and modes cannot be in one model, .* one mode"),
        ("auto+background", {}, "stands alone"),
        ("", {}, "auto or terms"),
        (3, {}, "auto or terms"),
        ("background", {"background": False}, "the option background"),
        ("opr:2", {"refine_probe": False}, "the option refine_probe"),
        ("background", {"engine": "ptychi"}, "engine physics"),
        ("auto", {"engine": "ptychi"}, "engine physics"),
    ],
)
def test_models_that_cannot_be(ideal: Scan, model: Any, options: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        refine(ideal, None, RefineConfig(**options), model=model, no_mend="all")
    sentence = str(refused.value)
    # In the words of the model, not of the options that it stands for.
    asked = set(options) - {"engine"}
    for option in ("eigenprobes", "exposure", "point_spread", "refine_probe"):
        own = option in asked or (option == "eigenprobes" and "modes" in str(model))
        assert own or option not in sentence
    assert "not valid" not in sentence


def test_terms_may_have_spaces_and_plain_numbers(ideal: Scan) -> None:
    config, _ = with_model(" far-field + opr : 3 +fly: 2.5 :y", ideal, None, None)
    assert (config.eigenprobes, config.exposure_px, config.exposure_along) == (  # type: ignore[attr-defined]
        3, 2.5, "y",
    )  # fmt: skip
    config, modes = with_model("modes:auto", ideal, None, None)
    assert modes == "auto"
    assert (Number("K", "modes", auto=True).words, MOST_MODES) == (
        "K is auto or a whole number from 1 to 32", scans.MOST_MODES,
    )  # fmt: skip


def test_modes_are_said_once(ideal: Scan) -> None:
    for model in ("auto", "modes:2"):
        with pytest.raises(InputError, match="modes"):
            refine(ideal, modes="auto", model=model, no_mend="all")


def test_reconstruct_takes_a_model(ideal: Scan) -> None:
    scan = replace(ideal, object=None)
    found = reconstruct(scan, refine_model="background", no_mend="all")
    assert found.provenance["effects_model"]["asked"] == "background"
    assert found.provenance["stages"][-1]["stage"] == "refinement"
    with pytest.raises(InputError, match="refine 'never'"):
        reconstruct(scan, refine="never", refine_model="auto")


def test_patterns_that_are_left_out_are_covered(ideal: Scan) -> None:
    positions = ideal.positions_px
    left = covered(positions, 20, np.random.default_rng(0))
    assert len(left) == 20
    between = np.linalg.norm(positions[left][:, None] - positions[left][None], axis=-1)
    assert between[~np.eye(20, dtype=bool)].min() > 3
    others = np.delete(positions, left, axis=0)
    reach = np.linalg.norm(positions[left][:, None] - others[None], axis=-1)
    assert (np.sort(reach, axis=1)[:, 3] < 7).all()
    assert np.array_equal(left, covered(positions, 20, np.random.default_rng(0)))


def test_a_gain_must_be_clear_and_worth_it() -> None:
    rng = np.random.default_rng(0)
    before = 0.01 * (1 + 0.1 * rng.random(24))
    assert gain_of(before, 0.8 * before, 0.005).kept
    assert not gain_of(before, 0.97 * before, 0.0099, of_noise=0.05).kept
    assert not gain_of(before, before * rng.choice([0.5, 2.0], 24), 0.005).kept


def test_effects_elsewhere() -> None:
    """The probe of a pattern that was left out lies between those of its neighbours in time."""
    fields = np.zeros((1, 8, 8), complex)
    fields[0, 4, 4] = 1
    known = np.array([0, 1, 3, 4])
    varying = VaryingProbe.of(np.array([[0.0], [1.0], [3.0], [4.0]]), fields)
    there = varying.elsewhere(known, np.array([2]))
    assert there.coefficients[0, 0] == pytest.approx(2)
    assert there.eigenprobes == pytest.approx(fields)
    none = VaryingProbe.none(np.zeros((4, 2)), 8).elsewhere(known, np.array([2]))
    assert not none.changes
    beam = BeamCurrent(np.array([0.9, 1.1, 1.0, 1.0])).elsewhere(known, np.array([2]))
    assert beam.values == pytest.approx([1.0])


def test_a_record_of_trials_may_hold_anything() -> None:
    tried = EffectTrial("opr:4", 0.1, 0.02, True)
    record = {"effects_model": {"tried": [tried.as_json(), 3, {"effect": 5, "gain": "x"}]}}
    assert recorded_trials(record) == (tried, EffectTrial("5", None, None, False))
    for strange in ({}, {"effects_model": 3}, {"effects_model": {"tried": {}}}):
        assert recorded_trials(strange) == ()
    assert tried.in_words == "kept, patterns that were left out gain 10.0 % +- 2.0 %"


def test_wrong_positions_are_no_effect(ideal: Scan) -> None:
    """A wrong effect follows the patterns that it sees, not those that it does not."""
    errors = np.random.default_rng(1).normal(scale=0.7, size=ideal.positions_px.shape)
    scan = replace(ideal, positions_px=ideal.positions_px + errors, object=None)
    config = RefineConfig(passes=20, slices=1)
    result = refine(scan, None, config, model="auto", no_mend=["all", "moving-exposure"])
    assert result.effects_tried and not any(t.kept for t in result.effects_tried)
    assert not result.effects and result.fit is not None


def test_patterns_on_few_places_are_not_left_out(
    ideal: Scan, caplog: pytest.LogCaptureFixture
) -> None:
    positions = ideal.positions_px.copy()
    positions[:] = positions[60]
    scan = replace(ideal, positions_px=positions, object=None)
    config = RefineConfig(passes=3)
    result = refine(scan, None, config, model="auto", no_mend="all")
    assert result.effects_tried == ()
    assert "no effect is tried" in caplog.text


@pytest.mark.parametrize("backend", ["pytorch", "tensorflow", "numpy"])
def test_misfits_in_the_near_field(backend: Any) -> None:
    scan = simulate(object="leaves", N=32, patterns=16, photons=1e6, propagator="near-field")
    prepared = prepare(scan)
    xp = get_ops(*choose(backend, None))
    with xp.running():
        solved = PhysicsSolver(xp, PhysicsConfig(passes=3), 1 << 28).solve(prepared)
    found = misfits(xp, prepared, np.array([3, 7]), (), solved)
    assert (found < 10 * solved.canvas.losses[-1]).all()
