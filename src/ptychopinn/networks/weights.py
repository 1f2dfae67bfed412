"""Initial weights, drawn without a framework: the same seed starts the same network everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ptychopinn.networks.spec import Network

Weights = Mapping[str, NDArray[np.float32]]


def initial_weights(network: Network, seed: int) -> dict[str, NDArray[np.float32]]:
    """All parameters by name, with the shapes of the description.

    How the parameters of a layer start is said by its kind.
    """
    rng = np.random.default_rng(seed)
    weights = {name: np.array(values, np.float32) for name, values in network.vectors.items()}
    for name, (shape, first) in network.parameters().items():
        weights[name] = np.asarray(first(rng, shape), np.float32)
    return weights


def check_names_and_shapes(network: Network, weights: Weights) -> None:
    """Raise KeyError or ValueError unless these are exactly the parameters of the network."""
    shapes = network.parameter_shapes()
    if set(shapes) != set(weights):
        raise KeyError(f"parameter names differ: {sorted(set(shapes) ^ set(weights))}")
    wrong = sorted(name for name, shape in shapes.items() if np.shape(weights[name]) != shape)
    if wrong:
        raise ValueError(f"parameter shapes differ: {wrong}")
