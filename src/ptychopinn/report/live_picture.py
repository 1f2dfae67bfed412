"""What is being found, for those who watch: a file that is written anew after passes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import Glance, Looked, Progress, Step
from ptychopinn.data.grey import grey_image
from ptychopinn.data.levels import (
    Levels,
    Limits,
    pattern_levels,
    phase_levels,
    probe_levels,
    seen_box,
)
from ptychopinn.errors import InputError, brief
from ptychopinn.io.atomic import refuse_existing, temporary_file
from ptychopinn.io.reading import kind_of

_log = logging.getLogger(__name__)

# Pixels of the longer side, and seconds from one to the next.
LONGEST_PX, EVERY_S, PATTERNS_S = 1024, 0.1, 1.0
# The computation goes on in between for so many times the seconds of a core that one took: 2.5 % of
# the time at most, and 0.4 % for the patterns; and for so many times what it waited for the disk.
REST, PATTERNS_REST, WAITING = 40.0, 250.0, 5.0
# Pixels of patterns that are looked at together, how many are shown, and modes of the probe.
LOOK_PX, WORST, MODES = 1 << 17, 3, 4
# A name with this ending gets the numbers for those who draw themselves.
PICTURE, PARTS = ".png", ".live"
FORMAT, VERSION = "ptychopinn-live", 1


def check_place(path: Path, force: bool) -> None:
    """Raise InputError unless the file ``path`` may be written anew again and again.

    It must be called .png or .live, and be a new one unless ``force`` is set.
    """
    if path.suffix not in (PICTURE, PARTS):
        raise InputError(
            f"the name of a picture that is shown must end in {PICTURE} or {PARTS}, received "
            f"'{brief(path)}'; give another one."
        )
    if kind_of(path) == "folder":
        raise InputError(
            f"the name of a picture was expected, received the folder '{path}'; name a file in it."
        )
    refuse_existing(path.parent, [path.name], force)


class LivePicture:
    """Writes what is found into the file ``path`` after passes, whole or not at all.

    A name that ends with ``.live`` gets one line of JSON, ``{"format", "version", "pass",
    "parts"}``, and then the bytes of its parts, each with its ``kind`` and ``shape``:

    canvas (h, w) : phase as levels 1 to 255 between its ``limits`` in radians, 0 where unseen.
    probe (P, 2, n, n) : amplitude and phase of its modes, 0 to 255.
    patterns (K, 2, n, n) : measured and modelled, logarithms of photons, of the positions
        ``numbers`` with the largest ``misfit`` of the ``known`` ones of ``all``.

    Any other name gets the phase as a PNG, in grey, what was never seen in blue. Where it cannot be
    written any more, it is said once and nothing more is shown: the work goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = 0.0
        self._shown = True
        self._limits: Limits | None = None
        self._patterns = WorstPatterns()

    def __call__(self, step: Step) -> None:
        begun, worked = time.perf_counter(), time.process_time()
        if begun < self._next or not self._shown:
            return
        glance = _glance(step)
        box = seen_box(glance.seen, LONGEST_PX)
        levels, self._limits = phase_levels(
            glance.object[(..., *box)], glance.seen[box], self._limits
        )
        looking = 0.0
        if self.path.suffix == PARTS:
            looking = self._patterns.look(step.number, glance)
            content = self._parts(step, glance, levels)
        else:
            content = [_png(levels)]
        self._write(content)
        end, worked = time.perf_counter(), time.process_time() - worked - looking
        self._next = end + max(EVERY_S, REST * worked, WAITING * (end - begun))

    def _write(self, content: list[Any]) -> None:
        try:
            with temporary_file(self.path) as new:
                with new.open("wb") as file:
                    file.writelines(content)
                # It is whole, but not forced to the disk: the next one follows at once.
                new.replace(self.path)
        except (OSError, InputError) as error:
            self._shown = False
            _log.warning("the picture '%s' is shown no more: %s", self.path, brief(error))

    def _parts(self, step: Step, glance: Glance, levels: Levels) -> list[Any]:
        probe = np.stack([probe_levels(mode) for mode in glance.probe[:MODES]])
        parts: list[tuple[dict[str, Any], Levels]] = [
            ({"kind": "canvas", "limits": self._limits}, levels),
            ({"kind": "probe"}, probe),
        ]
        if self._patterns.shown is not None:
            parts.append(({"kind": "patterns", **self._patterns.about}, self._patterns.shown))
        head = {
            "format": FORMAT, "version": VERSION, "pass": step.number,
            "parts": [{**about, "shape": array.shape} for about, array in parts],
        }  # fmt: skip
        # Written as they are: copies would cost as much as the pictures.
        arrays = [np.ascontiguousarray(array).data for _, array in parts]
        return [json.dumps(head, allow_nan=False).encode(), b"\n", *arrays]


class WorstPatterns:
    """Looks at some patterns at a time, of which it knows the worst: those that were bad before,
    and others in turn, so that all of them have been looked at in the end.

    shown : levels of the worst.  about : what is said of them.
    """

    def __init__(self) -> None:
        self.shown: Levels | None = None
        self.about: dict[str, Any] = {}
        self._misfit: NDArray[np.float64] = np.zeros(0)
        self._at = self._pass = 0
        self._next = 0.0

    def look(self, number: int, glance: Glance) -> float:
        """Look, when it is time, after the pass ``number``; the seconds of a core it took."""
        begun, worked = time.perf_counter(), time.process_time()
        if number <= self._pass or len(self._misfit) != glance.patterns:
            # Another solver: what was found before says nothing.
            self._misfit, self._at = np.full(glance.patterns, np.nan), 0
            self.shown, self._next = None, 0.0
        self._pass = number
        if begun < self._next or not glance.patterns:
            return 0.0
        self._show(self._chosen(glance), glance)
        worked = time.process_time() - worked
        self._next = time.perf_counter() + max(PATTERNS_S, PATTERNS_REST * worked)
        return worked

    def _chosen(self, glance: Glance) -> NDArray[np.int64]:
        worst = self._worst()
        count = min(glance.patterns, max(2 * WORST, LOOK_PX // glance.probe[0].size))
        # In steps that are no divisor, so that they come from everywhere.
        step = next(k for k in range(max(1, glance.patterns * 5 // 13), glance.patterns + 2)
                    if np.gcd(k, glance.patterns) == 1)  # fmt: skip
        turn = (self._at + step * np.arange(max(1, count - len(worst)))) % glance.patterns
        self._at = int(self._at + step * len(turn)) % glance.patterns
        return np.unique(np.concatenate([worst, turn])).astype(np.int64)

    def _worst(self) -> NDArray[np.int64]:
        known = np.flatnonzero(np.isfinite(self._misfit))
        order = np.argsort(-self._misfit[known], kind="stable")
        return known[order[:WORST]]

    def _show(self, numbers: NDArray[np.int64], glance: Glance) -> None:
        found: Looked = glance.look(numbers)
        self._misfit[numbers] = found.misfit
        # One that was worse when it was looked at longer ago is among the next.
        places = np.flatnonzero(np.isfinite(found.misfit))
        places = places[np.argsort(-found.misfit[places], kind="stable")][:WORST]
        if not places.size:
            return
        pairs = np.stack((found.measured[places], found.modelled[places]), axis=1)
        self.shown = pattern_levels(pairs)
        self.about = {
            "numbers": [int(v) for v in numbers[places]],
            "misfit": [float(f"{v:.4g}") for v in found.misfit[places]],
            "known": int(np.isfinite(self._misfit).sum()),
            "all": glance.patterns,
        }


def _glance(step: Step) -> Glance:
    """What there is to show; of a solver without a glance no patterns."""
    if step.glance is not None:
        return step.glance()
    found = step.result()

    def look(numbers: NDArray[np.int64]) -> Looked:
        raise IndexError(numbers)

    return Glance(found.canvas.object, found.canvas.weight > 0, found.probe, 0, look)


def _png(levels: Levels) -> bytes:
    made = BytesIO()
    grey_image(levels).save(made, "PNG", compress_level=1)
    return made.getvalue()


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
