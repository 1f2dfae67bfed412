"""Processes that train one model together, or share the patterns of a scan; ``torchrun`` starts
them.

Only that launcher is followed: inside a job of a cluster a process that was not started by it works
alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError

# Set by torchrun in every process that it starts.
LAUNCHED = "TORCHELASTIC_RUN_ID"


@dataclass(frozen=True)
class Ranks:
    """This process among those that work together.

    rank, size : its number, from 0, and how many there are.  local, beside : the same on this
    machine.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    beside: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes the files and speaks to the user."""
        return self.rank == 0

    def share(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Which of these numbers are this one's."""
        return np.array_split(numbers, self.size)[self.rank]


def started(environment: Mapping[str, str] | None = None) -> Ranks:
    """What torchrun says of this process; one that works alone without it.

    Raises InputError when its variables are no numbers."""
    known = os.environ if environment is None else environment
    if LAUNCHED not in known:
        return Ranks()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        return Ranks(*(int(known[name]) for name in names))
    except (KeyError, ValueError):
        raise InputError(
            f"a process started by torchrun must have the variables {', '.join(names)}, received "
            "some that are missing or no numbers; start the command with torchrun."
        ) from None
