"""NumPy, PyTorch and TensorFlow compute the same."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from adapters import Networks, OnOps, Oracle, gradients, need
from numpy.typing import NDArray
from strategies import complex_normal, fresnel, gaussian_probe, small_scan

import ptychopinn as pp
from oracle import forward, groups, losses
from oracle.near_field import FreeSpace
from ptychopinn.config import ModelConfig, RefineConfig
from ptychopinn.data.normalization import prepare
from ptychopinn.networks.build import initial_weights
from ptychopinn.ops.selector import BackendName
from ptychopinn.physics import forward as model
from ptychopinn.physics.groups import group_intensities, reach_of
from ptychopinn.physics.low_frequency import missing_phase
from ptychopinn.physics.slices import Slices
from ptychopinn.solvers.affine import equations_of
from ptychopinn.solvers.descent import (
    Descent,
    advanced,
    advanced_probe,
    batch_misfit,
    missing_rotation,
    object_and_probe_step,
)
from ptychopinn.solvers.position_noise import position_covariance
from ptychopinn.solvers.positions import least_squares_moves, move_systems
from ptychopinn.solvers.problem import scan_problem
from ptychopinn.solvers.unrolled import Unrolled
from ptychopinn.workflows.model import load_model

need("torch")
need("tensorflow")

Array = NDArray[Any]
FRAMEWORKS: tuple[BackendName, ...] = ("numpy", "pytorch", "tensorflow")
MODELS = {
    "unrolled": ModelConfig(architecture="unrolled", iterations=3, width=4, levels=3),
    "cnn 1": ModelConfig(architecture="cnn", N=32, gridsize=1, n_filters_scale=0.1),
    "cnn 2": ModelConfig(architecture="cnn", N=32, gridsize=2, n_filters_scale=0.1),
}


def lively(model: ModelConfig) -> dict[str, NDArray[np.float32]]:
    """Weights of a network none of whose layers is silent."""
    rng = np.random.default_rng(5)
    return {
        name: w + rng.normal(0, 0.05, w.shape).astype(np.float32)
        for name, w in initial_weights(model.describe(), 1).items()
    }


def relative(found: Any, expected: Any) -> float:
    """Largest difference as a share of the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# --- the physics, in the precision that is used ---------------------------------------------------


@pytest.fixture(params=["pytorch", "tensorflow"])
def single(request: pytest.FixtureRequest) -> OnOps:
    return OnOps(request.param, 32)


@pytest.mark.parametrize("n", [32, 64])
def test_forward_model_and_groups_are_within_1e_5_of_the_reference(single: OnOps, n: int) -> None:
    rng = np.random.default_rng(n)
    probe = gaussian_probe(n, n / 8, 2, 0.02)
    positions = rng.uniform(-9, 9, (12, 2)) + 200
    shape, origin = forward.canvas_for(positions, n)
    canvas = 1 + 0.3 * complex_normal(rng, *shape)
    given = (canvas, probe, positions, origin)
    assert relative(single.intensities(*given), forward.intensities(*given)) < 1e-5
    assert relative(single.fields(*given), forward.forward_linear(*given)) < 1e-5
    patches = 1 + 0.3 * complex_normal(rng, 5, 4, n, n)
    offsets = rng.uniform(-4, 4, (5, 4, 2))
    offsets -= offsets.mean(axis=1, keepdims=True)
    weight, reach = groups.merge_weight(probe), 6
    merged = groups.merge(patches, offsets, weight, reach)
    # Where only the rounding errors of the weight are left, single precision cannot say who is
    # meant; no light falls there either.
    seen = np.abs(groups.merge(weight + 0 * patches, offsets, weight, reach)) > 0.1
    found = single.merge(patches, offsets, weight, reach)
    assert seen.mean() > 0.1
    assert relative(found[seen], merged[seen]) < 1e-5
    cut = groups.extract(merged, offsets, n, reach)
    assert relative(single.extract(merged, offsets, n, reach), cut) < 1e-5
    modelled = single.group_intensities(patches, offsets, probe)
    assert relative(modelled, groups.group_intensities(patches, offsets, probe)) < 1e-5


@pytest.mark.parametrize("level", [1.0, 1e3])
def test_losses_are_within_1e_5_of_the_reference(single: OnOps, level: float) -> None:
    rng = np.random.default_rng(0)
    model = rng.gamma(2.0, level, (8, 32, 32)) + 0.1 * level
    counts = rng.poisson(model).astype(float)
    mask = rng.random((32, 32)) < 0.9
    for name in ("poisson_deviance", "amplitude_mae"):
        expected = getattr(losses, name)(model, counts, mask)
        assert getattr(single, name)(model, counts, mask) == pytest.approx(expected, rel=1e-5)
    image, truth = complex_normal(rng, 2, 40, 40)
    assert single.total_variation(image) == pytest.approx(losses.total_variation(image), rel=1e-5)
    expected = losses.realspace_mae(image, truth)
    assert single.realspace_mae(image, truth) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_of_the_loss_is_within_1e_4_of_the_reference(single: OnOps) -> None:
    rng = np.random.default_rng(1)
    probe = gaussian_probe(32, 5.0, 2, 0.02)
    positions = rng.uniform(-9, 9, (12, 2))
    shape, origin = forward.canvas_for(positions, 32)
    canvas = 1 + 0.1 * complex_normal(rng, *shape)
    counts = rng.poisson(100 * forward.intensities(canvas, 10 * probe, positions, origin))
    mask = np.ones((32, 32), bool)
    given = (1.1 * canvas, counts.astype(float), 100 * probe, positions, mask, origin)
    expected = Oracle().deviance_gradient(*given)
    assert relative(single.deviance_gradient(*given), expected) < 1e-4


SPACES = {"far field": None, "near field": fresnel(5.0)}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_derivatives_of_the_physics_agree_in_double_precision(space: FreeSpace | None) -> None:
    """Those of PyTorch agree with finite differences, see test_torch_gradients."""
    theirs, ours = (derivatives(OnOps(name, 64), space) for name in ("pytorch", "tensorflow"))
    assert set(ours) == set(theirs) and len(ours) == 12
    for name, gradient in theirs.items():
        assert relative(ours[name], gradient) < 1e-10, name


def derivatives(framework: OnOps, space: FreeSpace | None, n: int = 16) -> dict[str, Array]:
    """By canvas, patches and probe, of what training differentiates, along random directions."""
    xp, rng = framework.xp, np.random.default_rng(7)
    probe, positions = complex_normal(rng, 2, n, n), rng.uniform(-4, 4, (5, 2))
    shape, origin = forward.canvas_for(positions, n)
    canvas, patches = complex_normal(rng, *shape), complex_normal(rng, 3, 4, n, n)
    offsets = rng.uniform(-2, 2, (3, 4, 2))
    good = framework.to((rng.random((n, n)) < 0.8).astype(float))
    weight = framework.to(groups.merge_weight(gaussian_probe(n, 3.0)))
    counts = rng.uniform(1, 4, (5, n, n))
    pattern_slope, group_slope = (
        framework.to(rng.random(size)) for size in ((5, n, n), (3, 4, n, n))
    )
    step_slope, phase_slope = framework.to(complex_normal(rng, *shape)), rng.random(shape)
    low, size = framework._low(probe, shape), shape[0] * shape[1]
    propagator = framework.propagator(n, space)

    def batch(probe: Any) -> Any:
        return framework.batch(probe, positions, shape, origin, propagator, counts)

    def step(canvas: Any, probe: Any) -> Any:
        given = (batch(probe), good, framework.to(1e-3), (), low.k, size)
        return object_and_probe_step(xp, propagator, canvas, *given)

    def pattern(canvas: Any, patches: Any, probe: Any) -> Any:
        return xp.sum(pattern_slope * model.modelled(xp, propagator, canvas, batch(probe))[2])

    def group(canvas: Any, patches: Any, probe: Any) -> Any:
        given = (patches, framework.exactly(offsets), probe, weight, reach_of(offsets))
        return xp.sum(group_slope * group_intensities(xp, propagator, *given))

    def update(canvas: Any, patches: Any, probe: Any) -> Any:
        numerator = xp.reshape(xp.plus(None, step(canvas, probe)[0]), shape)
        return xp.sum(xp.real(step_slope * numerator))

    def misfit(canvas: Any, patches: Any, probe: Any) -> Any:
        return step(canvas, probe)[1]

    def judged(canvas: Any, patches: Any, probe: Any) -> Any:
        return batch_misfit(xp, propagator, canvas, batch(probe), good)

    def phase(canvas: Any, patches: Any, probe: Any) -> Any:
        found = missing_phase(xp, step(canvas, probe)[3], batch(probe).centre, low)
        return xp.sum(framework.to(phase_slope) * found)

    unknown = {"canvas": canvas, "patches": patches, "probe": probe}
    given = [framework.to(x) for x in unknown.values()]
    found: dict[str, Array] = {}
    for function in (pattern, group, update, misfit, judged, phase):
        slopes = gradients(framework.framework, function, *given)
        for name, slope in zip(unknown, slopes, strict=True):
            if slope is not None:
                found[f"{function.__name__} by {name}"] = slope
    return found


# --- the steps of the solvers, in double precision ------------------------------------------------


def test_the_rest_of_an_update_is_that_of_numpy() -> None:
    """Velocities, rotation by the missing phase, and the probe; sums of patterns on a canvas."""
    rng, shape, n = np.random.default_rng(3), (21, 26), 8
    canvas, velocity, numerator = complex_normal(rng, 3, *shape)
    light, gradient = rng.random(shape), rng.normal(0, 0.1, (6, 2))
    probe, moving, change = complex_normal(rng, 3, 2, n, n)
    centre = rng.integers(0, shape[0] * shape[1], 6)
    wide = gaussian_probe(n, 2.0, 2)
    found: dict[str, list[Array]] = {}
    for name in FRAMEWORKS:
        f = OnOps(name, 64)
        numbers = [f.to(x) for x in (0.7, 0.6, 0.01)]
        given = [f.to(x) for x in (canvas, velocity, numerator, light)]
        turned = (f.to(gradient), f.xp.asarray(centre), f.to(0.4), f._low(wide, shape))
        probes = [f.to(x) for x in (probe, moving, change, light[:n, :n])]
        found[name] = [
            f.numpy(x)
            for x in (
                *f.xp.call(advanced, *given, *numbers),
                f.xp.call(missing_rotation, *turned),
                *f.xp.call(advanced_probe, *probes),
            )
        ]
    # The formulas of ptychopinn.solvers.descent, by hand.
    weight = 0.7 / (light + 0.05 * light.max() + 0.01)
    expected = 0.6 * velocity + weight * numerator
    assert relative(found["numpy"][1], expected) < 1e-12
    assert relative(found["numpy"][0], canvas + expected) < 1e-12
    by_light = change / (light[:n, :n] + 0.05 * light[:n, :n].max())
    assert relative(found["numpy"][4], 0.7 * moving + by_light) < 1e-12
    for name in FRAMEWORKS[1:]:
        for one, other in zip(found["numpy"], found[name], strict=True):
            assert relative(other, one) < 1e-12, name


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_groups_of_the_near_field_agree(space: FreeSpace | None) -> None:
    """Merged, cut, lit and propagated: what training models."""
    rng, n = np.random.default_rng(4), 16
    patches, probe = 1 + 0.3 * complex_normal(rng, 3, 4, n, n), gaussian_probe(n, 3.0, 2)
    offsets = rng.uniform(-3, 3, (3, 4, 2))
    weight, reach = groups.merge_weight(probe), reach_of(offsets)
    _, fraction = groups.split_offsets(offsets)
    common = groups.extract(groups.merge(patches, offsets, weight, reach), offsets, n, reach)
    moved = forward.fourier_shift(probe[None], fraction.reshape(12, 1, 2))
    waves = moved * common.reshape(12, 1, n, n)
    fields = Oracle().propagate(waves, fraction.reshape(12, 2), space)
    expected = (np.abs(fields) ** 2).sum(axis=1).reshape(3, 4, n, n)
    for name in FRAMEWORKS:
        f = OnOps(name, 64)
        propagator = f.propagator(n, space)
        given = (f.to(patches), f.exactly(offsets), f.to(probe), f.to(weight), reach)
        found = f.xp.call(group_intensities, propagator, *given)
        assert relative(propagator.outward(f.numpy(found)), expected) < 1e-10, name


@pytest.mark.parametrize("refined", [False, True])
def test_states_of_the_descent_agree_step_by_step(refined: bool) -> None:
    """Object, velocity, probe and moves of the positions after each of some updates."""
    scan = prepare(small_scan(3, m=24, count=2, masked=True))
    found: dict[str, list[Array]] = {}
    for name in FRAMEWORKS:
        xp = Networks(name).xp
        with xp.running():
            problem, _ = scan_problem(xp, scan, 3, 1 << 28, refine_probe=refined)
            state = Descent(problem, refine_probe=refined)
            states: list[Any] = []
            for u in range(5):
                misfit = state.update(u, 0.7, 0.7, 0.4, decide=u == 2).misfit
                states += [
                    state.canvas,
                    state.velocity,
                    state.probe,
                    misfit,
                    state.total_illumination(),
                ]
            found[name] = [np.array(xp.to_numpy(x)) for x in states]
            found[name].append(least_squares_moves(*move_systems(state, 24)))
    for name in FRAMEWORKS[1:]:
        for one, other in zip(found["numpy"], found[name], strict=True):
            assert relative(other, one) < 1e-4, name


def test_moves_of_positions_agree_where_the_sample_is_thick() -> None:
    """Of single positions and of all together, with two slices."""
    scan = prepare(small_scan(3, m=24, masked=True))
    thick = Slices.of(2, 8e-6, 1e-8, 1.55e-10)
    found: dict[str, list[Array]] = {}
    for name in FRAMEWORKS:
        xp = Networks(name).xp
        with xp.running():
            problem, _ = scan_problem(xp, scan, 2, 1 << 28)
            state = Descent(problem, effects=(thick,))
            for u in range(4):
                state.update(u, 0.3, 0.7, 0.2)
            axes = equations_of(state)
            covariance = position_covariance(state, 24, 1.0, 1.0)
            systems = move_systems(state, 24)
            found[name] = [*systems, axes.matrix, axes.right, covariance]
    assert np.abs(found["numpy"][1]).max() > 0
    for name in FRAMEWORKS[1:]:
        for one, other in zip(found["numpy"], found[name], strict=True):
            assert relative(other, one) < 2e-4, name


# --- networks and refinement ----------------------------------------------------------------------


def reconstruct(name: BackendName, model: ModelConfig, weights: Any, scan: Any) -> Any:
    return Networks(name).reconstruct(model, weights, scan)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_weights_give_the_same_object(name: str) -> None:
    scan, model = prepare(small_scan(1, m=40, count=2, masked=True)), MODELS[name]
    one, *others = (reconstruct(b, model, lively(model), scan) for b in FRAMEWORKS)
    for other in others:
        assert np.array_equal(one.origin_px, other.origin_px)
        assert relative(other.weight, one.weight) < 1e-5
        # Elsewhere the object is a quotient of rounding errors.
        well = one.weight > 0.05 * one.weight.max()
        assert relative(other.object[well], one.object[well]) < 1e-4
        np.testing.assert_allclose(other.losses, one.losses, rtol=1e-4)
        assert other.corrections == one.corrections


@pytest.mark.parametrize("guarded", [True, False])
def test_the_canvas_networks_agree_guarded_or_not(guarded: bool) -> None:
    """With the weights that come with the package, on a scan with noise."""
    bundle = load_model()
    config = bundle.config.model
    scan = prepare(pp.simulate(N=32, patterns=81, photons=1e4, seed=3, modes=2, step_px=3.0))
    found: dict[str, list[tuple[float, bool, Array, Array]]] = {}
    for name in FRAMEWORKS:
        networks = Networks(name)
        xp, passes = networks.xp, list[tuple[float, bool, Array, Array]]()
        with xp.running():
            unrolled = Unrolled(networks.built(config, bundle.weights))
            problem, _ = scan_problem(xp, scan, unrolled.updates, 1 << 28)
            assert len(problem.subsets) > 1
            for done in unrolled.passes(problem, guarded=guarded):
                canvas, light = (
                    np.array(xp.to_numpy(x))
                    for x in (done.state.canvas, done.state.total_illumination())
                )
                passes.append((done.share, done.state.follows_phase, canvas, light))
        found[name] = passes
    for name in FRAMEWORKS[1:]:
        for one, other in zip(found["numpy"], found[name], strict=True):
            assert one[:2] == other[:2]
            assert relative(other[3], one[3]) < 1e-5
            well = one[3] > 0.02 * one[3].max()
            assert relative(other[2][well], one[2][well]) < 1e-4


@pytest.mark.parametrize("propagator", ["far-field", "near-field"])
@pytest.mark.parametrize("refined", [(), ("probe",), ("probe", "positions")])
def test_refinement_gives_the_same_object(refined: tuple[str, ...], propagator: Any) -> None:
    scan = pp.simulate(N=32, patterns=81, photons=1e6, seed=3, modes=2, propagator=propagator)
    offset = np.random.default_rng(0).normal(0, 0.3, (scan.M, 2)) * ("positions" in refined)
    prepared = prepare(replace(scan, positions_px=scan.positions_px + offset))
    config = RefineConfig(passes=12, **{f"refine_{what}": True for what in refined})
    one, *others = (Networks(b).refine(prepared, config) for b in FRAMEWORKS)
    well = one.canvas.weight > 0.02
    for other in others:
        assert relative(other.canvas.object[well], one.canvas.object[well]) < 1e-3
        assert relative(other.canvas.weight, one.canvas.weight) < 1e-3
        assert relative(other.probe, one.probe) < 1e-3
        assert np.abs(other.positions_px - one.positions_px).max() < 1e-3
        np.testing.assert_allclose(other.canvas.losses, one.canvas.losses, rtol=1e-3)
        assert other.passes == one.passes


def test_the_graphs_of_inference_and_refinement_are_built_once() -> None:
    """They serve batches, canvases and probes of all sizes, in this process from now on."""
    bundle = load_model()
    config = RefineConfig(passes=2, refine_probe=True, refine_positions=True, positions_from=1)
    backend = Networks("tensorflow")
    for n, m, modes in ((32, 30, 1), (48, 41, 2)):
        scan = prepare(pp.simulate(N=n, patterns=m, photons=1e5, seed=m, modes=modes))
        for memory in (512, 1):
            backend.reconstruct(bundle.config.model, bundle.weights, scan, memory)
            backend.refine(scan, config, memory_mib=memory)
    # A function may have several graphs, for whole numbers, fractions and None, each for all sizes.
    graphs = import_module("ptychopinn.ops.tensorflow")._graphs_on(backend.xp.device)
    assert len({function for function, *_ in graphs}) > 7
    before = set(graphs)
    scan = prepare(pp.simulate(N=64, patterns=37, photons=1e5, seed=1, modes=3))
    backend.reconstruct(bundle.config.model, bundle.weights, scan, 512)
    backend.refine(scan, config)
    assert set(graphs) == before


def _cubed(xp: Any, x: Any) -> Any:
    _cubed.traced += 1  # type: ignore[attr-defined]
    return x * x * x


def test_a_loss_traces_a_function_once_wherever_it_stands() -> None:
    """And has its derivative: of ((3 x)^3)^3 it is 9 (3 x)^9 / x."""
    need("tensorflow")
    tf = import_module("tensorflow")
    xp = Networks("tensorflow").xp
    _cubed.traced = 0  # type: ignore[attr-defined]

    def loss(x: Any) -> Any:
        value = xp.sum(xp.call(_cubed, xp.call(_cubed, 3 * x)))
        return value, tf.gradients(value, x)[0]

    for size in (2, 5):
        x = np.linspace(0.2, 0.5, size)
        value, slope = tf.function(loss, autograph=False)(tf.constant(x))
        assert float(value) == pytest.approx(((3 * x) ** 9).sum())
        np.testing.assert_allclose(slope, 9 * (3 * x) ** 9 / x)
    assert _cubed.traced == 1  # type: ignore[attr-defined]
