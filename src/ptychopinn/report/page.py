"""One PNG page about an evaluation: pictures, curves and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from ptychopinn.evaluation import Evaluation
from ptychopinn.evaluation.resolution import FourierRingCorrelation
from ptychopinn.report.drawing import (
    INK,
    add_colour_bar,
    display_limits,
    new_figure,
    phase_colours,
    set_title,
    show_image,
    without_frame,
    write,
)

MARKED = ("doubtful", "poor")


def save_evaluation(evaluation: Evaluation, path: str | Path) -> None:
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
        pictures = _rows(evaluation)
        for row, (name, unit, error_unit, limits, cmap, error_bound) in enumerate(pictures):
            panels = (
                (f"True {name}", images[f"truth_{name}"], cmap, *limits, unit),
                (f"Reconstructed {name}", images[name], cmap, *limits, unit),
                (f"Error of the {name}", images[f"{name}_error"], "RdBu_r", -error_bound,
                 error_bound, error_unit),
            )  # fmt: skip
            for column, (title, image, colours, low, high, bar) in enumerate(panels):
                axes = figure.add_subplot(grid[row, column])
                show_image(axes, np.ma.masked_invalid(image), colours, low, high, bar)
                axes.set_title(title)
                axes.set_xticks([])
                axes.set_yticks([])
        if evaluation.frc is not None:
            _ring_curve(figure.add_subplot(grid[0, 3]), evaluation.frc, "with the truth")
        _numbers(figure.add_subplot(grid[1, 3]), evaluation)
    else:
        amplitude = np.ma.masked_invalid(images["amplitude"])
        phase = np.ma.masked_invalid(images["phase"])
        colours, bound = phase_colours(phase)
        axes = figure.add_subplot(grid[0, 0])
        show_image(axes, amplitude, "viridis", *display_limits(amplitude), "")
        axes.set_title("Reconstructed amplitude")
        other = figure.add_subplot(grid[0, 1])
        show_image(other, phase, colours, -bound, bound, "rad")
        other.set_title("Reconstructed phase")
        for panel in (axes, other):
            panel.set_xticks([])
            panel.set_yticks([])
        halves = evaluation.half_split
        _numbers(
            figure.add_subplot(grid[0, 2:] if halves is None else grid[0, 2]),
            evaluation,
            right=0.6 if halves is None else 0.98,
        )
        if halves is not None:
            _ring_curve(figure.add_subplot(grid[0, 3]), halves, "of two halves")
    if fit is not None:
        measured, model = fit.measured_mean, fit.model_mean
        peak = float(max(np.nanmax(measured), np.nanmax(model)))
        high = float(np.log10(1 + peak))
        for column, (title, pattern) in enumerate(
            (("Mean measured pattern", measured), ("Mean modelled pattern", model))
        ):
            axes = figure.add_subplot(grid[rows - 1, column])
            shown = np.ma.masked_invalid(np.log10(1 + pattern))
            show_image(axes, shown, "inferno", 0, high, "log10(1 + counts)")
            axes.set_title(title)
            axes.set_xticks([])
            axes.set_yticks([])
        _residual_map(figure.add_subplot(grid[rows - 1, 2]), evaluation)
        _residual_histogram(figure.add_subplot(grid[rows - 1, 3]), evaluation)
    write(figure, path)


def _rows(
    evaluation: Evaluation,
) -> list[tuple[str, str, str, tuple[float, float], str | Colormap, float]]:
    """Name, units, limits, colours and error limit of the amplitude row and of the phase row."""
    images = evaluation.images
    rows: list[tuple[str, str, str, tuple[float, float], str | Colormap, float]] = []
    for name, unit, cmap in (("amplitude", "", "viridis"), ("phase", "rad", "viridis")):
        truth = np.ma.masked_invalid(images[f"truth_{name}"])
        error = np.abs(images[f"{name}_error"])
        bound = max(float(np.nanpercentile(error, 99.5)), 1e-6)
        rows.append((name, unit, unit, display_limits(truth, 0.0), cmap, bound))
    return rows


def _ring_curve(axes: Axes, frc: FourierRingCorrelation, of: str) -> None:
    axes.plot(frc.frequency, frc.correlation, color="C0", label="FRC")
    axes.plot(frc.frequency[1:], frc.half_bit[1:], color="C1", ls="--", label="1/2 bit")
    crossings = [(frc.half_bit_crossing, "C1")]
    if of == "of two halves":
        axes.plot(frc.frequency[1:], frc.one_bit[1:], color="C2", ls=":", label="1 bit")
        crossings.append((frc.one_bit_crossing, "C2"))
    else:
        axes.axhline(frc.fixed, color="C2", ls=":", label=f"{frc.fixed:g}")
        crossings.append((frc.fixed_crossing, "C2"))
    for crossing, colour in crossings:
        if crossing is not None:
            axes.axvline(crossing, color=colour, lw=0.8, alpha=0.7)
    axes.set_xlim(0, 1)
    axes.set_ylim(min(-0.05, float(frc.correlation.min()) - 0.02), 1.05)
    axes.set_xlabel("spatial frequency / Nyquist")
    axes.set_title(f"Fourier ring correlation {of}")
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.25)
    without_frame(axes)


def _numbers(axes: Axes, evaluation: Evaluation, right: float = 0.98) -> None:
    """The numbers as two columns: words, and values that end at ``right``."""
    axes.set_axis_off()
    rows = evaluation.rows()
    if evaluation.verdict is not None:
        rows.append(("fit of the patterns", evaluation.verdict))
    step = min(0.075, 1.0 / max(len(rows), 1))
    size = 9.5 if step > 0.05 else 8.0
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


def _residual_map(axes: Axes, evaluation: Evaluation) -> None:
    fit = evaluation.misfit
    assert fit is not None
    y, x = fit.positions_px.T
    good = np.isfinite(fit.per_pattern)
    low, high = display_limits(np.ma.masked_invalid(fit.per_pattern), 1.0)
    # About as large as the mean distance of two positions on the printed panel.
    size = float(np.clip(3e4 / max(len(x), 1), 1.5, 60.0))
    if evaluation.position_covariance is not None:
        size /= 6
    dots = axes.scatter(
        x[good], y[good], c=fit.per_pattern[good], s=size, cmap="magma_r", vmin=low, vmax=high
    )
    title = "Residual of each pattern"
    if evaluation.position_covariance is not None:
        factor = _ellipses(axes, fit.positions_px, evaluation.position_covariance)
        title += f"\nellipses: uncertainty of the positions, x {factor:g}"
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_title(title)
    axes.set_xlabel("x [px]")
    axes.set_ylabel("y [px]")
    bar = add_colour_bar(axes, dots)
    bar.ax.tick_params(labelsize=9, colors=INK)
    without_frame(axes)


def _ellipses(axes: Axes, positions_px: NDArray[Any], covariance: NDArray[Any]) -> float:
    """Draw the ellipses of one standard deviation of positions (M, 2), as many times larger as is
    returned: about a third of the distance between neighbours."""
    from scipy.spatial import cKDTree

    powers, along = np.linalg.eigh(covariance)
    radii = np.sqrt(np.maximum(powers, 0.0))
    apart = cKDTree(positions_px).query(positions_px, 2)[0][:, 1] if len(positions_px) > 1 else [1]
    wanted = float(np.median(apart)) / 3 / max(float(np.median(radii[:, 1])), 1e-12)
    # One digit, so that it can be read off.
    decade = 10.0 ** np.floor(np.log10(wanted))
    factor = float(np.floor(wanted / decade) * decade)
    # The second axis is the longer one, (y, x); the figure counts angles from x.
    angles = np.degrees(np.arctan2(along[:, 0, 1], along[:, 1, 1]))
    widths, heights = 2 * factor * radii[:, 1], 2 * factor * radii[:, 0]
    axes.add_collection(
        EllipseCollection(
            widths, heights, angles, units="xy", offsets=positions_px[:, ::-1],
            offset_transform=axes.transData, facecolors="none", edgecolors="C0", linewidths=0.7,
        )
    )  # fmt: skip
    return factor


def _residual_histogram(axes: Axes, evaluation: Evaluation) -> None:
    fit = evaluation.misfit
    assert fit is not None
    values = fit.per_pattern[np.isfinite(fit.per_pattern)]
    axes.hist(values, bins=min(60, max(5, len(values) // 8)), color="C0", alpha=0.8)
    axes.axvline(fit.residual, color=INK, label=f"all patterns: {fit.residual:.4f}")
    axes.axvline(fit.expected, color="C2", ls="--", label=f"photon noise: {fit.expected:.4f}")
    axes.set_xlabel("residual")
    axes.set_ylabel("patterns")
    axes.set_title("Distribution of the residuals")
    axes.legend(frameon=False, fontsize=9)
    without_frame(axes)
