"""A result as a figure to look at; the other modules of this room write files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ptychopinn.report.importing import load_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ptychopinn.data.reconstruction import Reconstruction

# Percent of the seen pixels that may lie outside the colours, at each end.
TAIL = 0.2


def amplitude_and_phase(result: Reconstruction) -> Figure:
    """Amplitude and phase (radians, their mean removed) side by side; unseen pixels stay empty.

    The axes are in micrometres where the pixel size is known, else in object pixels; their origin
    is that of the scan positions. Nothing of pyplot is used: no window, no list of figures.
    """
    load_matplotlib()
    from matplotlib.figure import Figure

    seen = result.weight > 0
    mean = result.object[seen].sum() if seen.any() else 0
    # The mean phase has no meaning; without it the phases rarely wrap.
    turned = result.object * np.conj(mean / abs(mean)) if mean else result.object
    height, width = result.object.shape
    unit, step = "px", 1.0
    if result.pixel_size_m is not None:
        unit, step = "µm", result.pixel_size_m * 1e6
    top, left = (float(v) - 0.5 for v in result.origin_px)
    extent = (left * step, (left + width) * step, (top + height) * step, top * step)
    figure = Figure(figsize=(10.0, 4.4), layout="constrained")
    figure.suptitle(result.name, parse_math=False)
    parts = (
        ("amplitude", "viridis", np.abs(turned)),
        ("phase [rad]", "gray", np.angle(turned)),
    )
    for axes, (title, colours, values) in zip(figure.subplots(1, 2), parts, strict=True):
        image = np.ma.masked_array(values, ~seen)
        low, high = np.percentile(values[seen], (TAIL, 100 - TAIL)) if seen.any() else (0.0, 1.0)
        shown = axes.imshow(image, cmap=colours, vmin=low, vmax=high, extent=extent)
        figure.colorbar(shown, ax=axes)
        axes.set_title(title)
        axes.set_xlabel(f"x [{unit}]")
        axes.set_ylabel(f"y [{unit}]")
    return figure
