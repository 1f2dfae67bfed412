"""The argument ``progress``, which all verbs take: who follows how far they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from ptychopinn.contracts import SILENT, Progress
from ptychopinn.errors import InputError, shown

# Opens the progress of a stage that makes at most so many passes or epochs.
Stages = Callable[[int], AbstractContextManager[Progress]]
# What ``progress=`` takes: nobody, a bar on stderr (True), one listener for all stages, or a
# function that opens one for each of them.
Listening = Progress | Stages | bool | None


def stages_of(progress: Listening, unit: str = "pass", loss: str | None = "misfit") -> Stages:
    """Opens the progress of every stage; ``unit`` and ``loss`` are what a bar calls them.

    Raises
    ------
    InputError
        When ``progress`` is something else.
    """
    if progress is None or progress is False:
        return lambda count: nullcontext(SILENT)
    if progress is True:
        from rich.console import Console

        from ptychopinn.report.bars import ProgressBar

        return lambda count: ProgressBar(Console(stderr=True), count, unit=unit, loss=loss)
    if hasattr(progress, "epoch_done"):
        listener = cast(Progress, progress)
        return lambda count: nullcontext(listener)
    if callable(progress):
        return progress
    raise InputError(
        "progress must be True for a bar, or an object with epoch, step and epoch_done, received "
        f"{shown(progress)}; leave it out to hear nothing."
    )
