"""From a model configuration to the description of its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ptychopinn.config import ModelConfig
from ptychopinn.networks.cnn import cnn_network
from ptychopinn.networks.spec import Network
from ptychopinn.networks.unrolled import unrolled_network

Family = Literal["patch", "canvas"]


@dataclass(frozen=True)
class Architecture:
    """family : what the network maps patterns to, object patches or an object canvas.
    describe : the network of a configuration, the same for every backend.
    """

    family: Family
    describe: Callable[[ModelConfig], Network]


ARCHITECTURES: dict[str, Architecture] = {
    "unrolled": Architecture(
        "canvas",
        lambda config: unrolled_network(
            config.iterations, config.width, config.levels, config.momentum
        ),
    ),
    "cnn": Architecture("patch", cnn_network),
}


def describe(config: ModelConfig) -> Network:
    """The backend-neutral description of the configured architecture."""
    return ARCHITECTURES[config.architecture].describe(config)


def family(config: ModelConfig) -> Family:
    """Whether the configured architecture is a patch or a canvas network."""
    return ARCHITECTURES[config.architecture].family
