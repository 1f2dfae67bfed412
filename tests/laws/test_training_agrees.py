"""PyTorch and TensorFlow train the same, and an architecture is written once for both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pytest
from adapters import SMALL_NETWORKS, need, small_network
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.config import Config, ModelConfig
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.networks.architecture import PatchConfig, architecture
from ptychopinn.networks.build import BuiltNetwork, initial_weights
from ptychopinn.networks.spec import Builder, Network
from ptychopinn.ops.engine import Engine
from ptychopinn.ops.selector import KINDS, get_ops
from ptychopinn.training.families import group_task
from ptychopinn.training.plan import Work
from ptychopinn.training.tasks import GroupTask

need("torch")
need("tensorflow")

Array = NDArray[Any]
HEADS = ("amplitude_phase", "real_imaginary", "cos_sin")
MODELS = {
    "unrolled": ModelConfig(architecture="unrolled", iterations=2, width=4, levels=3),
    "cnn 1": ModelConfig(architecture="cnn", N=32, gridsize=1, n_filters_scale=0.1),
    "cnn 2": ModelConfig(architecture="cnn", N=32, gridsize=2, n_filters_scale=0.1),
}
# Each other patch network with one of the heads, of the groups and of the first transforms.
FURTHER = {
    name: small_network(name, gridsize=1 + k % 2, head=HEADS[k % 3], **more)
    for k, (name, more) in enumerate(
        {
            **{key: {} for key in SMALL_NETWORKS if key != "cnn"},
            "fno": {"fno_input_transform": "sqrt"},
            "ffno": {"fno_input_transform": "log1p"},
            "hybrid_resnet": {"fno_input_transform": "instancenorm"},
        }.items()
    )
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


# --- networks -------------------------------------------------------------------------------------


def task_on(backend: str, config: Config, scans: list[PreparedScan]) -> tuple[GroupTask, Engine]:
    """A training task of a network none of whose layers is silent."""
    xp = get_ops(backend, KINDS[backend].execution())  # type: ignore[index]
    network = BuiltNetwork(xp, config.model.describe(), lively(config.model))
    task = group_task(config, network, scans)
    return task, xp.engine(task.variables)


def gradients(
    backend: str, config: Config, scan: PreparedScan, work: Work
) -> tuple[float, dict[str, Array]]:
    """Loss and its gradients by every parameter and by the probe."""
    task, engine = task_on(backend, config, [scan])
    with engine.running():
        loss, _ = engine.accumulate(task.loss, task.inputs(task.read(work)), 1.0)
        return loss, {k.partition(".")[2]: g for k, g in engine.gradient().items()}


LOSSES: Mapping[str, Mapping[str, Any]] = {
    "deviance": {},
    "every term": {"mae_weight": 0.5, "realspace_weight": 0.3, "realspace_mae_weight": 0.7},
}


@pytest.mark.parametrize(
    ("name", "terms"),
    [*itertools.product(MODELS, LOSSES), *((name, "deviance") for name in FURTHER)],
)
def test_gradients_agree(name: str, terms: str) -> None:
    """Of the whole loss by every weight, within 1e-4 of the largest one. (Where a pixel is modelled
    exactly, rounding decides the slope of the amplitude error: one such pixel is more than that.)

    In single precision that by the probe is exact to 1e-3 in each of them; the test of the physics
    in double precision compares it closely.
    """
    scan = prepare(pp.simulate(N=32, patterns=40, photons=1e5, seed=2))
    model = {**MODELS, **FURTHER}[name]
    config = Config(
        model=model,
        loss=LOSSES[terms],
        data={"validation_fraction": 0},
        training={"probe_trainable": True},
    )
    size = (1, 20) if name == "unrolled" else (6, model.patterns_per_group)
    work = Work(0, np.random.default_rng(3).permutation(40)[: np.prod(size)].reshape(size))
    loss, theirs = gradients("pytorch", config, scan, work)
    other, ours = gradients("tensorflow", config, scan, work)
    assert other == pytest.approx(loss, rel=1e-5)
    assert set(ours) == set(theirs) == {*model.describe().parameter_shapes(), "0"}
    largest = max(np.abs(g).max() for k, g in theirs.items() if k != "0")
    for parameter, gradient in theirs.items():
        allowed = 2e-3 * np.abs(gradient).max() if parameter == "0" else 1e-4 * largest
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
    trained = {b: pp.train(scans, config, backend=b, no_mend="all") for b in BACKENDS}  # type: ignore[arg-type]
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
                pp.reconstruct(
                    scans[0],
                    model,
                    refine="never",
                    no_mend="all",
                    backend=backend,  # type: ignore[arg-type]
                ),
                truth=scans[0],
            ).metrics
            for backend in BACKENDS
        )
        assert set(a) == set(b)
        for key, value in a.items():
            if isinstance(value, float) and np.isfinite(value):
                assert b[key] == pytest.approx(value, rel=1e-3, abs=1e-4), key


# --- an architecture in one file ------------------------------------------------------------------


def many_layers(c: int) -> Network:
    """A patch network that is nowhere else, for ``c`` patterns in a group."""
    b = Builder()
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
def test_only() -> Iterator[None]:
    """The network above as an architecture of its own."""

    @architecture
    class WovenConfig(PatchConfig):
        architecture: Literal["woven"] = "woven"

        def describe(self) -> Network:
            return many_layers(self.patterns_per_group)

    yield
    del ModelConfig.kinds["woven"]


@pytest.mark.parametrize("gridsize", [1, 2])
def test_an_architecture_in_one_file_works_on_both(test_only: None, gridsize: int) -> None:
    """Same outputs, trained on each, its bundle used by the other."""
    model = ModelConfig(architecture="woven", N=32, gridsize=gridsize)
    network, weights = model.describe(), lively(model)
    patterns = np.random.default_rng(0).random((2, gridsize**2, 32, 32)).astype(np.float32)

    def outputs(backend: str) -> list[Array]:
        xp = get_ops(backend, KINDS[backend].execution())  # type: ignore[index]
        with xp.running():
            found = BuiltNetwork(xp, network, weights)(patterns=xp.asarray(patterns))
            return [xp.to_numpy(x) for x in found]

    ours, theirs = (outputs(backend) for backend in BACKENDS)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == (2, gridsize**2, 32, 32)
        assert relative(b, a) < 1e-5
    scan = pp.simulate(N=32, patterns=40, photons=1e5, seed=2)
    config = Config(model=model, training={"epochs": 1})
    for backend, other in (BACKENDS, BACKENDS[::-1]):
        trained = pp.train(scan, config, backend=backend, no_mend="all")  # type: ignore[arg-type]
        assert set(trained.bundle.weights) == set(network.parameter_shapes())
        result = pp.reconstruct(
            scan,
            trained,
            refine="never",
            no_mend="all",
            backend=other,  # type: ignore[arg-type]
        )
        assert np.isfinite(result.object).all()
