"""One page about an evaluation: pictures, curves and numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ptychopinn.evaluation import Evaluation
from ptychopinn.report.colours import AMPLITUDE, COUNTS, DIFFERENCE, PHASE, limits, phases
from ptychopinn.report.drawing import (
    INK,
    new_figure,
    set_title,
    show_image,
    title,
    without_frame,
    without_ticks,
    write,
)
from ptychopinn.report.fit_figures import show_rings
from ptychopinn.report.probe_figures import show_residuals

MARKED = ("doubtful", "poor")


def save_evaluation(evaluation: Evaluation, path: str | Path) -> None:
    """:func:`evaluation_figure` as a file."""
    write(evaluation_figure(evaluation), path)


def evaluation_figure(evaluation: Evaluation) -> Figure:
    """One page: pictures (with the truth and the error where it is known), curves and numbers."""
    images, fit = evaluation.images, evaluation.misfit
    with_truth = "truth_amplitude" in images
    rows = (2 if with_truth else 1) + (1 if fit is not None else 0)
    figure = new_figure((15.5, 3.9 * rows + 0.6))
    banner = None
    if evaluation.verdict in MARKED and fit is not None:
        banner = (
            f"{evaluation.verdict.upper()} FIT: the residual of {fit.residual:.3g} exceeds the "
            f"{fit.expected:.3g} that photon noise explains. Likely: {fit.cause}"
        )
    set_title(figure, evaluation.name, banner)
    grid = figure.add_gridspec(rows, 4, width_ratios=(1, 1, 1, 1.15))
    if with_truth:
        for row, (name, unit, colours) in enumerate(
            (("amplitude", "", AMPLITUDE), ("phase", "rad", PHASE))
        ):
            truth = np.ma.masked_invalid(images[f"truth_{name}"])
            error = np.ma.masked_invalid(images[f"{name}_error"])
            bound = max(float(np.nanpercentile(np.abs(images[f"{name}_error"]), 99.5)), 1e-6)
            found = np.ma.masked_invalid(images[name])
            low, high = limits(truth, tail=0.0)
            for column, (words, image, colour, ends) in enumerate(
                (
                    (f"true {name}", truth, colours, (low, high)),
                    (f"reconstructed {name}", found, colours, (low, high)),
                    (f"error of the {name}", error, DIFFERENCE, (-bound, bound)),
                )
            ):
                axes = figure.add_subplot(grid[row, column])
                show_image(axes, image, colour, *ends, unit)
                title(axes, words)
                without_ticks(axes)
        if evaluation.frc is not None:
            show_rings(figure.add_subplot(grid[0, 3]), evaluation.frc, "with the truth")
        _numbers(figure.add_subplot(grid[1, 3]), evaluation)
    else:
        amplitude = np.ma.masked_invalid(images["amplitude"])
        phase = phases(images["amplitude"] * np.exp(1j * images["phase"]))
        axes, other = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
        show_image(axes, amplitude, AMPLITUDE, *limits(amplitude), "")
        title(axes, "reconstructed amplitude")
        show_image(other, phase.values, phase.colours, phase.low, phase.high, "rad")
        title(other, "reconstructed phase")
        without_ticks(axes, other)
        halves = evaluation.half_split
        _numbers(
            figure.add_subplot(grid[0, 2:] if halves is None else grid[0, 2]),
            evaluation,
            right=0.6 if halves is None else 0.98,
            narrow=halves is not None,
        )
        if halves is not None:
            show_rings(figure.add_subplot(grid[0, 3]), halves, "of two halves")
    if fit is not None:
        measured, model = fit.measured_mean, fit.model_mean
        peak = float(max(np.nanmax(measured), np.nanmax(model)))
        high = float(np.log10(1 + peak))
        for column, (words, pattern) in enumerate(
            (("mean measured pattern", measured), ("mean modelled pattern", model))
        ):
            axes = figure.add_subplot(grid[rows - 1, column])
            shown = np.ma.masked_invalid(np.log10(1 + pattern))
            show_image(axes, shown, COUNTS, 0, high, "log10(1 + counts)")
            title(axes, words)
            without_ticks(axes)
        axes = figure.add_subplot(grid[rows - 1, 2])
        show_residuals(axes, fit.positions_px, fit.per_pattern, "")
        title(axes, "residual of each pattern")
        _residual_histogram(figure.add_subplot(grid[rows - 1, 3]), evaluation)
    return figure


def _numbers(axes: Axes, evaluation: Evaluation, right: float = 0.98, narrow: bool = False) -> None:
    """The numbers as two columns: words, and values that end at ``right``."""
    axes.set_axis_off()
    rows = evaluation.rows()
    if evaluation.verdict is not None:
        rows.append(("fit of the patterns", evaluation.verdict))
    step = min(0.075, 1.0 / max(len(rows), 1))
    size = 9.5 if step > 0.05 and not narrow else 8.0
    for number, (words, value) in enumerate(rows):
        height = 1 - (number + 0.5) * step
        axes.text(0.02, height, words, transform=axes.transAxes, fontsize=size, color=INK)
        axes.text(
            right,
            height,
            value,
            transform=axes.transAxes,
            fontsize=size,
            color=INK,
            ha="right",
            fontweight="bold",
        )


def _residual_histogram(axes: Axes, evaluation: Evaluation) -> None:
    fit = evaluation.misfit
    assert fit is not None
    values = fit.per_pattern[np.isfinite(fit.per_pattern)]
    axes.hist(values, bins=min(60, max(5, len(values) // 8)), color="C0", alpha=0.8)
    axes.axvline(fit.residual, color=INK, label=f"all patterns: {fit.residual:.4f}")
    axes.axvline(fit.expected, color="C2", ls="--", label=f"photon noise: {fit.expected:.4f}")
    axes.set_xlabel("residual")
    axes.set_ylabel("patterns")
    title(axes, "distribution of the residuals")
    axes.legend(frameon=False, fontsize=9)
    without_frame(axes)
