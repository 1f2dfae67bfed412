"""Saving the model that was trained last."""

from __future__ import annotations

from pathlib import Path

from ptycho import params
from ptychopinn.clients.running import reporting
from ptychopinn.io.models import BUNDLE_NAME, save_bundle


def save(out_prefix: str | Path) -> None:
    """Write the model trained last as ``wts.h5.zip`` into the folder."""
    if params.TRAINED not in params.cfg:
        raise ValueError("a trained model was expected, received none; train first.")
    with reporting("ptychopinn"):
        save_bundle(params.get(params.TRAINED), Path(out_prefix) / BUNDLE_NAME, force=True)
