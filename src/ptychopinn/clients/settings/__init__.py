"""The one table from the names of the earlier program, and of ptychodus, to the configuration.

Each name has a :class:`Rule`: where its value goes, or why it changes nothing, or why it cannot be
honoured. Nothing is dropped in silence: :func:`translate` returns a note for every value that was
given and has no effect.
"""

from __future__ import annotations

from ptychopinn.clients.settings.rules import NEVER, Rule
from ptychopinn.clients.settings.tables import (
    ACCELERATORS,
    COMMAND_RULES,
    EVERY_PATTERN,
    EXECUTION_RULES,
    RULES,
    TORCH,
    TORCH_RULES,
)
from ptychopinn.clients.settings.translation import Translation, only_effects, translate
from ptychopinn.clients.settings.variables import (
    ARCHITECTURE_VARIABLE,
    CONFIG_VARIABLE,
    START_VARIABLE,
    backend_name,
    environment,
    starting_model,
)

__all__ = [
    "ACCELERATORS",
    "ARCHITECTURE_VARIABLE",
    "COMMAND_RULES",
    "CONFIG_VARIABLE",
    "EVERY_PATTERN",
    "EXECUTION_RULES",
    "NEVER",
    "RULES",
    "START_VARIABLE",
    "TORCH",
    "TORCH_RULES",
    "Rule",
    "Translation",
    "backend_name",
    "environment",
    "only_effects",
    "starting_model",
    "translate",
]
