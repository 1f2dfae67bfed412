"""The object while it is being found, as a picture that is written anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptychopinn.contracts import Canvas, Progress, Step

# Pixels of the longer side, seconds from picture to picture, and how much longer than it takes to
# make one the computation goes on in between.
LONGEST_PX, EVERY_S, REST = 1024, 0.2, 5.0
# Level of what was never seen, and its colour: no grey, which would be a phase.
UNSEEN, COLOUR = 0, (176, 200, 230)


class LivePicture:
    """Writes the phase into the PNG ``path`` after passes, in grey, what was never seen in blue; a
    fifth of the time at most goes into that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = 0.0

    def __call__(self, step: Step) -> None:
        begun = time.perf_counter()
        if begun < self._next:
            return
        image = Image.fromarray(phase_levels(step.result().canvas))
        image.putpalette([*COLOUR, *(level for level in range(1, 256) for _ in range(3))])
        # Renamed when it is whole, but not forced to the disk: the next one follows at once.
        new = self.path.with_name(f".{self.path.name}.new")
        image.save(new, "PNG", compress_level=1)
        new.replace(self.path)
        end = time.perf_counter()
        self._next = end + max(EVERY_S, REST * (end - begun))


def phase_levels(canvas: Canvas) -> NDArray[np.uint8]:
    """The phase of what was seen as 1 to 255, in the limits of most of it; of a thick sample that
    of all slices together. Every second pixel, or third, where it is large."""
    seen = canvas.weight > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not rows.size:
        return np.full((1, 1), UNSEEN, dtype=np.uint8)
    longest = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    every = -(-longest // LONGEST_PX)
    box = (slice(rows[0], rows[-1] + 1, every), slice(columns[0], columns[-1] + 1, every))
    seen, part = seen[box], canvas.object[(..., *box)]
    part = part.reshape(-1, *seen.shape).prod(axis=0)
    # The mean phase has no meaning; without it the phase rarely wraps.
    phase = np.angle(part * np.conj(part[seen].sum()))
    low, high = np.percentile(phase[seen], (0.5, 99.5)) if seen.any() else (-1.0, 1.0)
    levels = 1 + 254 * np.clip((phase - low) / max(high - low, 1e-3), 0, 1)
    return np.where(seen, levels, UNSEEN).astype(np.uint8)


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
