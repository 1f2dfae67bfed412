"""The object while it is being found, as a picture that is written anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ptychopinn.contracts import Progress, Step
from ptychopinn.data.grey import phase_picture

# Seconds from picture to picture, and how much longer than it takes to make one the computation
# goes on in between.
EVERY_S, REST = 0.2, 5.0


class Unhurried:
    """Shows passes with ``show``, in which a fifth of the time at most goes."""

    def __init__(self, show: Callable[[Step], None]) -> None:
        self._show, self._next = show, 0.0

    def __call__(self, step: Step) -> bool:
        """Whether the pass was shown."""
        begun = time.perf_counter()
        if begun < self._next:
            return False
        self._show(step)
        end = time.perf_counter()
        self._next = end + max(EVERY_S, REST * (end - begun))
        return True


class LivePicture:
    """Writes the phase into the PNG ``path`` after passes, in grey, what was never seen in blue."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unhurried = Unhurried(self._write)

    def __call__(self, step: Step) -> None:
        self._unhurried(step)

    def _write(self, step: Step) -> None:
        image = phase_picture(step.result().canvas)
        # Renamed when it is whole, but not forced to the disk: the next one follows at once.
        new = self.path.with_name(f".{self.path.name}.new")
        image.save(new, "PNG", compress_level=1)
        new.replace(self.path)


class _Followed:
    """A progress that shows what is found as well."""

    def __init__(self, progress: Progress, show: Callable[[Step], None]) -> None:
        self._progress, self._show = progress, show

    def epoch(self, number: int, steps: int) -> None:
        self._progress.epoch(number, steps)

    def step(self, loss: float, patterns_per_s: float) -> None:
        self._progress.step(loss, patterns_per_s)

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        self._progress.epoch_done(number, metrics)

    def found(self, step: Step) -> None:
        self._show(step)


def followed(
    stages: Callable[[int], AbstractContextManager[Progress]], show: Callable[[Step], None]
) -> Callable[[int], AbstractContextManager[Progress]]:
    """The same stages, whose passes are shown as well."""

    @contextmanager
    def stage(count: int) -> Iterator[Progress]:
        with stages(count) as progress:
            yield _Followed(progress, show)

    return stage
