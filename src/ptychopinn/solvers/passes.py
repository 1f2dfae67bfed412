"""Reports how passes over all patterns of a scan advance."""

from __future__ import annotations

import time
from collections.abc import Callable

from ptychopinn.contracts import Glance, Glimpses, Progress


class Passes:
    """Passes over all patterns of a scan.

    The loss that is shown is the misfit of the patterns of the pass so far, so that it can be
    compared between steps and between passes.

    progress : receives the reports.
    patterns : of the scan.
    """

    def __init__(self, progress: Progress, patterns: int) -> None:
        self._progress, self._patterns = progress, patterns
        self._number = self._updates = self._done = self._seen = 0
        self._misfit = self._begun = 0.0

    def begin(self, updates: int) -> None:
        """A pass of so many updates begins, each with the same share of the patterns."""
        self._updates, self._done, self._seen, self._misfit = updates, 0, 0, 0.0
        self._begun = time.perf_counter()
        self._progress.epoch(self._number, updates)

    def within(self, patterns: int, glance: Callable[[], Glance]) -> None:
        """So many more patterns of the pass were worked on; ``glance`` gives what there is."""
        self._seen += patterns
        if isinstance(self._progress, Glimpses):
            self._progress.meanwhile(
                self._number + 1, min(1.0, self._seen / self._patterns), glance
            )

    def step(self, misfit: float) -> None:
        """An update is done; its share of the relative misfit of the pass."""
        self._done += 1
        self._misfit += misfit
        share = self._done / self._updates
        elapsed = max(time.perf_counter() - self._begun, 1e-9)
        self._progress.step(self._misfit / share, self._patterns * share / elapsed)

    def end(self) -> None:
        """The pass is over."""
        self._progress.epoch_done(self._number, {"misfit": self._misfit})
        self._number += 1
