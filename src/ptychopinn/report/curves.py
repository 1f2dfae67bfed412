"""The losses of a training as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ptychopinn.errors import InputError
from ptychopinn.report.drawing import new_figure, without_frame, write


def save_loss_curve(history: Mapping[str, Sequence[tuple[float, float]]], path: str | Path) -> None:
    """:func:`loss_figure` as a file."""
    write(loss_figure(history), path)


def loss_figure(history: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Loss against epoch; ``history`` maps the name of a curve to its (epoch, value) pairs.

    Raises
    ------
    InputError
        When there is not a single finite value.
    """
    curves = {name: np.asarray(pairs, dtype=np.float64) for name, pairs in history.items() if pairs}
    finite = [c[np.isfinite(c[:, 1]), 1] for c in curves.values()]
    values = np.concatenate(finite) if finite else np.zeros(0)
    if values.size == 0:
        raise InputError(
            "a loss curve needs at least one finite value, received none; train for one epoch."
        )
    figure = new_figure((6.4, 4.0))
    axes = figure.add_subplot()
    for number, (name, curve) in enumerate(curves.items()):
        marker = "o" if len(curve) < 25 else ""
        axes.plot(
            curve[:, 0], curve[:, 1], marker=marker, markersize=4, color=f"C{number}", label=name
        )
    if values.min() > 0 and values.max() > 5 * values.min():
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    without_frame(axes)
    axes.grid(alpha=0.25)
    return figure
