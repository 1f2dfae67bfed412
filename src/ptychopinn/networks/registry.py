"""The architectures that come with the program: importing this module makes them known."""

from __future__ import annotations

from ptychopinn.networks import cnn, unrolled
from ptychopinn.networks.architecture import ModelConfig

__all__ = ["ModelConfig", "cnn", "unrolled"]
