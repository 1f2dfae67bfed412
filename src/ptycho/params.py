"""The one global dictionary that clients of the earlier program read and write.

Besides their settings it holds ``intensity_scale`` of the model that was loaded last and, under
``TRAINED``, the model that was trained last, since ``ptycho.model_manager.save`` is not told which
model to save.
"""

from __future__ import annotations

from typing import Any

TRAINED = "trained_model"

cfg: dict[str, Any] = {}


def get(key: str) -> Any:
    """The value of a setting; KeyError when it was never set."""
    return cfg[key]


def set(key: str, value: Any) -> None:
    """Set a setting."""
    cfg[key] = value
