"""Figures of how well a result explains its patterns, and how far its details can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from ptychopinn.evaluation.beside import Beside
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.resolution import FourierRingCorrelation
from ptychopinn.report.colours import COUNTS, DIFFERENCE
from ptychopinn.report.drawing import (
    INK,
    grid_of,
    new_figure,
    set_title,
    show_image,
    title,
    without_frame,
    without_ticks,
)
from ptychopinn.report.probe_figures import show_residuals, size_around

# Differences of amplitudes are shown up to so many standard deviations of photon noise.
SIGMAS = 4.0


def misfit_figure(fit: Misfit, name: str, marked: Sequence[tuple[str, int]] = ()) -> Figure:
    """The residual at every position; ``marked`` are words and numbers of some of them."""
    figure = new_figure(size_around(fit.positions_px, 1.7))
    axes = figure.add_subplot()
    show_residuals(axes, fit.positions_px, fit.per_pattern, "residual")
    middle = fit.positions_px[:, 1].mean()
    for words, number in marked:
        y, x = fit.positions_px[number]
        aside, side = (8, "left") if x <= middle else (-8, "right")
        axes.plot(x, y, "o", markersize=11, markerfacecolor="none", color="#0a84c6", mew=1.6)
        axes.annotate(
            words, (x, y), xytext=(aside, 7), textcoords="offset points", fontsize=9, color=INK,
            ha=side,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
        )  # fmt: skip
    title(
        axes,
        f"Residual of each pattern · {name}",
        f"all patterns {fit.residual:.4f}, photon noise {fit.expected:.4f}",
        width=int(figure.get_figwidth() * 9),
    )
    return figure


def passes_figure(losses: NDArray[np.float64], name: str, expected: float | None = None) -> Figure:
    """The misfit during every pass or epoch (E,), and what photon noise alone gives."""
    figure = new_figure((6.4, 4.0))
    axes = figure.add_subplot()
    passes = np.arange(1, len(losses) + 1)
    axes.plot(passes, losses, marker="o" if len(losses) < 40 else "", markersize=4, color="C0")
    if expected is not None and expected > 0:
        axes.axhline(expected, color="C2", ls="--", lw=1, label=f"photon noise: {expected:.4g}")
        axes.legend(frameon=False, fontsize=9)
    known = losses[np.isfinite(losses) & (losses > 0)]
    if known.size and known.max() > 3 * known.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("pass", color=INK)
    axes.set_ylabel("misfit", color=INK)
    title(axes, f"Misfit against pass · {name}", width=56)
    axes.grid(alpha=0.25, which="both")
    without_frame(axes)
    return figure


def patterns_figure(found: Beside, words: Sequence[str], fit: Misfit, name: str) -> Figure:
    """Measured beside modelled patterns with the same limits, and their difference in standard
    deviations of photon noise; a row each, titled by ``words``."""
    count = len(found.numbers)
    figure = new_figure((11.2, 3.45 * count + 0.6))
    set_title(figure, f"Measured and modelled patterns · {name}")
    high = max(float(np.log10(1 + max(np.nanmax(found.measured), found.modelled.max()))), 1e-3)
    panels = grid_of(figure, count, 3)
    for row, number in enumerate(found.numbers):
        measured, model = found.measured[row], found.modelled[row]
        bad = ~np.isfinite(measured)
        for axes, pattern, of in zip(
            panels[row][:2], (measured, model), ("measured", "modelled"), strict=True
        ):
            shown = np.ma.masked_array(np.log10(1 + np.where(bad, 0, pattern)), bad)
            show_image(axes, shown, COUNTS, 0.0, high, "log10(1 + counts)")
            title(axes, f"{words[row]}, {of}")
            without_ticks(axes)
        # The square root of Poisson counts has the variance of a quarter of a photon.
        sigma = 0.5 * np.sqrt(fit.noise.photon)
        apart = (np.sqrt(model) - np.sqrt(np.where(bad, 0, measured))) / sigma
        show_image(
            panels[row][2], np.ma.masked_array(apart, bad), DIFFERENCE, -SIGMAS, SIGMAS,
            "modelled − measured [σ]",
        )  # fmt: skip
        title(panels[row][2], f"position {number}: residual {fit.per_pattern[number]:.4f}")
        without_ticks(panels[row][2])
    return figure


def rings_figure(frc: FourierRingCorrelation, of: str, name: str) -> Figure:
    """A Fourier ring correlation with its thresholds."""
    figure = new_figure((6.4, 4.4))
    axes = figure.add_subplot()
    show_rings(axes, frc, of)
    set_title(figure, name)
    return figure


def show_rings(axes: Axes, frc: FourierRingCorrelation, of: str) -> None:
    """The same in a panel; ``of`` says which two objects are compared."""
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
    axes.set_title(f"Fourier ring correlation {of}", color=INK, fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.25)
    without_frame(axes)
