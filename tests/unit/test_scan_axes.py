"""Scan axes that are turned, scaled or sheared against the detector, and positions wrong one by
one: found, reported, and left alone where they are right."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.checks.base import LATER
from ptychopinn.config import RefineConfig
from ptychopinn.data.findings import Finding, with_findings
from ptychopinn.data.normalization import prepare
from ptychopinn.physics.axes import ScanAxes, affine_between
from ptychopinn.solvers.affine import Equations, affine_step, warped
from ptychopinn.solvers.positions import least_squares_moves
from ptychopinn.solvers.stages import STAGES, Schedule
from ptychopinn.workflows import scan_axes
from ptychopinn.workflows.scan_axes import corrected_axes

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)
small = st.floats(-0.05, 0.05)


def simulated(**changes: Any) -> pp.Scan:
    """N = 32, 196 patterns, dead leaves."""
    options = {"object": "leaves", "N": 32, "patterns": 196, "photons": 1e6, "step_px": 3.2}
    return pp.simulate(**{**options, "jitter_px": 0.6, "seed": 11, **changes})


def wrong(scan: pp.Scan, axes: ScanAxes, error_px: float = 0.0) -> pp.Scan:
    """The scan with positions on other axes, and random errors on top."""
    errors = np.random.default_rng(5).normal(scale=error_px, size=(scan.M, 2))
    return replace(scan, positions_px=axes.applied(scan.positions_px) + errors, object=None)


def errors_px(found: pp.Reconstruction, true: pp.Scan) -> NDArray[np.float64]:
    """(M, 2) after a shift of everything, which changes no pattern."""
    left = found.positions_px - true.positions_px
    return left - left.mean(axis=0)


def rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values**2).mean()))


def phase_db(found: pp.Reconstruction, true: pp.Scan) -> float:
    scored = pp.evaluate(replace(found, provenance={}), truth=true)
    return scored.metrics["phase_psnr_db"]


@few
@given(st.floats(-40, 40), small, small, small)
def test_axes_are_those_of_their_matrix(angle: float, y: float, x: float, shear: float) -> None:
    axes = ScanAxes(angle, y, x, shear)
    again = ScanAxes.of(axes.matrix)
    np.testing.assert_allclose(
        [again.rotation_deg, again.scale_y, again.scale_x, again.shear],
        [angle, y, x, shear],
        atol=1e-9,
    )


def test_a_positive_rotation_takes_y_towards_x() -> None:
    turned = ScanAxes(rotation_deg=90).applied(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    np.testing.assert_allclose(turned, [[0, 1], [0, -1]], atol=1e-12)


@few
@given(seeds, st.floats(-10, 10), small, small, small)
def test_the_map_between_positions_is_found(
    seed: int, angle: float, y: float, x: float, shear: float
) -> None:
    rng = np.random.default_rng(seed)
    positions, axes = rng.uniform(-80, 80, (20, 2)), ScanAxes(angle, y, x, shear)
    goal = axes.applied(positions) + rng.uniform(-9, 9, 2)
    np.testing.assert_allclose(affine_between(positions, goal), axes.matrix, atol=1e-9)


def test_positions_on_a_line_say_nothing_of_the_other_direction() -> None:
    line = np.stack([np.zeros(9), np.arange(9.0)], axis=1)
    found = affine_between(line, line * 1.02)
    np.testing.assert_allclose(found, [[1, 0], [0, 1.02]], atol=1e-12)


@few
@given(seeds, small, small)
def test_a_warped_canvas_shows_the_object_at_the_mapped_places(
    seed: int, stretch: float, turn: float
) -> None:
    rng = np.random.default_rng(seed)
    ky, kx = rng.uniform(-0.2, 0.2, 2)
    step, centre = np.array([[1 + stretch, -turn], [turn, 1 + stretch]]), np.array([105.0, -35.0])

    def wave(y: Any, x: Any) -> Any:
        return np.exp(1j * (ky * y + kx * x)).astype(np.complex64)

    origin, other = np.array([80, -60]), np.array([78, -61])
    y, x = np.indices((50, 52))
    found = warped(wave(y + 80, x - 60), origin, (54, 53), other, step, centre, 1.0)
    v, u = np.indices((54, 53))
    back = np.linalg.inv(step) @ (np.stack([v + 78, u - 61]).reshape(2, -1) - centre[:, None])
    expected = wave(*(back + centre[:, None])).reshape(54, 53)
    assert np.abs(found - expected)[12:-12, 12:-12].max() < 0.02


def test_a_step_within_its_noise_goes_back_to_given_axes() -> None:
    matrix, total = 1e4 * np.eye(4), np.eye(2) + 1e-3
    quiet = Equations(matrix, np.zeros(4), 0.0)
    np.testing.assert_allclose(affine_step(quiet, total, 1.0) @ total, np.eye(2), atol=1e-12)
    # With the same equations and less noise the map is kept.
    np.testing.assert_allclose(affine_step(quiet, total, 1e-6) @ total, total, atol=2e-6)


def test_axes_are_left_alone_where_noise_outweighs_the_object() -> None:
    noisy = Equations(np.eye(4), np.ones(4), 4.0)
    assert np.array_equal(affine_step(noisy, np.eye(2), 1.0), np.eye(2))
    assert np.array_equal(affine_step(Equations(np.zeros((4, 4)), np.zeros(4), 0.0), np.eye(2), 1),
                          np.eye(2))  # fmt: skip


def test_displacements_that_are_noise_are_taken_back_and_others_are_kept() -> None:
    rng = np.random.default_rng(2)
    matrices, variance = np.broadcast_to(4.0 * np.eye(2), (500, 2, 2)), 0.01
    # Of the least-squares solution, whose equations are half of these.
    noise = np.sqrt(2 * variance / 4) * rng.normal(size=(500, 2))
    moves = least_squares_moves(matrices, np.zeros((500, 2)), noise, variance)
    assert rms(noise + moves) < 0.5 * rms(noise)
    large = rng.normal(size=(500, 2)) + noise
    moves = least_squares_moves(matrices, np.zeros((500, 2)), large, variance)
    assert rms(moves) < 0.01


def test_the_end_waits_for_positions() -> None:
    schedule = Schedule(RefineConfig(passes=50))
    for done in range(50):
        assert schedule.next_stage([1.0] * done, at_rest=False) is not None
    assert schedule.number == len(STAGES) - 1
    assert schedule.next_stage([1.0] * 49, at_rest=True) is None
    assert schedule.next_stage([1.0] * 50, at_rest=False) is None


@pytest.mark.parametrize(
    ("options", "axes", "probe", "fewest_db"),
    [
        ({"scan": "raster"}, ScanAxes(3.0, 0.03, 0.03, 0.01), False, 45),
        (
            {"scan": "fermat", "seed": 3, "step_px": 2.8},
            ScanAxes(-2.5, -0.02, 0.03, -0.01),
            False,
            25,
        ),
        ({"scan": "random", "seed": 4, "step_px": 2.5}, ScanAxes(1.5, -0.03, -0.02), False, 45),
        ({"object": "lines", "seed": 5}, ScanAxes(-3.0, 0.02, -0.02, 0.01), True, 32),
        ({"N": 64, "step_px": 6.2, "patterns": 144}, ScanAxes(-3.0, -0.03, -0.03, 0.01), False, 42),
    ],
)
def test_wrong_axes_are_found(
    options: dict[str, Any], axes: ScanAxes, probe: bool, fewest_db: float
) -> None:
    """A spiral leaves corners of the scored box unseen."""
    true = simulated(**options)
    scan = wrong(true, axes)
    config = RefineConfig(passes=40, refine_positions=True, refine_probe=probe)
    found = pp.refine(scan, None, config)
    before, after = rms(errors_px(found, scan)), rms(errors_px(found, true))
    # With a free probe the scale is hardly told from its focus.
    assert after < (0.15 if probe else 0.05) and before > 0.3
    assert phase_db(found, true) > fewest_db
    said = [f for f in found.findings if f.name == "scan-axes"]
    assert [f.level for f in said] == ["mended"]
    assert said[0].details["rotation_deg"] == pytest.approx(axes.rotation_deg, abs=0.3)
    record = found.provenance["stages"][-1]["scan_axes"]
    assert record == said[0].details


@pytest.mark.parametrize("options", [{}, {"photons": 1e4}, {"scan": "fermat", "photons": 1e5}])
def test_exact_positions_stay_exact(options: dict[str, Any]) -> None:
    """And the object is as good as without a look at them."""
    true = simulated(**options)
    scan = replace(true, object=None)
    still = pp.refine(scan)
    found = pp.refine(scan, None, RefineConfig(refine_positions=True))
    assert not found.findings
    assert rms(errors_px(found, true)) < 0.02
    assert phase_db(found, true) > phase_db(still, true) - 0.1


def test_single_positions_are_found_on_wrong_axes() -> None:
    true = simulated()
    scan = wrong(true, ScanAxes(2.0, 0.02, 0.01), error_px=0.6)
    found = pp.refine(scan, None, RefineConfig(refine_positions=True))
    assert rms(errors_px(found, true)) < 0.06
    assert phase_db(found, true) > 38


def test_a_second_refinement_reports_the_axes_of_the_scan_as_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scan = wrong(simulated(), ScanAxes(2.0))
    config = RefineConfig(passes=15, refine_positions=True)
    first = pp.refine(scan, None, config)
    with caplog.at_level(logging.WARNING):
        second = pp.refine(scan, first, config)
    (said,) = (f for f in second.findings if f.name == "scan-axes")
    assert said.details["rotation_deg"] == pytest.approx(2.0, abs=0.15)
    assert "turned by 1.9" in said.message and said.message in caplog.text


def test_positions_on_a_line_do_not_drift() -> None:
    """Nothing tells of the other direction, nor of a shift."""
    scan = simulated(patterns=64, photons=1e7, step_px=2.0, jitter_px=0.0)
    row = np.flatnonzero(np.abs(scan.positions_px[:, 0] - scan.positions_px[0, 0]) < 0.1)
    assert len(row) == 8
    part = replace(scan.select(row), object=None)
    found = pp.refine(part, None, RefineConfig(passes=15, refine_positions=True), no_mend="all")
    assert np.isfinite(found.object).all()
    assert np.abs(errors_px(found, part)).max() < 0.5


def test_corrections_within_the_scatter_are_not_said() -> None:
    rng = np.random.default_rng(1)
    places = rng.uniform(-40, 40, (150, 2))
    _, said = corrected_axes(places, places + rng.normal(size=(150, 2)))
    assert said is None
    axes, said = corrected_axes(ScanAxes(1.0).applied(places), places)
    assert said is not None and axes.rotation_deg == pytest.approx(1.0)


def test_a_reconstruction_names_turned_axes_and_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    true = simulated(patterns=121)
    with caplog.at_level(logging.WARNING):
        clean = pp.reconstruct(replace(true, object=None))
        assert not clean.findings
        turned = pp.reconstruct(wrong(true, ScanAxes(-1.5)))
    (said,) = turned.findings
    assert (said.name, said.level) == ("scan-axes", "doubt")
    assert said.details["rotation_deg"] == pytest.approx(-1.5, abs=0.15)
    assert "refine_positions" in said.message and said.message in caplog.text
    # Positions are as they were given.
    assert np.array_equal(turned.positions_px, wrong(true, ScanAxes(-1.5)).positions_px)
    assert not pp.reconstruct(wrong(true, ScanAxes(-1.5)), no_mend=("scan-axes",)).findings


@pytest.mark.parametrize(
    ("photons", "axes"),
    [(1e4, ScanAxes(3.0)), (1e4, ScanAxes(0.0, 0.04, -0.02)), (1e6, ScanAxes(-1.0))],
)
def test_weak_axis_errors_make_a_fit_within_the_noise_doubtful(
    photons: float, axes: ScanAxes
) -> None:
    true = simulated(photons=photons, patterns=121)
    config = RefineConfig(passes=15)
    found = pp.refine(wrong(true, axes), None, config, backend="numpy")
    assert found.fit is not None and found.fit.residual < 1.5 * found.fit.expected
    assert (found.fit.verdict, found.fit.likely) == ("doubtful", "positions")
    (said,) = found.findings
    assert said.details["rotation_deg"] == pytest.approx(axes.rotation_deg, abs=0.4)
    assert said.details["scale_y"] == pytest.approx(axes.scale_y, abs=0.015)
    assert found.fit.cause is not None and "degrees" in found.fit.cause
    # A later look remembers it, and one without trials does not.
    assert pp.misfit(found, wrong(true, axes)).cause == found.fit.cause
    silent = pp.refine(wrong(true, axes), None, config, backend="numpy", no_mend=("alternatives",))
    assert silent.fit is not None and silent.fit.verdict == "good"


@pytest.mark.parametrize("photons", [1e3, 1e4, 1e6, 1e9])
@pytest.mark.parametrize("n", [32, 64])
def test_exact_axes_are_good_after_a_single_pass_of_equations(
    photons: float, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = simulated(photons=photons, N=n, patterns=100, step_px=0.1 * n)
    monkeypatch.setattr(scan_axes, "_believed", None)  # calling it would fail
    found = pp.refine(replace(true, object=None), None, RefineConfig(passes=15), backend="numpy")
    assert found.fit is not None and found.fit.verdict == "good" and not found.findings


def test_refined_positions_are_not_doubted_again() -> None:
    scan = wrong(simulated(patterns=121), ScanAxes(2.0))
    config = RefineConfig(passes=25, refine_positions=True)
    found = pp.refine(scan, None, config, backend="numpy")
    assert [f.level for f in found.findings] == ["mended"]
    assert found.fit is not None and found.fit.verdict == "good"


def test_a_probe_out_of_focus_is_not_taken_for_scaled_axes() -> None:
    true = pp.simulate(object="leaves", patterns=196, photons=1e6, seed=9)
    k = np.fft.fftfreq(true.N)
    field = np.fft.fft2(true.probe) * np.exp(20j * (k[:, None] ** 2 + k**2))
    scan = replace(true, probe=np.fft.ifft2(field).astype(np.complex64), object=None)
    assert not [f for f in pp.reconstruct(scan).findings if f.name == "scan-axes"]


def test_a_probe_found_from_faint_patterns_may_be_out_of_focus(tmp_path: Path) -> None:
    """Its focus looks like scaled axes, which are not blamed then."""
    faint = pp.simulate(
        object="grf", scan="fermat", patterns=200, photons=1e6, seed=1, amplitude=(0.95, 1.0),
        phase=(-0.1, 0.1),
    )  # fmt: skip
    scan = pp.load_scan(pp.save_scan(faint, tmp_path / "scan.h5"), probe="auto")
    result = pp.reconstruct(scan, backend="numpy", no_mend=LATER)  # the geometry is right
    assert result.fit is not None and result.fit.verdict == "good"
    assert [found.level for found in result.findings if found.name == "scan-axes"] == ["note"]


@pytest.mark.parametrize(
    ("name", "degrees", "with_probe", "may_be"),
    [
        ("probe-from-nothing", 0.1, 0.00041, True),
        ("probe-from-nothing", 0.1, 0.00044, False),
        ("probe-from-nothing", 3.0, 0.00041, False),
        ("twin", 0.1, 0.00041, False),
    ],
)
def test_axes_are_not_blamed_where_another_focus_of_a_found_probe_explains_as_much(
    name: str, degrees: float, with_probe: float, may_be: bool
) -> None:
    """Smooth objects: a clean scan asked for axes 3.5 % smaller, whatever its own were."""
    known = [Finding(name, "mended", "it was found")]
    scan = simulated(patterns=64)
    scan = replace(scan, provenance=with_findings(scan.provenance, known))
    axes = ScanAxes(degrees, -0.034, -0.037)
    other = scan_axes._Other(axes, 0.00042, 0.00041, 0.00047, 0.00044, False)
    asked = []

    def trial(**options: Any) -> tuple[float, ScanAxes]:
        asked.append(options)
        return with_probe, ScanAxes()

    assert scan_axes._may_be_focus(trial, scan, other) is may_be
    assert all(one["free_probe"] and not one["free_axes"] for one in asked)


def test_the_noise_of_dark_fringes_is_less_than_that_of_their_mean() -> None:
    scan = replace(simulated(photons=3e3, patterns=64), object=None)
    found = pp.refine(scan, None, RefineConfig(passes=8), backend="numpy", no_mend="all")
    assert found.fit is not None
    chosen = np.arange(16, 48)
    part = prepare(scan.select(chosen))
    noise = scan_axes.noise_of_some(found.fit, part, chosen)
    assert noise == pytest.approx(found.fit.expected, rel=0.1)
    assert noise < 0.98 * part.expected_misfit


@pytest.mark.parametrize(("noise", "believed"), [(0.0069, False), (0.0078, True)])
def test_other_axes_must_take_away_a_fifth_of_what_noise_does_not_explain(
    noise: float, believed: bool
) -> None:
    part = prepare(simulated(photons=1e5, patterns=64))

    def trial(free_probe: bool, free_axes: bool, passes: int = 0) -> tuple[float, ScanAxes]:
        return 0.0078 if free_axes else 0.0080, ScanAxes(1.0)

    assert (scan_axes._believed(trial, part, noise, 0.0) is not None) is believed


@pytest.mark.parametrize("refined", [False, True])
def test_axes_that_a_probe_at_rest_does_not_need_are_not_believed(refined: bool) -> None:
    """A probe that was refined comes to the same with the axes as they are, once it is at rest."""
    part = prepare(simulated(photons=1e5, patterns=64))

    def trial(free_probe: bool, free_axes: bool, passes: int = 0) -> tuple[float, ScanAxes]:
        return 0.0078 if free_axes or passes else 0.0080, ScanAxes(1.0)

    found = scan_axes._believed(trial, part, 0.0078, 0.0, refined)
    assert (found is None) is refined
