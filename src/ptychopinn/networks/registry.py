"""The architectures that come with the program: importing this module makes them known."""

from __future__ import annotations

from ptychopinn.networks import cnn, unrolled
from ptychopinn.networks.architecture import Family, ModelConfig
from ptychopinn.networks.spec import Network

__all__ = ["Family", "ModelConfig", "cnn", "describe", "family", "unrolled"]


def describe(config: ModelConfig) -> Network:
    """The backend-neutral description of the configured architecture."""
    return config.describe()


def family(config: ModelConfig) -> Family:
    """Whether the configured architecture is a patch or a canvas network."""
    return config.family
