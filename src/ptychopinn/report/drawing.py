"""What all figures share. Only matplotlib's object-oriented API: no global state, no window."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from ptychopinn.io.atomic import atomic_path

UNSEEN = "#9a9a9a"
INK = "#1f2933"
RED, AMBER = "#b3261e", "#9a6700"
DPI = 130


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure whose parts make room for each other."""
    return Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def write(figure: Figure, path: str | Path) -> None:
    """The figure as a file, whole or not at all; PNG unless the name ends in another format."""
    target = Path(path)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format=target.suffix.lstrip(".") or "png", dpi=DPI)


def set_title(figure: Figure, title: str, banner: str | None) -> None:
    """The title, or a banner when there is something to warn about: red, for doubts amber."""
    if banner is None:
        figure.suptitle(shortened(title), fontsize=13, color=INK, parse_math=False)
        return
    colour = AMBER if banner.startswith("DOUBTFUL") else RED
    # Bold 11-point letters are about a ninth of an inch wide.
    width = max(int((figure.get_figwidth() - 0.6) * 8.5), 20)
    figure.suptitle(
        fill(banner, width),
        parse_math=False,
        fontsize=11,
        fontweight="bold",
        color="white",
        bbox={"facecolor": colour, "edgecolor": "none", "boxstyle": "square,pad=0.5"},
    )


def shortened(text: str, length: int = 60) -> str:
    """The text, cut off at so many letters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def show_image(
    axes: Axes,
    image: np.ma.MaskedArray[Any, Any],
    cmap: str | Colormap,
    low: float,
    high: float,
    unit: str,
    extent: tuple[float, float, float, float] | None = None,
) -> None:
    """The image with a colour bar of its own height; masked pixels are grey."""
    colours = (colormaps[cmap] if isinstance(cmap, str) else cmap).with_extremes(bad=UNSEEN)
    shown = axes.imshow(image, cmap=colours, vmin=low, vmax=high, extent=extent)
    bar = add_colour_bar(axes, shown)
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks, labels=[_number(v, high - low) for v in ticks])
    if unit:
        bar.set_label(unit)
    axes.tick_params(labelsize=9, colors=INK)
    bar.ax.tick_params(labelsize=9, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def add_colour_bar(axes: Axes, shown: Any) -> Any:
    """A colour bar exactly as high as the picture."""
    bar = axes.figure.colorbar(shown, cax=axes.inset_axes((1.02, 0.0, 0.04, 1.0)))
    bar.outline.set_visible(False)
    return bar


def _number(value: float, span: float) -> str:
    """A colour bar label with as many digits as the span deserves."""
    if span <= 0 or not np.isfinite(span) or span < 1e-4 or span >= 1e5:
        return f"{value:.2g}"
    decimals = max(0, 2 - int(np.floor(np.log10(span))))
    text = f"{value:.{min(decimals, 6)}f}"
    return text.replace("-0." + "0" * decimals, "0." + "0" * decimals) if float(text) == 0 else text


def without_frame(axes: Axes) -> None:
    """Leave only the axes at the left and at the bottom."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK)


def display_limits(image: np.ma.MaskedArray[Any, Any], tail: float = 0.2) -> tuple[float, float]:
    """Display limits without the outermost ``tail`` percent; never equal."""
    values = image.compressed()
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (tail, 100 - tail)))
    if high - low < 1e-6 * max(abs(high), 1e-12):
        spread = 0.5 * abs(high) or 0.5
        low, high = low - spread, high + spread
    return low, high


def phase_colours(phase: np.ma.MaskedArray[Any, Any]) -> tuple[Colormap, float]:
    """Colours and symmetric limit of phases: the whole circle, or its middle for a smaller span."""
    values = np.abs(phase.compressed())
    bound = float(np.percentile(values, 99.8)) if values.size else np.pi
    circle = colormaps["twilight"]
    if bound > 0.8 * np.pi:
        return circle, float(np.pi)
    part = LinearSegmentedColormap.from_list("phase", circle(np.linspace(0.09, 0.91, 256)))
    return part, max(bound, 1e-3)


def without_mean_phase(picture: NDArray[Any]) -> NDArray[Any]:
    """The picture turned by its mean phase, which has no meaning, so that it rarely wraps."""
    mean = np.nansum(picture)
    return picture * np.conj(mean) / abs(mean) if mean else picture
