"""The metrics of every epoch in the format of TensorBoard, which need not be installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

SCALARS = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
)


class Summaries:
    """Writes scalars to ``directory``/tensorboard; to nowhere when it is None.

    The file is made with the first metrics, not before.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self._writer: tf.summary.SummaryWriter | None = None

    def write(self, metrics: Mapping[str, float], step: int) -> None:
        """Add the metrics after so many steps."""
        if self.directory is None:
            return
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.directory / "tensorboard"))
        with self._writer.as_default():
            for name, value in metrics.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step, metadata=SCALARS)
        self._writer.flush()
