"""Environment variables: what a client that lacks an option can be given all the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast, get_args

from ptychopinn.config import ModelConfig
from ptychopinn.errors import InputError
from ptychopinn.io.config_file import read_config_file
from ptychopinn.ops.selector import BackendName

ARCHITECTURE_VARIABLE = "PTYCHOPINN_ARCHITECTURE"
BACKEND_VARIABLE = "PTYCHOPINN_BACKEND"
CONFIG_VARIABLE = "PTYCHOPINN_CONFIG"
START_VARIABLE = "PTYCHOPINN_START"


def backend_name(asked: Any = None) -> BackendName | None:
    """The backend asked for, or that of the environment; None leaves the choice to what is
    installed.

    Raises
    ------
    InputError
        For any other name.
    """
    name = asked or os.environ.get(BACKEND_VARIABLE)
    if not name:
        return None
    if name not in get_args(BackendName):
        raise InputError(
            f"the backend must be one of {', '.join(get_args(BackendName))}, received '{name}'; "
            f"correct --backend or {BACKEND_VARIABLE}."
        )
    return cast(BackendName, name)


def environment(default: str) -> tuple[str, dict[str, Any]]:
    """What the environment says: the architecture, and a configuration that takes precedence.

    Raises
    ------
    InputError
        For an unknown architecture or a file that cannot be read.
    """
    name = os.environ.get(ARCHITECTURE_VARIABLE, default) or default
    if name not in ModelConfig.kinds:
        expected = ModelConfig.expected(name)
        raise InputError(
            f"{ARCHITECTURE_VARIABLE} must be {expected}, received '{name}'; correct the "
            "environment variable."
        )
    file = options_file()
    return name, {} if file is None else read_config_file(file)


def options_file() -> Path | None:
    """The file of options that the environment names."""
    file = os.environ.get(CONFIG_VARIABLE)
    return Path(file) if file else None


def starting_model() -> str | None:
    """The model that training starts from, as the environment says: a bundle, the word pretrained,
    or None for a new network."""
    return os.environ.get(START_VARIABLE) or None
