"""The TensorFlow backend's verbs."""

from __future__ import annotations

from ptychopinn.backends.tensorflow.inference import reconstruct
from ptychopinn.backends.tensorflow.refinement import refine
from ptychopinn.backends.tensorflow.training import train

__all__ = ["reconstruct", "refine", "train"]
