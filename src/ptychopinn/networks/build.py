"""Runs a described network on the operations of a framework, and draws the weights it starts with:
the same seed starts the same network everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.networks.spec import Network
from ptychopinn.ops.base import Array, Ops

Weights = Mapping[str, NDArray[np.float32]]


def initial_weights(network: Network, seed: int) -> dict[str, NDArray[np.float32]]:
    """All parameters by name, with the shapes of the description; how those of a layer start is
    said by its kind."""
    rng = np.random.default_rng(seed)
    weights = {name: np.array(values, np.float32) for name, values in network.vectors.items()}
    for name, (shape, first) in network.parameters().items():
        weights[name] = np.asarray(first(rng, shape), np.float32)
    return weights


class BuiltNetwork:
    """The network ``description`` with ``weights``; inputs and outputs are (B, C, H, W).

    parameters : by their names in the description, in the shapes of the bundle.
    inside : context in which the layers run; a training in mixed precision sets it.

    Raises KeyError, ValueError when the weights are not exactly those of the network."""

    def __init__(self, xp: Ops, description: Network, weights: Weights) -> None:
        shapes = description.parameter_shapes()
        if set(shapes) != set(weights):
            raise KeyError(f"parameter names differ: {sorted(set(shapes) ^ set(weights))}")
        wrong = sorted(name for name, shape in shapes.items() if np.shape(weights[name]) != shape)
        if wrong:
            raise ValueError(f"parameter shapes differ: {wrong}")
        self.xp, self.description, self._shapes = xp, description, shapes
        self.parameters: dict[str, Array] = {
            name: xp.variable(np.array(weights[name], np.float32)) for name in shapes
        }
        self.inside: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._layers = list(description.fitted())

    @property
    def vectors(self) -> dict[str, Array]:
        """The learned parameters that belong to no layer."""
        return {name: self.parameters[name] for name in self.description.vectors}

    def __call__(self, **inputs: Array) -> tuple[Array, ...]:
        ordered = [inputs[name] for name in self.description.inputs]
        return tuple(self.run(self.xp, ordered, list(self.parameters.values())))

    def run(self, xp: Ops, inputs: list[Array], parameters: list[Array]) -> list[Array]:
        """The outputs, with everything that they depend on as arguments, for ``xp.call``."""
        given = {
            name: xp.with_shape(parameter, shape)
            for (name, shape), parameter in zip(self._shapes.items(), parameters, strict=True)
        }
        with self.inside():
            values = {
                name: xp.image_in(self._checked(xp, name, x))
                for name, x in zip(self.description.inputs, inputs, strict=True)
            }
            for found in self._layers:
                layer = found.layer
                own = {name: given[f"{layer.name}.{name}"] for name in found.parameters}
                x = [values[name] for name in layer.inputs]
                values[layer.name] = found.kind.run(xp, x, own)
            return [xp.single(xp.image_out(values[name])) for name in self.description.outputs]

    def _checked(self, xp: Ops, name: str, x: Array) -> Array:
        """An input (B, C, H, W), with C known while a graph is built."""
        channels, multiple = self.description.inputs[name], self.description.multiple_of
        shape = xp.shape(x)
        # Lengths of a graph under construction are not known yet.
        known = [n if isinstance(n, int) else None for n in shape]
        fits = len(known) == 4 and known[1] in (None, channels)
        if not fits or any(n is not None and n % multiple for n in known[2:]):
            raise InputError(
                f"the network takes '{name}' as (B, {channels}, H, W) with H and W multiples of "
                f"{multiple}, received {tuple(shape)}; pad or crop it."
            )
        return xp.with_shape(x, (None, channels, None, None))

    def export_weights(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all parameters as float32 arrays, for the bundle."""
        return {
            name: np.array(self.xp.to_numpy(p), np.float32) for name, p in self.parameters.items()
        }
