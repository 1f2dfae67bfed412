"""Addresses that open one file once, where a browser can send no header."""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path

# Seconds that one is good for, and how many there are at most.
GOOD_S, MOST = 60.0, 1000


class Tickets:
    """Each is a secret of its own; whoever reads it in an address finds it used."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[float, Path]] = {}
        self._lock = threading.Lock()

    def issue(self, path: Path) -> str:
        """A new one for this file."""
        now = time.monotonic()
        with self._lock:
            good = [(t, (end, p)) for t, (end, p) in self._files.items() if end > now]
            self._files = dict(good[-MOST + 1 :])
            ticket = secrets.token_urlsafe(24)
            self._files[ticket] = (now + GOOD_S, path)
        return ticket

    def redeem(self, ticket: str) -> Path | None:
        """The file; None when the ticket is used, too old or none."""
        with self._lock:
            end, path = self._files.pop(ticket, (0.0, None))
        return path if end > time.monotonic() else None
