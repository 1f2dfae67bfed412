"""Graphs are traced once in a process, not once for every call of a verb."""

from __future__ import annotations

import gc
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

from ptychopinn.ops.base import Ops, Variable
from ptychopinn.ops.options import TFExecution
from ptychopinn.ops.selector import get_ops

pytest.importorskip("tensorflow")

TRACED: list[str] = []


def doubled(xp: Ops, x: Any) -> Any:
    TRACED.append("doubled")  # runs while tracing only
    return x + x


class Model:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def scaled(self, xp: Ops, x: Any) -> Any:
        return x * self.factor


def test_a_function_is_traced_once_for_all_calls_and_sizes() -> None:
    for length in (3, 5):
        xp = get_ops("tensorflow", TFExecution(accelerator="cpu"))
        x = np.arange(length, dtype=np.float32)
        for _ in range(2):
            np.testing.assert_array_equal(xp.to_numpy(xp.call(doubled, xp.asarray(x))), 2 * x)
    assert TRACED == ["doubled"]


def test_graphs_of_a_training_end_with_it() -> None:
    """The operations whose derivatives are not those of the library are all in it."""
    xp = get_ops("tensorflow", TFExecution(accelerator="cpu"))
    graphs: list[weakref.ref[Any]] = []

    def loss(xp: Ops, inputs: Any) -> Any:
        import tensorflow as tf

        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        canvas, corner = inputs
        places = xp.places(corner, 4, 16)
        patches = xp.gather(canvas, places, 4)
        total = xp.spread(patches * patches, places, 16 * 16)
        spectrum = xp.rfft2(xp.reshape(total, (1, 16, 16)))
        return xp.sum(xp.abs2(spectrum)), ()

    values = np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32)
    object_ = xp.variable(values)
    engine = xp.engine({"canvas.object": object_})
    corner = np.array([[1, 2], [3, 4]], np.int32)
    with engine.computing():
        engine.accumulate(loss, (Variable("canvas.object", object_), corner), 1.0)
    # The sum of |spectrum|^2 over half the columns, those without a mirror image counted once.
    times = np.zeros((16, 16), np.float32)
    for y, x in corner:
        times[y : y + 4, x : x + 4] += 1
    spectrum = np.fft.rfft2(times * values**2)
    slope = np.fft.ifft2(np.pad(spectrum, ((0, 0), (0, 7)))).real * 2 * 16**2
    expected = slope * times * 2 * values
    np.testing.assert_allclose(engine.gradient()["canvas.object"], expected, rtol=1e-4, atol=1e-2)
    del engine, object_
    gc.collect()
    assert graphs and all(graph() is None for graph in graphs)


def test_what_belongs_to_a_model_is_its_own() -> None:
    xp = get_ops("tensorflow", TFExecution(accelerator="cpu"))
    x = np.arange(3, dtype=np.float32)
    for factor in (2.0, 3.0):

        def shifted(xp: Ops, x: Any, factor: float = factor) -> Any:
            return x + factor

        model = Model(factor)
        found = xp.to_numpy(xp.call(model.scaled, xp.asarray(x)))
        np.testing.assert_array_equal(found, factor * x)
        found = xp.to_numpy(xp.call(shifted, xp.asarray(x)))
        np.testing.assert_array_equal(found, x + factor)


class Pair(NamedTuple):
    first: Any = ()
    second: Any = ()


def which(xp: Ops, pair: Pair) -> Any:
    return pair.second * 2.0 if isinstance(pair.first, tuple) else pair.first


def test_what_is_left_out_of_a_tuple_counts() -> None:
    xp = get_ops("tensorflow", TFExecution(accelerator="cpu"))
    x = np.arange(3, dtype=np.float32)
    for pair, expected in ((Pair(first=xp.asarray(x)), x), (Pair(second=xp.asarray(x)), 2 * x)):
        np.testing.assert_array_equal(xp.to_numpy(xp.call(which, pair)), expected)
