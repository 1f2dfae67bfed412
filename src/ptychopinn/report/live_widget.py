"""The widget of :mod:`ptychopinn.report.live_canvas`; this module imports anywidget.

Its script is ``web/live_canvas.js``; it loads nothing.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files

import anywidget
import traitlets

from ptychopinn.contracts import Glance, Progress, Step
from ptychopinn.data.grey import grey_image
from ptychopinn.data.levels import phase_levels, seen_box

# Pixels of the longer side.
LONGEST_PX = 512
# Seconds from picture to picture, and how much longer than it takes to make one the computation
# goes on in between.
EVERY_S, REST = 0.2, 5.0


class LiveCanvas(anywidget.AnyWidget):
    """Shows passes; as ``progress`` of a verb it is called at the beginning of each stage.

    picture : the phase as a PNG, empty before there is one.  caption : pass and misfit.  misfits :
    of the passes of the stage.
    """

    _esm = (files("ptychopinn.report") / "web" / "live_canvas.js").read_text(encoding="utf-8")
    picture = traitlets.Bytes(b"").tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    misfits = traitlets.List(traitlets.Float()).tag(sync=True)

    @contextmanager
    def __call__(self, count: int) -> Iterator[Progress]:
        stage = _Stage(self, count)
        yield stage
        stage.end()

    def show(self, step: Step) -> None:
        """Show the object after a pass."""
        self.draw(step.look())
        self.caption = f"pass {step.number}{_said('misfit', step.misfit)}"

    def draw(self, glance: Glance) -> None:
        """The picture alone."""
        file = io.BytesIO()
        box = seen_box(glance.seen, LONGEST_PX)
        levels, _ = phase_levels(glance.object[(..., *box)], glance.seen[box])
        grey_image(levels).save(file, "PNG", compress_level=1)
        self.picture = file.getvalue()

    def tell(self, caption: str, misfits: list[float]) -> None:
        """The words below the picture, and the curve."""
        self.misfits, self.caption = misfits, caption


class _Unhurried:
    """Shows what there is with ``show``, in which a fifth of the time at most goes."""

    def __init__(self, show: Callable[[Glance], None]) -> None:
        self._show, self._next = show, 0.0

    def __call__(self, glance: Callable[[], Glance]) -> bool:
        """Whether it was shown."""
        begun = time.perf_counter()
        if begun < self._next:
            return False
        self._show(glance())
        end = time.perf_counter()
        self._next = end + max(EVERY_S, REST * (end - begun))
        return True


class _Stage:
    """Follows a stage of at most ``count`` passes or epochs."""

    def __init__(self, canvas: LiveCanvas, count: int) -> None:
        self._canvas, self._count = canvas, count
        self._unhurried = _Unhurried(canvas.draw)
        self._misfits: list[float] = []
        self._waiting: Step | None = None

    def epoch(self, number: int, steps: int) -> None: ...

    def step(self, loss: float, patterns_per_s: float) -> None: ...

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        # Passes know a misfit, epochs of a training a loss.
        value = metrics.get("misfit", metrics.get("train_loss", math.nan))
        if math.isfinite(value):
            self._misfits.append(value)
        unit = "pass" if "train_loss" not in metrics else "epoch"
        name = "misfit" if unit == "pass" else "loss"
        caption = f"{unit} {number + 1} of {self._count}{_said(name, value)}"
        self._canvas.tell(caption, list(self._misfits))

    def found(self, step: Step) -> None:
        self._waiting = None if self._unhurried(step.look) else step

    def meanwhile(self, number: int, share: float, glance: Callable[[], Glance]) -> None:
        self._unhurried(glance)

    def end(self) -> None:
        """Show the last pass, if there was no time for it."""
        if self._waiting is not None:
            self._canvas.draw(self._waiting.look())


def _said(name: str, value: float) -> str:
    return f", {name} {value:.4g}" if math.isfinite(value) else ""
