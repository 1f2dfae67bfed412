"""PyTorch and TensorFlow train the same, and an architecture is written once for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np
import pytest
from adapters import NETWORKS, need
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.backends.base import Silent
from ptychopinn.config import Config, ModelConfig
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.networks import registry
from ptychopinn.networks.registry import Architecture, describe
from ptychopinn.networks.spec import Builder, Kind, Network
from ptychopinn.networks.weights import initial_weights
from ptychopinn.training.data import read_batch
from ptychopinn.training.objective import objective
from ptychopinn.training.plan import Work

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
