"""What all figures share. Only matplotlib's object-oriented API: no global state, no window."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import pi
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from ptychopinn.io.atomic import atomic_path
from ptychopinn.report.colours import UNSEEN, Image

INK = "#1f2933"
RED, AMBER = "#b3261e", "#9a6700"
DPI = 130
# Of what a notebook keeps.
NOTEBOOK_DPI = 80
# Wider pictures have their colour bar below.
WIDE = 2.6

Extent = tuple[float, float, float, float]


class NotebookFigure(Figure):
    """A figure that a notebook shows. Without pyplot nobody has told the notebook how to."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=NOTEBOOK_DPI)
        return file.getvalue()


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure whose parts make room for each other."""
    return NotebookFigure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def write(figure: Figure, path: str | Path) -> None:
    """The figure as a file, whole or not at all; PNG unless the name ends in another format."""
    target = Path(path)
    kind = target.suffix.lstrip(".").lower() or "png"
    # No time of the day in it.
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format=kind, dpi=DPI, metadata=dates.get(kind))


def set_title(figure: Figure, title: str, banner: str | None = None) -> None:
    """The title, or a banner when there is something to warn about: red, for doubts amber."""
    # Letters of 13 points are about a ninth of an inch wide, bold ones of 11 points as well.
    room = figure.get_figwidth() - 0.6
    if banner is None:
        text = shortened(title, max(int(room * 8.8), 16))
        figure.suptitle(text, fontsize=13, color=INK, parse_math=False)
        return
    colour = AMBER if banner.startswith("DOUBTFUL") else RED
    figure.suptitle(
        fill(banner, max(int(room * 8.5), 20)),
        parse_math=False,
        fontsize=11,
        fontweight="bold",
        color="white",
        bbox={"facecolor": colour, "edgecolor": "none", "boxstyle": "square,pad=0.5"},
    )


def shortened(text: str, length: int = 60) -> str:
    """The text, cut off at so many letters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def map_size(shape: tuple[int, ...], banner: str | None) -> tuple[float, float]:
    """Inches of a figure with one picture of so many pixels, its title and its colour bar."""
    height, width = shape[:2]
    longer = 8.0 if width > WIDE * height else 5.0
    scale = longer / max(height, width)
    below = 0.75 if width > WIDE * height else 0.0
    lines = 0.0 if banner is None else 0.25 + 0.2 * (len(banner) * 0.12 // longer + 1)
    return max(width * scale, 2.6) + 1.6, max(height * scale, 0.8) + 0.9 + below + lines


def show_image(
    axes: Axes,
    image: Image,
    cmap: str | Colormap,
    low: float,
    high: float,
    unit: str,
    extent: Extent | None = None,
) -> None:
    """The image with a colour bar of its own length; masked pixels have a colour of their own."""
    colours = (colormaps[cmap] if isinstance(cmap, str) else cmap).with_extremes(bad=UNSEEN)
    shown = axes.imshow(image, cmap=colours, vmin=low, vmax=high, extent=extent)
    bar = add_colour_bar(axes, shown, unit)
    if abs(high - pi) < 1e-6 and abs(low + pi) < 1e-6:
        ticks_of_circle(bar)
    else:
        bar.locator = round_ticks()
        bar.update_ticks()
    bare(axes)


def bare(axes: Axes) -> None:
    """No frame; small ticks."""
    axes.tick_params(labelsize=9, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def ticks_of_circle(bar: Any) -> None:
    """Ticks of a colour bar at parts of pi."""
    bar.set_ticks((-pi, -pi / 2, 0, pi / 2, pi), labels=("−π", "−π/2", "0", "π/2", "π"))


def round_ticks(count: int = 5) -> MaxNLocator:
    """A few ticks at round numbers."""
    return MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])


def add_colour_bar(axes: Axes, shown: Any, unit: str = "") -> Any:
    """A colour bar exactly as long as the picture: beside it, below it where it is wide."""
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    shape = abs(right - left) / max(abs(top - bottom), 1e-9)
    if shape > WIDE:
        bar = axes.figure.colorbar(
            shown, ax=axes, location="bottom", fraction=0.08, pad=0.04, aspect=60, shrink=0.6
        )
    else:
        # As thick on a tall picture as on a wide one.
        thick = 0.04 / shape**0.5
        place = axes.inset_axes((1 + thick / 2, 0.0, thick, 1.0))
        bar = axes.figure.colorbar(shown, cax=place)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, colors=INK)
    if unit:
        bar.set_label(unit, color=INK)
    return bar


def set_scale(axes: Axes, pixel_size_m: float | None) -> None:
    """A scale bar for axes in object pixels; ticks in pixels where their size is unknown."""
    if pixel_size_m is None:
        axes.set_xlabel("x [px]", color=INK)
        axes.set_ylabel("y [px]", color=INK)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(round_ticks())
        return
    # Importing it takes time, and changes what matplotlib knows of its settings.
    from matplotlib_scalebar.scalebar import ScaleBar

    without_ticks(axes)
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    flat = abs(right - left) > WIDE * abs(top - bottom)
    axes.add_artist(
        ScaleBar(
            pixel_size_m,
            "m",
            location="lower right",
            length_fraction=0.12 if flat else 0.25,
            width_fraction=0.03 if flat else 0.014,
            scale_loc="left" if flat else "top",
            color="white",
            box_color="black",
            box_alpha=0.55,
            border_pad=0.4,
            pad=0.35,
            sep=3,
            font_properties={"size": 10},
        )
    )


def without_ticks(*every: Axes) -> None:
    """Pictures whose place is of no interest."""
    for axes in every:
        axes.set_xticks([])
        axes.set_yticks([])


def without_frame(axes: Axes) -> None:
    """Leave only the axes at the left and at the bottom."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK)


def title(axes: Axes, *lines: str, width: int = 46) -> None:
    """A title above a panel; names in it are no formulas."""
    text = "\n".join(shortened(line, width) for line in lines)
    axes.set_title(text, color=INK, fontsize=11, parse_math=False)


def grid_of(figure: Figure, rows: int, columns: int) -> Sequence[Sequence[Axes]]:
    """Panels in rows."""
    found: Any = figure.subplots(rows, columns, squeeze=False)
    return [list(row) for row in found]
