"""An ONNX graph that grows while its arrays are computed with.

Arrays that depend on an input are a :class:`Symbol`, the name of a value in the graph; all others
are NumPy arrays and become its constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

#: Version of the operators, and of the file, that runtimes must know.
OPSET, IR_VERSION = 18, 9


@dataclass(frozen=True, eq=False)
class Length:
    """The length of an axis that is known only when the graph runs: ``times`` that of an axis of an
    input."""

    graph: Graph
    input: str
    axis: int
    name: str
    times: Fraction = Fraction(1)

    @property
    def shown(self) -> str:
        """Its name, with the factor."""
        return self.name if self.times == 1 else f"{self.name}*{self.times}"

    def __mul__(self, factor: int) -> Length:
        return replace(self, times=self.times * factor)

    def __floordiv__(self, factor: int) -> Length:
        return replace(self, times=self.times / factor)


Lengths = tuple[int | Length, ...]


class Graph:
    """The nodes and constants so far."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._known: dict[Any, str] = {}

    def constant(self, values: NDArray[Any]) -> str:
        """The name of a constant."""
        content = (values.dtype.str, values.shape, values.tobytes())
        if content not in self._known:
            self._known[content] = name = f"c{len(self.constants)}"
            self.constants[name] = np.ascontiguousarray(values)
        return self._known[content]

    def add(self, kind: str, inputs: Sequence[Any], shape: Lengths, **attributes: Any) -> Symbol:
        """The output of a new node; inputs are symbols or NumPy arrays."""
        names = [x.name if isinstance(x, Symbol) else self.constant(np.asarray(x)) for x in inputs]
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [name], **attributes))
        return Symbol(self, name, shape)

    def input(self, name: str, shape: Sequence[int | str]) -> Symbol:
        """What the network is given, float32; a word stands for an open length."""
        lengths = (
            Length(self, name, axis, n) if isinstance(n, str) else n for axis, n in enumerate(shape)
        )
        return Symbol(self, name, tuple(lengths))

    def lengths(self, shape: Lengths) -> Any:
        """The shape as an array of the graph."""
        if not any(isinstance(n, Length) for n in shape):
            return np.array(shape, np.int64)
        return self.add("Concat", [self._length(n) for n in shape], (len(shape),), axis=0)

    def _length(self, n: int | Length) -> Any:
        if isinstance(n, int):
            return np.array([n], np.int64)
        given = Symbol(self, n.input, ())
        found = self.add("Shape", [given], (1,), start=n.axis, end=n.axis + 1)
        for kind, number in (("Mul", n.times.numerator), ("Div", n.times.denominator)):
            if number != 1:
                found = self.add(kind, [found, np.array([number], np.int64)], (1,))
        return found

    def model(
        self, inputs: Sequence[Symbol], outputs: Mapping[str, Symbol], facts: Mapping[str, str]
    ) -> bytes:
        """The file: inputs and outputs as float32, and facts that travel with it."""
        for name, symbol in outputs.items():
            self.nodes.append(helper.make_node("Identity", [symbol.name], [name]))

        def value(name: str, shape: Lengths) -> Any:
            lengths = [n.shown if isinstance(n, Length) else n for n in shape]
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, lengths)

        graph = helper.make_graph(
            self.nodes,
            "network",
            [value(x.name, x.shape) for x in inputs],
            [value(name, x.shape) for name, x in outputs.items()],
            [numpy_helper.from_array(v, name) for name, v in self.constants.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="ptychopinn",
        )
        helper.set_model_props(model, dict(facts))
        return bytes(model.SerializeToString(deterministic=True))


def single(x: Any) -> Any:
    """Numbers and constants as float32."""
    return x if isinstance(x, Symbol) else np.asarray(x, np.float32)


@dataclass(frozen=True, eq=False)
class Symbol:
    """A real array (float32) that a node gives."""

    graph: Graph
    name: str
    shape: Lengths
    # NumPy leaves the operators between its arrays and symbols to these.
    __array_ufunc__ = None

    def _with(self, kind: str, one: Any, other: Any) -> Symbol:
        shapes = [x.shape for x in (single(one), single(other))]
        return self.graph.add(kind, [single(one), single(other)], common_shape(*shapes))

    def __add__(self, other: Any) -> Symbol:
        return self._with("Add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self._with("Add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self._with("Sub", self, other)

    def __mul__(self, other: Any) -> Symbol:
        return self._with("Mul", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._with("Mul", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self._with("Div", self, other)

    def __getitem__(self, key: Any) -> Symbol:
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (len(self.shape) - len(keys) + 1)
        found = self
        dropped = [axis for axis, k in enumerate(keys) if isinstance(k, int)]
        ranges = {axis: k if isinstance(k, slice) else slice(k, k + 1)
                  for axis, k in enumerate(keys) if k != slice(None)}  # fmt: skip
        if ranges:
            shape, limits = list(self.shape), []
            for axis, k in ranges.items():
                start, stop, _ = k.indices(self.shape[axis])  # type: ignore[arg-type]
                limits.append((start, stop, axis))
                shape[axis] = stop - start
            starts, stops, axes = np.array(limits, np.int64).T
            found = self.graph.add("Slice", [found, starts, stops, axes], tuple(shape))
        if dropped:
            shape = [n for axis, n in enumerate(found.shape) if axis not in dropped]
            found = self.graph.add("Squeeze", [found, np.array(dropped)], tuple(shape))
        return found


def common_shape(one: Lengths, other: Lengths) -> Lengths:
    """The shape of two arrays that are broadcast against each other."""
    rank = max(len(one), len(other))
    pairs = zip((1,) * (rank - len(one)) + one, (1,) * (rank - len(other)) + other, strict=True)
    return tuple(b if a == 1 else a for a, b in pairs)
