"""The TensorFlow backend. Importing it imports tensorflow; nothing outside this package does."""

from ptychopinn.ops.importing import undisturbed

with undisturbed():
    import tensorflow  # noqa: F401 - before any module of this package does
