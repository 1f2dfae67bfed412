"""The model under the name that clients load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptychopinn.clients.running import reporting
from ptychopinn.io.models import Bundle, load_bundle


class PtychoPINN_Lightning:
    """A model, trained or not.

    ``loss_name`` and ``val_loss_name`` are the metrics of its training.
    """

    loss_name = "train_loss"
    val_loss_name = "val_loss"

    def __init__(self, bundle: Bundle | None = None, **configs: Any) -> None:
        self.bundle = bundle

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: str | Path, **configs: Any
    ) -> PtychoPINN_Lightning:
        """Read a ``.ckpt``, which is a model bundle (docs/bundle.md) in one file."""
        with reporting("ptychopinn-torch"):
            return cls(load_bundle(checkpoint_path))
