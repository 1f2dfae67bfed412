"""What the tests in a browser share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Patience in ms, on a machine that is busy.
WAIT_MS = 30_000

Open = Callable[..., Any]


class Served(NamedTuple):
    """A server: its folder, its address, and the token that it asks for."""

    folder: Path
    address: str
    token: str

    @property
    def key(self) -> str:
        return f"{self.address}/#token={self.token}"
