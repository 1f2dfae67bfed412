"""The TensorFlow backend's two verbs."""

from __future__ import annotations

from ptychopinn.backends.tensorflow.inference import reconstruct
from ptychopinn.backends.tensorflow.training import train

__all__ = ["reconstruct", "train"]
