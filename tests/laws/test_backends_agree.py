"""PyTorch and TensorFlow compute the same, and an architecture is written once for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from adapters import NETWORKS, PHYSICS, Networks, Physics, need
from numpy.typing import NDArray
from strategies import complex_normal, gaussian_probe, small_scan

import ptychopinn as pp
from ptychopinn.backends.base import Silent
from ptychopinn.canvas_plan import places
from ptychopinn.config import Config, ModelConfig, RefineConfig
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.networks import registry
from ptychopinn.networks.registry import Architecture, describe
from ptychopinn.networks.spec import Builder, Kind, Network
from ptychopinn.networks.weights import initial_weights
from ptychopinn.physics import forward, groups, losses
from ptychopinn.training.data import read_batch
from ptychopinn.training.objective import objective
from ptychopinn.training.plan import Work
from ptychopinn.workflows.verbs import config_of, open_model

need("torch")
need("tensorflow")

Array = NDArray[Any]
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
        for name, w in initial_weights(describe(model), 1).items()
    }


def relative(found: Any, expected: Any) -> float:
    """Largest difference as a share of the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# --- the physics, in the precision that is used ---------------------------------------------------


@pytest.fixture(params=["pytorch32", "tensorflow32"])
def single(request: pytest.FixtureRequest) -> Physics:
    return PHYSICS[request.param][1]()


@pytest.mark.parametrize("n", [32, 64])
def test_forward_model_and_groups_are_within_1e_5_of_the_reference(single: Physics, n: int) -> None:
    rng = np.random.default_rng(n)
    probe = gaussian_probe(n, n / 8, 2, 0.02)
    positions = rng.uniform(-9, 9, (12, 2)) + 200
    shape, origin = forward.canvas_for(positions, n)
    canvas = 1 + 0.3 * complex_normal(rng, *shape)
    given = (canvas, probe, positions, origin)
    assert relative(single.intensities(*given), forward.intensities(*given)) < 1e-5
    assert relative(single.far_field(*given), forward.forward_linear(*given)) < 1e-5
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
def test_losses_are_within_1e_5_of_the_reference(single: Physics, level: float) -> None:
    rng = np.random.default_rng(0)
    model = rng.gamma(2.0, level, (8, 32, 32)) + 0.1 * level
    counts = rng.poisson(model).astype(float)
    mask = rng.random((32, 32)) < 0.9
    for name in ("poisson_deviance", "amplitude_residual", "amplitude_mae"):
        expected = getattr(losses, name)(model, counts, mask)
        assert getattr(single, name)(model, counts, mask) == pytest.approx(expected, rel=1e-5)
    image, truth = complex_normal(rng, 2, 40, 40)
    assert single.total_variation(image) == pytest.approx(losses.total_variation(image), rel=1e-5)
    expected = losses.realspace_mae(image, truth)
    assert single.realspace_mae(image, truth) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_of_the_loss_is_within_1e_4_of_the_reference(single: Physics) -> None:
    rng = np.random.default_rng(1)
    probe = gaussian_probe(32, 5.0, 2, 0.02)
    positions = rng.uniform(-9, 9, (12, 2))
    shape, origin = forward.canvas_for(positions, 32)
    canvas = 1 + 0.1 * complex_normal(rng, *shape)
    counts = rng.poisson(100 * forward.intensities(canvas, 10 * probe, positions, origin))
    mask = np.ones((32, 32), bool)
    given = (1.1 * canvas, counts.astype(float), 100 * probe, positions, mask, origin)
    expected = PHYSICS["oracle"][1]().deviance_gradient(*given)
    assert relative(single.deviance_gradient(*given), expected) < 1e-4


def derivatives(name: str, n: int = 16) -> dict[str, Array]:
    """By canvas, patches and probe, of the three maps that training differentiates, along random
    directions; in double precision."""
    rng = np.random.default_rng(7)
    probe, positions = complex_normal(rng, 2, n, n), rng.uniform(-4, 4, (5, 2))
    shape, origin = forward.canvas_for(positions, n)
    canvas, patches = complex_normal(rng, *shape), complex_normal(rng, 3, 4, n, n)
    offsets = rng.uniform(-2, 2, (3, 4, 2))
    weight, amplitudes = groups.merge_weight(gaussian_probe(n, 3.0)), rng.uniform(1, 2, (5, n, n))
    good = (rng.random((n, n)) < 0.8).astype(float)
    slope, group_slope = rng.random((5, n, n)), rng.random((3, 4, n, n))
    step_slope, phase_slope = complex_normal(rng, *shape), rng.random(shape)
    where = places(positions, n, shape, origin)
    if name == "pytorch":
        return torch_derivatives(**locals())
    return tensorflow_derivatives(**locals())


def torch_derivatives(**given: Any) -> dict[str, Array]:
    import torch

    from ptychopinn.backends.pytorch import canvas, physics
    from ptychopinn.backends.pytorch.family import pattern_batch

    t = {k: torch.from_numpy(v) for k, v in given.items() if isinstance(v, np.ndarray)}
    unknown = [t[k].requires_grad_() for k in ("canvas", "patches", "probe")]

    def of(value: torch.Tensor) -> dict[str, Array]:
        found = torch.autograd.grad(value, unknown, retain_graph=True, allow_unused=True)
        names = ("canvas", "patches", "probe")
        return {k: g.numpy() for k, g in zip(names, found, strict=True) if g is not None}

    def batch() -> Any:
        place = (given["positions"], t["probe"], given["shape"], given["origin"])
        return pattern_batch(t["amplitudes"], *place)

    low = physics.LowFrequency(t["probe"], given["shape"])
    modelled = canvas.modelled_intensity(t["canvas"], batch(), t["probe"])
    grouped = physics.group_intensities(t["patches"], t["offsets"], t["probe"], t["weight"])
    found = canvas.modulus_projection(t["canvas"], [batch()], t["probe"], t["good"], low, 1e-3)
    phase = low.phase(found.gradients)
    return (
        {f"pattern by {k}": g for k, g in of((t["slope"] * modelled).sum()).items()}
        | {f"group by {k}": g for k, g in of((t["group_slope"] * grouped).sum()).items()}
        | {f"step by {k}": g for k, g in of((t["step_slope"] * found.numerator).real.sum()).items()}
        | {f"misfit by {k}": g for k, g in of(found.misfit).items()}
        | {f"phase by {k}": g for k, g in of((t["phase_slope"] * phase).sum()).items()}
    )


def tensorflow_derivatives(**given: Any) -> dict[str, Array]:
    import tensorflow as tf

    from ptychopinn.backends.tensorflow import canvas, graphs, physics

    t = {k: tf.constant(v) for k, v in given.items() if isinstance(v, np.ndarray)}
    names = ("canvas", "patches", "probe")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([t[k] for k in names])
        where, n = given["where"], given["n"]
        corner, fraction = tf.constant(where.corner, tf.int32), tf.constant(where.fraction)
        index = physics.pixel_index(corner, n, given["shape"][1])
        probes = physics.shifted_probes(t["probe"], fraction)
        centre = tf.constant(where.centre, tf.int32)
        batch = canvas.PatternBatch(t["amplitudes"], fraction, index, centre, probes)
        low = physics.LowFrequency.of(given["probe"], given["shape"])
        modelled = canvas.modelled_intensity(t["canvas"], batch, t["probe"])
        grouped = physics.group_intensities(t["patches"], t["offsets"], t["probe"], t["weight"])
        update, misfit, _, gradients = graphs.modulus_step.graph.python_function(
            t["canvas"],
            t["amplitudes"],
            probes,
            index,
            t["good"],
            tf.constant(1e-3, tf.float64),
            low.k,
        )
        phase = low.phase(gradients, centre)
        values = {
            "pattern": tf.reduce_sum(t["slope"] * modelled),
            "group": tf.reduce_sum(t["group_slope"] * grouped),
            "step": tf.reduce_sum(tf.math.real(t["step_slope"] * update)),
            "misfit": misfit,
            "phase": tf.reduce_sum(t["phase_slope"] * phase),
        }
    found = {v: tape.gradient(value, [t[k] for k in names]) for v, value in values.items()}
    return {
        f"{v} by {k}": g.numpy()
        for v, gradients in found.items()
        for k, g in zip(names, gradients, strict=True)
        if g is not None
    }


def test_derivatives_of_the_physics_agree_in_double_precision() -> None:
    """Those of PyTorch agree with finite differences, see test_torch_gradients."""
    theirs, ours = derivatives("pytorch"), derivatives("tensorflow")
    assert set(ours) == set(theirs) and len(ours) == 10
    for name, gradient in theirs.items():
        assert relative(ours[name], gradient) < 1e-10, name


# --- networks -------------------------------------------------------------------------------------


def torch_gradients(
    config: Config, weights: Any, scan: PreparedScan, work: Work
) -> tuple[float, dict[str, Array]]:
    """Loss and its gradients by every parameter and by the probe."""
    from ptychopinn.backends.pytorch import losses as terms
    from ptychopinn.backends.pytorch.data import WorkDataset
    from ptychopinn.backends.pytorch.family import build_family

    family = build_family(config, [scan])
    family.network.import_weights(weights)
    batch = WorkDataset([scan], [work], config)[0]
    loss = objective(family.predict(batch), config.loss, terms)  # type: ignore[arg-type]
    loss.backward()
    found = family.network.parameters_by_name() | {"probe": family.probes[0]}
    return float(loss.detach()), {
        name: p.grad.numpy() for name, p in found.items() if p.grad is not None
    }


def tensorflow_gradients(
    config: Config, weights: Any, scan: PreparedScan, work: Work
) -> tuple[float, dict[str, Array]]:
    from ptychopinn.backends.tensorflow.network import _outside

    training = tensorflow_training(config, [scan])
    training.family.network.import_weights(weights)
    batch = read_batch([scan], work, config)
    loss, _, gradients = training._gradients(training.family.inputs(batch))
    names = [*training.family.network.parameters, "probe"]
    found = {k: g.numpy() for k, g in zip(names, gradients, strict=True)}
    return float(loss), {k: g if k == "probe" else _outside(g) for k, g in found.items()}


def tensorflow_training(config: Config, scans: list[PreparedScan]) -> Any:
    from ptychopinn.backends.tensorflow.training import PhysicsTraining
    from ptychopinn.training.course import Course
    from ptychopinn.training.interruption import StopFlag
    from ptychopinn.training.plan import GroupPlan

    plan = GroupPlan([scan.scan for scan in scans], config)
    return PhysicsTraining(config, scans, plan, Course(config, plan, Silent()), StopFlag())


LOSSES: Mapping[str, Mapping[str, Any]] = {
    "deviance": {},
    "every term": {"mae_weight": 0.5, "realspace_weight": 0.3, "realspace_mae_weight": 0.7},
}


@pytest.mark.parametrize("terms", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_agree(name: str, terms: str) -> None:
    """Of the whole loss by every weight, within 1e-4 of the largest one.

    In single precision that by the probe is exact to 1e-3 in each of them; the test of the physics
    in double precision compares it closely.
    """
    scan = prepare(pp.simulate(N=32, patterns=40, photons=1e5, seed=2))
    model = MODELS[name]
    config = Config(model=model, loss=LOSSES[terms], training={"probe_trainable": True})
    size = {"unrolled": (1, 20), "cnn 1": (6, 1), "cnn 2": (5, 4)}[name]
    work = Work(0, np.random.default_rng(3).permutation(40)[: np.prod(size)].reshape(size))
    loss, theirs = torch_gradients(config, lively(model), scan, work)
    other, ours = tensorflow_gradients(config, lively(model), scan, work)
    assert other == pytest.approx(loss, rel=1e-5)
    assert set(ours) == set(theirs) == {*describe(model).parameter_shapes(), "probe"}
    largest = max(np.abs(g).max() for k, g in theirs.items() if k != "probe")
    for parameter, gradient in theirs.items():
        allowed = 2e-3 * np.abs(gradient).max() if parameter == "probe" else 1e-4 * largest
        assert np.abs(ours[parameter] - gradient).max() < allowed, parameter


def reconstruct(name: str, model: ModelConfig, weights: Any, scan: PreparedScan) -> Any:
    backend: Networks = NETWORKS[name][1]()
    return backend.reconstruct(model, weights, scan)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_weights_give_the_same_object(name: str) -> None:
    scan, model = prepare(small_scan(1, m=40, count=2, masked=True)), MODELS[name]
    one, other = (reconstruct(b, model, lively(model), scan) for b in ("pytorch", "tensorflow"))
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
    import torch

    from ptychopinn.backends.pytorch import canvas, inference, network
    from ptychopinn.backends.tensorflow import canvas as tf_canvas
    from ptychopinn.backends.tensorflow import execution
    from ptychopinn.backends.tensorflow import inference as tf_inference
    from ptychopinn.backends.tensorflow import network as tf_network
    from ptychopinn.ops.options import TFExecution

    bundle = open_model("pretrained")
    description = describe(config_of(bundle).model)
    scan = prepare(pp.simulate(N=32, patterns=81, photons=1e4, seed=3, modes=2, step_px=3.0))
    with torch.inference_mode():
        ours = canvas.CanvasNetwork(network.BuiltNetwork(description, bundle.weights))
        problem, _ = inference.canvas_problem(scan, ours.updates, torch.device("cpu"), 1 << 28)
        one = ours(problem, guarded=guarded)
    chosen = TFExecution(accelerator="cpu")
    with execution.computing(chosen), execution.working(chosen) as workers:
        theirs = tf_canvas.CanvasNetwork(tf_network.BuiltNetwork(description, bundle.weights))
        given, _ = tf_inference.canvas_problem(scan, theirs.updates, 1 << 28, workers)
        other = theirs(given, guarded=guarded)
    assert len(problem.subsets) > 1
    assert other.corrections == one.corrections and other.phases == one.phases
    assert relative(other.illumination, one.illumination) < 1e-5
    for a, b in zip(one.canvases, other.canvases, strict=True):
        well = np.asarray(one.illumination > 0.02 * one.illumination.max())
        assert relative(np.asarray(b)[well], np.asarray(a)[well]) < 1e-4


@pytest.mark.parametrize("refined", [(), ("probe",), ("probe", "positions")])
def test_refinement_gives_the_same_object(refined: tuple[str, ...]) -> None:
    scan = pp.simulate(N=32, patterns=81, photons=1e6, seed=3, modes=2)
    offset = np.random.default_rng(0).normal(0, 0.3, (scan.M, 2)) * ("positions" in refined)
    prepared = prepare(replace(scan, positions_px=scan.positions_px + offset))
    config = RefineConfig(passes=12, **{f"refine_{what}": True for what in refined})
    one, other = (NETWORKS[b][1]().refine(prepared, config) for b in BACKENDS)
    well = one.canvas.weight > 0.02
    assert relative(other.canvas.object[well], one.canvas.object[well]) < 1e-3
    assert relative(other.canvas.weight, one.canvas.weight) < 1e-3
    assert relative(other.probe, one.probe) < 1e-3
    assert np.abs(other.positions_px - one.positions_px).max() < 1e-3
    np.testing.assert_allclose(other.canvas.losses, one.canvas.losses, rtol=1e-3)
    assert other.passes == one.passes


BACKENDS = ("pytorch", "tensorflow")


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_trains_the_same_network(name: str) -> None:
    """First weights, order of the data, schedule, clipping and optimiser are the same: after two
    epochs on two scans the metrics differ by rounding only, and so do those of either bundle on
    either backend.

    The canvas network keeps its probe: where a probe is dark its gradient is all rounding, which
    Adam turns into full steps, and the physics steps make them felt.
    """
    scans = [pp.simulate(N=32, patterns=60, photons=1e5, seed=seed) for seed in (4, 5)]
    data = {"subscan_patterns": 20, "n_groups": 5} if name == "unrolled" else {"n_groups": 64}
    config = Config(
        model=MODELS[name],
        data=data,
        training={
            "epochs": 2,
            "probe_trainable": name != "unrolled",
            "gradient_clip_val": 0.05,
            "batch_size": 3,
        },
    )
    trained = {b: pp.train(scans, config, backend=b) for b in BACKENDS}  # type: ignore[arg-type]
    one, other = (trained[b].history for b in BACKENDS)
    assert set(one) == set(other)
    for metric, points in one.items():
        assert [p for _, p in other[metric]] == pytest.approx(
            [p for _, p in points], rel=1e-3, abs=1e-3
        ), metric
    assert one["learning_rate"] == other["learning_rate"]
    for model in trained.values():
        a, b = (
            pp.evaluate(
                pp.reconstruct(model, scans[0], backend=backend),  # type: ignore[arg-type]
                truth=scans[0],
            ).metrics
            for backend in BACKENDS
        )
        assert set(a) == set(b)
        for key, value in a.items():
            if isinstance(value, float) and np.isfinite(value):
                assert b[key] == pytest.approx(value, rel=1e-3, abs=1e-4), key


# --- an architecture in one file ------------------------------------------------------------------


def every_layer(config: ModelConfig) -> Network:
    """A patch network that is nowhere else, with all kinds of layers."""
    b = Builder()
    c = config.gridsize**2
    folded = b.conv("folded", b.space_to_depth("blocks", "patterns"), 12)
    x = b.conv("first", b.depth_to_space("unfolded", folded), 6, "relu")
    coarse = b.max_pool("coarse", x)
    other = b.avg_pool("other", x)
    coarse = b.conv("dilated", coarse, 6, "swish", dilation=3)
    coarse = b.add("sum", coarse, other)
    fine = b.upsample("fine", coarse)
    fine = b.concat("joined", fine, x)
    fine = b.conv("mixed", fine, 8, "softplus", kernel=1)
    half = b.channels("half", fine, 0, 4)
    rest = b.border("rim", b.channels("rest", fine, 4, 8), 3)
    both = b.add("both", half, rest)
    shrunk = b.max_pool("shrunk", b.conv("widened", both, 4, "tanh"))
    framed = b.pad("framed", shrunk, 8, 0.5)
    modulus = b.activation(
        "modulus_sigmoid", b.conv("modulus_head", framed, c, initial="zero"), "sigmoid"
    )
    modulus = b.scale("modulus", modulus, 2.0)
    phase = b.activation("phase", b.conv("phase_head", framed, c, initial="zero"), "tanh")
    return Network({"patterns": c}, tuple(b.layers), (modulus, phase), multiple_of=4)


@pytest.fixture
def test_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], ModelConfig]:
    """The network above in the place of the patch network."""
    monkeypatch.setitem(registry.ARCHITECTURES, "cnn", Architecture("patch", every_layer))
    return lambda gridsize: ModelConfig(architecture="cnn", N=32, gridsize=gridsize)


@pytest.mark.parametrize("gridsize", [1, 2])
def test_an_architecture_in_one_file_works_on_both(
    test_only: Callable[[int], ModelConfig], gridsize: int
) -> None:
    """Same outputs, trained on each, its bundle used by the other."""
    model = test_only(gridsize)
    network, weights = describe(model), lively(model)
    kinds = {layer.kind for layer in network.layers}
    assert len(kinds) == len(get_args(Kind))
    inputs = {"patterns": np.random.default_rng(0).random((2, gridsize**2, 32, 32))}
    ours, theirs = (NETWORKS[b][1]().apply(model, weights, inputs) for b in BACKENDS)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == (2, gridsize**2, 32, 32)
        assert relative(b, a) < 1e-5
    scan = pp.simulate(N=32, patterns=40, photons=1e5, seed=2)
    config = Config(model=model, training={"epochs": 1})
    for backend, other in (BACKENDS, BACKENDS[::-1]):
        trained = pp.train(scan, config, backend=backend)  # type: ignore[arg-type]
        assert set(trained.bundle.weights) == set(network.parameter_shapes())
        result = pp.reconstruct(trained, scan, backend=other)  # type: ignore[arg-type]
        assert np.isfinite(result.object).all()


# --- graphs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_graph_is_built_once(name: str) -> None:
    """For batches, canvases, probe modes and scans of all sizes; once more to validate."""
    scans = [
        prepare(pp.simulate(N=32, patterns=m, photons=1e5, seed=m, modes=modes))
        for m, modes in ((81, 1), (64, 2))
    ]
    data = {"subscan_patterns": 12, "n_groups": 9} if name == "unrolled" else {"n_groups": 37}
    config = Config(model=MODELS[name], data=data, training={"epochs": 2})
    training = tensorflow_training(config, scans)
    training.run(lambda metrics: None)
    assert training.epoch == 2
    for graph in (training._gradients, training._evaluate):
        assert graph.experimental_get_tracing_count() == 1


def test_the_graphs_of_inference_and_refinement_are_built_once() -> None:
    """They serve batches, canvases and probes of all sizes, in this process from now on."""
    from ptychopinn.backends.tensorflow import graphs, refinement

    bundle = open_model("pretrained")
    config = RefineConfig(passes=2, refine_probe=True, refine_positions=True, positions_from=1)
    backend = NETWORKS["tensorflow"][1]()
    for n, m, modes in ((32, 30, 1), (48, 41, 2)):
        scan = prepare(pp.simulate(N=n, patterns=m, photons=1e5, seed=m, modes=modes))
        for memory in (512, 1):
            backend.reconstruct(config_of(bundle).model, bundle.weights, scan, memory)
            backend.refine(scan, config, memory_mib=memory)
    found = {
        name: value
        for module in (graphs, refinement)
        for name, value in vars(module).items()
        if isinstance(value, graphs.Compiled)
    }
    assert len(found) > 7
    for name, compiled in found.items():
        assert compiled.graph.experimental_get_tracing_count() == 1, name
