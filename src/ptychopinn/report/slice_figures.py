"""The slices of a thick sample, one beside the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.report.colours import AMPLITUDE, limits, phases
from ptychopinn.report.drawing import (
    grid_of,
    new_figure,
    set_scale,
    set_title,
    show_image,
    title,
    without_ticks,
)
from ptychopinn.report.pictures import scanned, view


def slices_figure(result: Reconstruction, note: str | None = None) -> Figure:
    """Amplitude and phase of each slice, from the upstream one on, around the scanned box.

    All have the limits of the widest; each phase is without its mean, which a slice can hand to
    the others.

    Raises
    ------
    InputError
        When the result has no slices.
    """
    if result.slices is None:
        raise InputError(
            "a picture of slices needs a result with several, received one of a thin sample; "
            "refine with slices."
        )
    views = [view(replace(result, object=layer)) for layer in result.slices]
    extent = views[0][1]
    inside = scanned(result, extent)
    amplitudes = [np.ma.masked_invalid(np.abs(picture)) for picture, _ in views]
    angles = [phases(picture, inside) for picture, _ in views]
    bright = [limits(picture, inside) for picture in amplitudes]
    # Where one wraps all are drawn as circles are.
    widest = max(angles, key=lambda found: (found.cyclic, found.high - found.low))
    lowest, highest = min(found.low for found in angles), max(found.high for found in angles)
    height, width = amplitudes[0].shape
    columns = len(views)
    tall = float(np.clip(3.0 * height / width, 0.9, 5.0))
    figure = new_figure((3.8 * columns + 0.4, 2 * tall + 1.3))
    axes = grid_of(figure, 2, columns)
    spacing_m = float(result.effects["slices"][1])
    for column in range(columns):
        above, below = axes[0][column], axes[1][column]
        low, high = min(a for a, _ in bright), max(b for _, b in bright)
        show_image(above, amplitudes[column], AMPLITUDE, low, high, "", extent)
        colours = widest.colours
        show_image(below, angles[column].values, colours, lowest, highest, "rad", extent)
        place = "upstream" if column == 0 else f"{column * spacing_m * 1e6:.3g} µm downstream"
        title(above, f"slice {column + 1} of {columns}: {place}", "amplitude", width=40)
        title(below, "phase")
        without_ticks(above, below)
    set_scale(axes[1][-1], result.pixel_size_m)
    set_title(figure, f"Slices · {result.name}", note)
    return figure
