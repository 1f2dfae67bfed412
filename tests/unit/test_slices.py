"""A thick sample: its numbers, its file, what else it goes with, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.base import LATER
from ptychopinn.cli.results import typed_advice
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.evaluation.prediction import predict, predict_patterns
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.axes import ScanAxes, affine_between
from ptychopinn.physics.effects import restored
from ptychopinn.physics.propagators import HC
from ptychopinn.physics.slices import Slices
from ptychopinn.simulation import simulate, true_slices
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver, _Iterations
from ptychopinn.solvers.stages import CALMER, STAGES
from ptychopinn.workflows.slicing import found_spacing
from ptychopinn.workflows.thick_sample import found_thickness

SPACING = 8e-6
LIMIT = 512 << 20


def made(**options: Any) -> Scan:
    known = {"object": "leaves", "N": 32, "patterns": 100, "photons": 1e6, "seed": 4}
    return simulate(**{**known, **options})


@pytest.fixture(scope="module")
def scan() -> Scan:
    return made(slices=2, slice_spacing_m=SPACING)


def refined(scan: Scan, start: Reconstruction | None = None, **options: Any) -> Reconstruction:
    given = {"slices": 2, "slice_spacing_m": SPACING, "passes": 12, **options}
    config = pp.RefineConfig(**{name: value for name, value in given.items() if value is not None})
    return pp.refine(scan, start, config, backend="numpy", no_mend="all")


@pytest.fixture(scope="module")
def found(scan: Scan) -> Reconstruction:
    return refined(scan)


def test_a_simulated_object_is_the_product_of_its_slices(scan: Scan) -> None:
    slices = true_slices(scan)
    assert len(slices) == 2
    assert np.array_equal(slices.prod(axis=0), np.asarray(scan.object))
    thin = made()
    assert np.array_equal(slices[0], np.asarray(thin.object))
    assert np.array_equal(true_slices(thin)[0], np.asarray(thin.object))
    with pytest.raises(InputError, match="simulated"):
        true_slices(replace(scan, provenance={}))


def test_the_true_slices_leave_photon_noise(scan: Scan) -> None:
    wavelength = HC / 8000.0
    truth = Reconstruction(
        object=np.asarray(scan.object),
        slices=true_slices(scan),
        effects={"slices": Slices.of(2, SPACING, 1e-8, wavelength).values},
        origin_px=np.zeros(2),
        weight=np.ones(np.shape(scan.object)),
        probe=scan.probe,
        positions_px=scan.positions_px,
    )
    fit = misfit(truth, scan)
    assert fit.residual == pytest.approx(fit.expected, rel=0.1)
    thin = misfit(replace(truth, slices=None, effects={}), scan)
    assert thin.residual > 20 * fit.residual
    # Slices stay where others of beam and detector are not known.
    (part, patterns), *_ = predict(truth, scan.positions_px)
    assert np.allclose(patterns, predict_patterns(truth)[part])


def test_the_file_of_a_result_keeps_them(tmp_path: Path, scan: Scan, found: Reconstruction) -> None:
    again = pp.load_reconstruction(found.save(tmp_path))
    assert found.slices is not None
    assert np.array_equal(np.asarray(again.slices), found.slices)
    assert again.effects["slices"].tolist() == found.effects["slices"].tolist()
    assert found.fit is not None
    assert misfit(again, scan).residual == pytest.approx(found.fit.residual, rel=1e-3)
    cut = found.crop()
    assert cut.slices is not None
    assert cut.slices.shape == (2, *cut.object.shape)


def test_the_last_slice_may_be_followed_by_free_space() -> None:
    """The near field behind a thick sample."""
    options = {"propagator": "near-field", "slices": 2, "slice_spacing_m": 1e-3, "photons": 1e7}
    scan = made(**options, object="lines", patterns=64)
    thick, thin = refined(scan, slice_spacing_m=1e-3), refined(scan, slices=1, slice_spacing_m=None)
    assert thick.fit is not None
    assert thin.fit is not None
    assert thick.fit.residual < 0.5 * thin.fit.residual


def test_a_probe_a_beam_and_eigenprobes_are_followed_beside(scan: Scan) -> None:
    rng = np.random.default_rng(0)
    factors = 1 + 0.2 * np.sin(np.arange(scan.M) / 5)
    drawn = rng.poisson(np.asarray(scan.diffraction) * factors[:, None, None])
    changed = replace(scan, diffraction=drawn.astype(np.uint32))
    wrong = replace(changed, probe=0.9 * np.roll(scan.probe, 1, axis=1))
    # Iterations with a free probe lower the misfit as far as with the right one, or nearly.
    found = refined(wrong, passes=40, refine_probe=True)
    given = refined(changed, passes=40)
    assert found.fit is not None
    assert given.fit is not None
    assert found.fit.residual < 2 * given.fit.residual
    assert "beam-current" in found.effects
    some = refined(scan, eigenprobes=1, passes=4)
    assert some.slices is not None


def test_an_exposure_like_it_is_a_truth_too() -> None:
    scan = made(slices=2, slice_spacing_m=SPACING, photons=1e4, patterns=64)
    found = refined(scan, passes=30)
    assert found.fit is not None
    assert found.fit.verdict == "good"
    other = np.random.default_rng(1).poisson(np.asarray(scan.diffraction)).astype(np.uint32)
    scores = pp.evaluate(found, truth=replace(scan, diffraction=other))
    assert scores.metrics == pp.evaluate(found, truth=scan).metrics


@pytest.fixture(scope="module")
def dense() -> Scan:
    return made(slices=2, slice_spacing_m=SPACING, patterns=64, step_px=2.5)


def left_of(found: Reconstruction, scan: Scan) -> float:
    """The errors of the positions of a result (rms, px), but for a shift of all."""
    left = found.positions_px - scan.positions_px
    return float(np.sqrt(((left - left.mean(axis=0)) ** 2).sum(axis=1).mean()))


def test_positions_are_refined_with_the_slices(dense: Scan) -> None:
    """Errors of up to 1.5 px along each axis."""
    errors = np.random.default_rng(3).uniform(-1.5, 1.5, (dense.M, 2))
    off = replace(dense, positions_px=dense.positions_px + errors, object=None)
    found = refined(off, passes=60, refine_positions=True)
    assert found.slices is not None
    assert found.fit is not None
    assert left_of(found, dense) < 0.2
    assert found.fit.residual < 1.3 * found.fit.expected
    assert found.position_sigma_px is not None
    assert 0 < np.median(found.position_sigma_px) < 0.05


def test_axes_of_all_positions_are_refined_with_the_slices(dense: Scan) -> None:
    wrong = ScanAxes(rotation_deg=3.0, scale_y=0.03)
    off = replace(dense, positions_px=wrong.applied(dense.positions_px), object=None)
    found = refined(off, passes=60, refine_positions=True)
    axes = ScanAxes.of(affine_between(found.positions_px, off.positions_px))
    assert axes.rotation_deg == pytest.approx(3.0, abs=0.8)
    shift = off.positions_px - dense.positions_px
    assert left_of(found, dense) < 0.5 * np.sqrt((shift**2).sum(axis=1).mean())


def test_the_verdict_names_a_thick_sample() -> None:
    """Where patterns that were left out of a trial gain clearly, and nothing else explains them."""
    thick = made(slices=2, slice_spacing_m=SPACING, step_px=2.5)
    found = pp.refine(
        replace(thick, object=None), None, pp.RefineConfig(passes=25), backend="numpy",
        no_mend=[*LATER, "scan-axes", "twin", "moving-exposure"],
    )  # fmt: skip
    assert found.fit is not None
    assert found.fit.likely == "thick-sample"
    assert "slices=2" in str(found.fit.cause)
    assert "--slices 2 --passes 100" in typed_advice(found.fit.likely, found.fit.cause)
    assert found.fit.alternatives[-1][1] < 0.5 * found.fit.alternatives[-2][1]


@pytest.mark.parametrize("thick", [True, False])
def test_few_patterns_tell_it_too(thick: bool) -> None:
    known = {"patterns": 49, "step_px": 3.0, "pixel_size_m": 1e-8, "energy_eV": 8000.0}
    slices = {"slices": 2, "slice_spacing_m": SPACING} if thick else {}
    found = found_thickness(NumpyOps(), replace(made(**known, **slices), object=None))
    assert (found is not None) == thick


def test_a_thin_sample_with_another_fault_is_not_called_thick() -> None:
    known = {"step_px": 3.0, "pixel_size_m": 1e-8, "energy_eV": 8000.0, "distance_m": 1.0}
    for fault in ({"point_spread_px": 0.7}, {"background": 50.0}):
        thin = made(**known, **fault)
        assert found_thickness(NumpyOps(), replace(thin, object=None)) is None
    # Nor is it looked for where the scan does not say what it would follow from.
    unknown = made(slices=2, slice_spacing_m=SPACING, step_px=2.5)
    for missing in ({"pixel_size_m": None}, {"energy_eV": None}):
        assert found_thickness(NumpyOps(), replace(unknown, **missing)) is None


def test_one_slice_is_the_plain_path() -> None:
    scan = made()
    one = refined(scan, slices=1, slice_spacing_m=None)
    plain = refined(scan, slices=None, slice_spacing_m=None)
    assert np.array_equal(one.object, plain.object)
    assert one.slices is None
    assert "slices" not in one.effects


def test_another_number_of_slices_begins_anew(scan: Scan, found: Reconstruction) -> None:
    thin = refined(scan, found, slices=1, slice_spacing_m=None, passes=1)
    assert thin.slices is None
    three = refined(scan, found, slices=3, slice_spacing_m=SPACING / 2, passes=1)
    assert three.slices is not None
    assert len(three.slices) == 3


def test_the_spacing_is_found_or_asked_for(scan: Scan) -> None:
    xp, wavelength = NumpyOps(), 1.55e-10
    spacing = found_spacing(xp, prepare(scan), 2, 1e-8, wavelength)
    assert spacing == pytest.approx(SPACING, rel=0.15)
    with pytest.raises(InputError, match="slice_spacing_m"):
        found_spacing(xp, prepare(made()), 2, 1e-8, wavelength)


@pytest.mark.parametrize(("spacing", "unsure"), [(4e-6, True), (8e-6, False)])
def test_a_blur_that_hardly_shows_is_said(spacing: float, unsure: bool) -> None:
    words = Slices.of(2, spacing, 1e-8, 1.55e-10).in_words(1e5)
    assert words is not None and ("up to a third too large" in words) is unsure


def test_slices_that_are_carried_away_stop(scan: Scan) -> None:
    thick = Slices.of(2, SPACING, 1e-8, 1.55e-10)
    solver = PhysicsSolver(NumpyOps(), PhysicsConfig(), LIMIT, effects=(thick,))
    state = _Iterations(solver, prepare(scan), None)
    state.update(0, state.shared(STAGES[0], []), decide=False)
    assert np.abs(state.state.velocity).max() > 0
    before = state.shared(STAGES[2], [0.1] * 10)
    after = state.shared(STAGES[2], [0.1] * 10 + [0.2])
    assert after.step == pytest.approx(before.step / CALMER)
    assert np.abs(state.state.velocity).max() == 0


def test_electrons_have_a_wavelength_of_their_own(scan: Scan) -> None:
    unknown = replace(scan, energy_eV=None)
    with pytest.raises(InputError, match="without photon energy"):
        refined(unknown)
    with pytest.raises(InputError, match=r"without pixel size; write it with them\.$"):
        refined(replace(scan, pixel_size_m=None), wavelength_m=2e-12)
    found = refined(unknown, wavelength_m=1.55e-10, passes=1)
    assert found.effects["slices"][3] == 1.55e-10


@pytest.mark.parametrize(
    "options",
    [
        {"slices": 2},
        {"slice_spacing_m": 1e-6},
        {"slices": 9, "slice_spacing_m": 1e-6},
        {"slices": 2, "slice_spacing_m": 0.0},
        {"slices": 2, "slice_spacing_m": 1e-6, "object": "file", "object_file": "a.npy"},
    ],
)
def test_simulations_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"slice"):
        made(**options)


def test_slices_must_belong_to_their_numbers(found: Reconstruction) -> None:
    assert found.slices is not None
    for wrong in ({"slices": None}, {"slices": found.slices[:1]}, {"effects": {}}):
        with pytest.raises(InputError, match="slices"):
            replace(found, **wrong)
    for values in ([2.0, -1.0, 1.0, 1.0], [2.5, 1.0, 1.0, 1.0], [20.0, 1.0, 1.0, 1.0], [1.0]):
        with pytest.raises(InputError, match="slices"):
            restored({"slices": np.array(values)}, 4, 8)
