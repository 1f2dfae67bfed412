"""The probe travels with the scan; this name is kept for clients that announce it."""

from __future__ import annotations

from typing import Any

from ptycho import params


def set_probe_guess(X_train: Any = None, probe_guess: Any = None) -> None:
    """Remember the probe in the global dictionary."""
    params.set("probe", probe_guess)


def get_probe() -> Any:
    """The probe that was announced last."""
    return params.get("probe")
