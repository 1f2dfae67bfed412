"""Graphs are traced once in a process, not once for every call of a verb."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from ptychopinn.ops.base import Ops
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
