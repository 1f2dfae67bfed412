"""Addresses that open something once, where a browser can send no header."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Generic, TypeVar

# Seconds that one is good for, and how many there are at most.
GOOD_S, MOST = 60.0, 1000
T = TypeVar("T")


class Tickets(Generic[T]):
    """Each is a secret of its own; whoever reads it in an address finds it used."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, T]] = {}
        self._lock = threading.Lock()

    def issue(self, what: T) -> str:
        """A new one for this."""
        now = time.monotonic()
        with self._lock:
            good = [(t, (end, p)) for t, (end, p) in self._known.items() if end > now]
            self._known = dict(good[-MOST + 1 :])
            ticket = secrets.token_urlsafe(24)
            self._known[ticket] = (now + GOOD_S, what)
        return ticket

    def redeem(self, ticket: str) -> T | None:
        """What it is for; None when the ticket is used, too old or none."""
        with self._lock:
            end, what = self._known.pop(ticket, (0.0, None))
        return what if end > time.monotonic() else None
