"""Adam, clipping and derivatives of both frameworks: against the formulas, and each other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from ptychopinn.errors import InputError, TrainingError
from ptychopinn.ops.base import Variable
from ptychopinn.ops.engine import BETAS, EPSILON, Engine, mapped
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.ops.options import TFExecution, TorchExecution
from ptychopinn.ops.selector import get_ops

BACKENDS = ("pytorch", "tensorflow")
START = {
    "network.a": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
    "network.b": np.random.default_rng(1).normal(size=5).astype(np.float32),
    "probe.0": np.ones(2, np.float32),
    "probe.1": np.full(2, 2, np.float32),
}
RATES = {"network": 0.01, "probe": 0.1}


def engine_of(backend: str) -> Engine:
    pytest.importorskip({"pytorch": "lightning", "tensorflow": "tensorflow"}[backend])
    options: Any = TorchExecution(threads=1) if backend == "pytorch" else TFExecution()
    xp = get_ops(backend, options)  # type: ignore[arg-type]
    return xp.engine({name: xp.variable(value.copy()) for name, value in START.items()})


class Given(NamedTuple):
    """Factors of the variables; ``probe`` is one of the two, ``many`` of any number."""

    a: Any
    b: Any
    probe: Any
    many: list[Any]
    power: float
    nothing: None = None


class Linear:
    """A loss whose gradients are what is given."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __call__(self, xp: Any, given: Given) -> tuple[Any, Any]:
        assert given.nothing is None
        total = xp.sum(given.a * self.engine.variables["network.a"])
        total = total + xp.sum(given.b * self.engine.variables["network.b"])
        for factor in given.many:
            total = total + xp.sum(factor * given.probe) * given.power
        return total, {"probe": given.probe}


def gradients(rng: np.random.Generator) -> list[np.ndarray[Any, Any]]:
    """Over decades."""
    shapes = ((3, 4), (5,), (2,))
    return [(10 ** rng.uniform(-9, 1) * rng.normal(size=s)).astype(np.float32) for s in shapes]


def given_to(engine: Engine, probe: str, factors: list[Any]) -> Given:
    a, b, c = factors
    return Given(a, b, Variable(probe, engine.variables[probe]), [c], 1.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_steps_follow_the_paper(backend: str, clip: float) -> None:
    """In double precision, each variable with a count of its own; both probes take turns."""
    engine, rng = engine_of(backend), np.random.default_rng(2)
    values = {name: value.astype(np.float64) for name, value in START.items()}
    first = {name: np.zeros_like(v) for name, v in values.items()}
    second = {name: np.zeros_like(v) for name, v in values.items()}
    count = dict.fromkeys(values, 0)
    loss = Linear(engine)
    with engine.running():
        for step in range(20):
            probe = f"probe.{step % 2}" if step < 15 else "probe.1"
            factors = gradients(rng)
            engine.accumulate(loss, given_to(engine, probe, factors), 1.0)
            rates = {group: rate / (step + 1) for group, rate in RATES.items()}
            engine.step(rates, clip)
            found = dict(zip(("network.a", "network.b", probe), factors, strict=True))
            norm = np.sqrt(sum((g.astype(float) ** 2).sum() for g in found.values()))
            for name, gradient in found.items():
                g = gradient.astype(float) * (min(1.0, clip / (norm + 1e-6)) if clip else 1)
                count[name] += 1
                first[name] = BETAS[0] * first[name] + (1 - BETAS[0]) * g
                second[name] = BETAS[1] * second[name] + (1 - BETAS[1]) * g**2
                m = first[name] / (1 - BETAS[0] ** count[name])
                v = second[name] / (1 - BETAS[1] ** count[name])
                rate = rates[name.partition(".")[0]]
                values[name] -= rate * m / (np.sqrt(v) + EPSILON)
    steps, _ = engine.moments()
    assert steps == count
    for name, value in engine.values().items():
        np.testing.assert_allclose(value, values[name], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_variable_without_a_gradient_stays(backend: str) -> None:
    engine = engine_of(backend)
    with engine.running():
        factors = gradients(np.random.default_rng(3))
        engine.accumulate(Linear(engine), given_to(engine, "probe.0", factors), 1.0)
        engine.step(RATES, 0.0)
        moved = engine.values()
        assert np.array_equal(moved["probe.1"], START["probe.1"])
        assert not np.array_equal(moved["probe.0"], START["probe.0"])
        engine.step(RATES, 1.0)
        assert all(np.array_equal(engine.values()[k], moved[k]) for k in moved)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shares_of_gradients_add_up_and_evaluation_adds_none(backend: str) -> None:
    rng = np.random.default_rng(4)
    one, other = gradients(rng), gradients(rng)
    both = [a / 2 + b / 2 for a, b in zip(one, other, strict=True)]
    found = []
    for parts in ([(one, 0.5), (other, 0.5)], [(both, 1.0)]):
        engine = engine_of(backend)
        loss = Linear(engine)
        with engine.running():
            for factors, share in parts:
                inputs = given_to(engine, "probe.0", factors)
                value, _ = engine.accumulate(loss, inputs, share)
                shown, more = engine.evaluate(loss, inputs)
                assert shown == pytest.approx(value, rel=1e-6)
                assert np.array_equal(engine.xp.to_numpy(more["probe"]), START["probe.0"])
            engine.step(RATES, 1.0)
        found.append(engine.values())
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_of_any_structure_and_size(backend: str) -> None:
    """Lists of several lengths, arrays of several sizes, numbers, and a variable as a constant."""
    engine = engine_of(backend)

    def loss(xp: Any, given: Any) -> tuple[Any, Any]:
        parts, factor, (height, width) = given
        total = sum(xp.sum(part) for part in parts) * factor
        total = total + xp.sum(xp.reshape(parts[0], (height, width))[:, 0])
        return total + 0 * xp.sum(engine.variables["network.a"]), None

    for sizes in ([(2, 3)], [(2, 3), (4, 5)], [(6, 1)], [(3, 2), (1, 1)]):
        parts = [np.arange(h * w, dtype=np.float32) for h, w in sizes]
        inputs = (parts, 0.5, sizes[0])
        with engine.running():
            value, _ = engine.evaluate(loss, inputs)
        expected = 0.5 * sum(p.sum() for p in parts) + parts[0].reshape(sizes[0])[:, 0].sum()
        assert value == pytest.approx(expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_state_that_comes_back_goes_on_alike(backend: str) -> None:
    engine, rng = engine_of(backend), np.random.default_rng(5)

    def steps(engine: Engine, factors: list[Any]) -> None:
        with engine.running():
            for k, part in enumerate(factors):
                engine.accumulate(Linear(engine), given_to(engine, f"probe.{k % 2}", part), 1.0)
                engine.step(RATES, 1.0)

    draws = [gradients(rng) for _ in range(6)]
    steps(engine, draws[:1])
    state, arrays = engine.state()
    other = engine_of(backend)
    other.restore(state, arrays)
    steps(engine, draws[1:])
    steps(other, draws[1:])
    one, two = engine.state(), other.state()
    assert one[0] == two[0] and set(one[1]) == set(two[1])
    assert all(np.array_equal(one[1][k], two[1][k]) for k in one[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_foreign_state_changes_nothing(backend: str) -> None:
    engine = engine_of(backend)
    state, arrays = engine.state()
    for wrong in (
        {k: v for k, v in arrays.items() if k != "probe.1"},
        {**arrays, "network.a": arrays["network.a"].T},
        {**arrays, "network.a": arrays["network.a"].astype(np.float64)},
    ):
        with pytest.raises(ValueError, match="no array"):
            engine.restore(state, {k: 0 * v + 7 for k, v in wrong.items()})
    with pytest.raises((KeyError, ValueError)):
        engine.restore({**state, "steps": {"network.c": 1}}, arrays)
    assert all(np.array_equal(engine.values()[k], v) for k, v in START.items())


@pytest.mark.parametrize("backend", BACKENDS)
def test_too_little_memory_is_one_sentence(backend: str) -> None:
    engine = engine_of(backend)
    if backend == "pytorch":
        import torch

        error: Exception = torch.OutOfMemoryError("no memory for 3 GiB\nand more")
    else:
        import tensorflow as tf

        error = tf.errors.ResourceExhaustedError(None, None, "no memory for 3 GiB\nand more")
    with pytest.raises(TrainingError, match=r"3 GiB.*; lower batch_size"), engine.running():
        raise error


def test_nothing_is_trained_without_a_framework() -> None:
    with pytest.raises(InputError, match="PyTorch or TensorFlow"):
        NumpyOps().engine({})


def test_nests_keep_their_form() -> None:
    nest = Given(1, [2, (3,)], 4, [], 5)
    assert mapped(lambda x: 10 * x, nest) == Given(10, [20, (30,)], 40, [], 50)
