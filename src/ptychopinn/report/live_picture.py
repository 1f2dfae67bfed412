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

from ptychopinn.contracts import Glance, Glimpses, Looked, Progress, Step
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
# Seconds from one word about how far a pass is to the next.
WITHIN_S = 0.5
# The computation goes on in between for so many times the seconds of a core that one took: 3 % of
# the time at most, and 0.4 % for the patterns; and for so many times what it waited for the disk.
REST, PATTERNS_REST, WAITING = 32.0, 250.0, 5.0
# After so many times that on the clock the next look comes in any case.
LATE = 10.0
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


class Pause:
    """Between one look and the next, the computation goes on for a while."""

    def __init__(self) -> None:
        self._soonest = self._latest = self._worked = 0.0

    @property
    def over(self) -> bool:
        """Whether it is time for the next look."""
        now = time.perf_counter()
        # Where the seconds of a core hardly pass, a GPU works, or others do.
        return now >= self._soonest and (time.process_time() >= self._worked or now >= self._latest)

    def begin(self, least_s: float, rest_s: float) -> None:
        """For so long at least, and until the process has had so many seconds of a core."""
        now = time.perf_counter()
        self._soonest, self._latest = now + least_s, now + LATE * rest_s
        self._worked = time.process_time() + rest_s


class LivePicture:
    """Writes what is found into the file ``path`` after passes, whole or not at all.

    A name that ends with ``.live`` gets one line of JSON, ``{"format", "version", "pass",
    "parts"}``, and then the bytes of its parts, each with its ``kind`` and ``shape``:

    canvas (h, w) : phase as levels 1 to 255 between its ``limits`` in radians, 0 where unseen.
    probe (P, 2, n, n) : amplitude and phase of its modes, 0 to 255.
    within (0) : how far pass or epoch (``unit``) ``number`` of ``count`` is, ``share`` of it.
    patterns (K, 2, n, n) : measured and modelled, logarithms of photons, of the positions
        ``numbers`` with the largest ``misfit`` of the ``known`` ones of ``all``.

    Any other name gets the phase as a PNG, in grey, what was never seen in blue. Where it cannot be
    written any more, it is said once and nothing more is shown: the work goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pause, self._told, self._shown = Pause(), 0.0, True
        self._limits: Limits | None = None
        self._number = 0
        self._within: dict[str, Any] | None = None
        self._kept: tuple[list[dict[str, Any]], list[Any]] = ([], [])
        self._patterns = WorstPatterns()

    def __call__(self, step: Step) -> None:
        """A pass is done."""
        self._show(step.number, step.look, True)

    def meanwhile(self, number: int, glance: Callable[[], Glance]) -> None:
        """Something changed in pass ``number``, which is not over."""
        self._show(number, glance, False)

    def _show(self, number: int, look: Callable[[], Glance], done: bool) -> None:
        if not self._shown or not self._pause.over:
            return
        begun = time.perf_counter()
        # Within a pass other threads go on with its patterns: their work is not that of showing.
        clock = time.process_time if done else time.thread_time
        worked = clock()
        glance = look()
        box = seen_box(glance.seen, LONGEST_PX)
        levels, self._limits = phase_levels(
            glance.object[(..., *box)], glance.seen[box], self._limits
        )
        looking = 0.0
        if self.path.suffix == PARTS:
            looking = self._patterns.look(number, glance, done, clock)
            content = self._parts(number, glance, levels)
        else:
            content = [_png(levels)]
        self._write(content)
        worked, waited = clock() - worked - looking, time.perf_counter() - begun
        self._pause.begin(max(EVERY_S, WAITING * waited), REST * worked)

    def within(self, about: Mapping[str, Any]) -> None:
        """How far the present pass is, for the pages: a part without levels."""
        now = time.perf_counter()
        if not self._shown or self.path.suffix != PARTS or now < self._told:
            return
        self._within = {"kind": "within", "shape": [0], **about}
        self._write(self._packed())
        self._told = time.perf_counter() + WITHIN_S

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

    def _parts(self, number: int, glance: Glance, levels: Levels) -> list[Any]:
        probe = np.stack([probe_levels(mode) for mode in glance.probe[:MODES]])
        parts: list[tuple[dict[str, Any], Levels]] = [
            ({"kind": "canvas", "limits": self._limits}, levels),
            ({"kind": "probe"}, probe),
        ]
        if self._patterns.shown is not None:
            parts.append(({"kind": "patterns", **self._patterns.about}, self._patterns.shown))
        # Written as they are: copies would cost as much as the pictures.
        arrays = [np.ascontiguousarray(array).data for _, array in parts]
        self._number = number
        self._kept = [{**about, "shape": array.shape} for about, array in parts], arrays
        return self._packed()

    def _packed(self) -> list[Any]:
        """The file, of what was shown last."""
        parts, arrays = self._kept
        within = [] if self._within is None else [self._within]
        head = {
            "format": FORMAT, "version": VERSION, "pass": self._number, "parts": [*parts, *within],
        }  # fmt: skip
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
        self._pause = Pause()

    def look(
        self,
        number: int,
        glance: Glance,
        done: bool = True,
        clock: Callable[[], float] = time.process_time,
    ) -> float:
        """Look, when it is time, after the pass ``number``, or within it; the seconds of a core it
        took, as ``clock`` knows them."""
        worked = clock()
        if number <= self._pass or len(self._misfit) != glance.patterns:
            # Another solver: what was found before says nothing.
            self._misfit, self._at = np.full(glance.patterns, np.nan), 0
            self.shown, self._pause = None, Pause()
        # What is looked at within a pass comes again at its end.
        self._pass = number if done else number - 1
        if not self._pause.over or not glance.patterns:
            return 0.0
        self._show(self._chosen(glance), glance)
        worked = clock() - worked
        self._pause.begin(PATTERNS_S, PATTERNS_REST * worked)
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


def _png(levels: Levels) -> bytes:
    made = BytesIO()
    grey_image(levels).save(made, "PNG", compress_level=1)
    return made.getvalue()


class Followed:
    """A progress that shows what is found as well; ``unit`` is what its ``count`` passes are
    called."""

    def __init__(
        self, progress: Progress, show: LivePicture, count: int, unit: str = "pass"
    ) -> None:
        self._progress, self._show, self._count, self._unit = progress, show, count, unit
        self._number, self._steps, self._done = 0, 1, 0

    def epoch(self, number: int, steps: int) -> None:
        self._number, self._steps, self._done = number, steps, 0
        self._progress.epoch(number, steps)
        self._tell(0.0)

    def step(self, loss: float, patterns_per_s: float) -> None:
        self._done += 1
        self._progress.step(loss, patterns_per_s)
        self._tell(min(1.0, self._done / max(1, self._steps)))

    def _tell(self, share: float) -> None:
        self._show.within({
            "unit": self._unit, "number": self._number + 1, "count": self._count,
            "share": round(share, 3),
        })  # fmt: skip

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        self._progress.epoch_done(number, metrics)

    def found(self, step: Step) -> None:
        self._show(step)

    def meanwhile(self, number: int, share: float, glance: Callable[[], Glance]) -> None:
        self._tell(share)
        self._show.meanwhile(number, glance)
        if isinstance(self._progress, Glimpses):
            self._progress.meanwhile(number, share, glance)


def followed(
    stages: Callable[[int], AbstractContextManager[Progress]], show: LivePicture
) -> Callable[[int], AbstractContextManager[Progress]]:
    """The same stages, whose passes are shown as well."""

    @contextmanager
    def stage(count: int) -> Iterator[Progress]:
        with stages(count) as progress:
            yield Followed(progress, show, count)

    return stage
