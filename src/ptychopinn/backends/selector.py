"""Chooses a backend by name and imports only that one."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Literal, cast

from ptychopinn.backends.base import Backend
from ptychopinn.errors import MissingDependencyError

BackendName = Literal["pytorch"]


def get_backend(name: BackendName = "pytorch", *, training: bool = False) -> Backend:
    """The backend ``name``; Lightning is needed for training only.

    Raises
    ------
    MissingDependencyError
        When its packages are not installed.
    """
    for package in ("torch", "lightning") if training else ("torch",):
        if not installed(package):
            raise MissingDependencyError(
                f"the {name} backend needs the package {package}, received an installation "
                f"without it; "
                "run: pip install 'ptychopinn[pytorch]'."
            )
    return cast(Backend, importlib.import_module(f"ptychopinn.backends.{name}.backend"))


def installed(package: str) -> bool:
    """Whether the package can be imported; it is not imported for that."""
    try:
        return find_spec(package) is not None
    except ImportError:
        return False
