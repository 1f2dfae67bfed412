"""From a model configuration to the description of its network."""

from __future__ import annotations

from ptychopinn.config import ModelConfig
from ptychopinn.networks.cnn import cnn_network
from ptychopinn.networks.spec import Network
from ptychopinn.networks.unrolled import unrolled_network


def describe(config: ModelConfig) -> Network:
    """The backend-neutral description of the configured architecture."""
    if config.architecture == "cnn":
        return cnn_network(config)
    return unrolled_network(
        config.iterations, config.updates, config.width, config.levels, config.momentum
    )
