"""PNG pictures of objects: amplitude, phase, uncertainty, and several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.evaluation.alignment import cut
from ptychopinn.report.drawing import (
    INK,
    display_limits,
    new_figure,
    phase_colours,
    set_title,
    shortened,
    show_image,
    without_mean_phase,
    write,
)


def save_amplitude(result: Reconstruction, path: str | Path, note: str | None = None) -> None:
    """Picture of abs(object) around the scanned box; ``note`` is printed on a red banner."""
    picture, extent = view(result)
    amplitude = np.ma.masked_invalid(np.abs(picture))
    low, high = display_limits(amplitude)
    _save_map(result, amplitude, extent, path, note, "Amplitude", "", "viridis", low, high)


def save_phase(
    result: Reconstruction,
    path: str | Path,
    note: str | None = None,
    limits: tuple[float | None, float | None] = (None, None),
) -> None:
    """Picture of angle(object) in radians around the scanned box, its mean phase removed.

    The colours are those of a circle. When the phases span less than it, only a part of the circle
    is used, so that the two limits do not look alike. ``limits`` in radians replace those found.
    """
    picture, extent = view(result)
    phase = np.ma.masked_invalid(np.angle(without_mean_phase(picture)))
    cmap, bound = phase_colours(phase)
    low, high = (-bound if limits[0] is None else limits[0], limits[1])
    high = bound if high is None else high
    if not low < high:
        raise InputError(
            f"the limits of the phase must rise, received {low:.4g} to {high:.4g}; swap them."
        )
    _save_map(result, phase, extent, path, note, "Phase", "rad", cmap, low, high)


def save_uncertainty(result: Reconstruction, path: str | Path, note: str | None = None) -> None:
    """Picture of the 90 % radius of the object's error; InputError when the result has none."""
    if result.uncertainty is None:
        raise InputError(
            "a picture of the uncertainty needs a result that states it, received one without; "
            "reconstruct again with uncertainty=True."
        )
    radius = np.where(np.isfinite(result.uncertainty), result.uncertainty, np.nan)
    picture, extent = view(replace(result, object=np.nan_to_num(radius, nan=-1.0)))
    image = np.ma.masked_less(np.ma.masked_invalid(picture.real), 0)
    low, high = display_limits(image)
    _save_map(result, image, extent, path, note, "90 % radius of the error", "", "magma", low, high)


def save_comparison(
    pictures: Sequence[tuple[str, str, NDArray[np.complexfloating[Any, Any]]]], path: str | Path
) -> None:
    """Amplitude and phase of several objects, one column each with the limits of the first.

    ``pictures`` are (name, scores in words, (h, w) complex, NaN where unseen), aligned.
    """
    amplitudes = [np.ma.masked_invalid(np.abs(picture)) for *_, picture in pictures]
    phases = [
        np.ma.masked_invalid(np.angle(without_mean_phase(picture))) for *_, picture in pictures
    ]
    low, high = display_limits(amplitudes[0])
    cmap, bound = phase_colours(phases[0])
    figure = new_figure((3.3 * len(pictures) + 0.8, 6.2))
    axes = figure.subplots(2, len(pictures), squeeze=False)
    for column, (name, scores, _) in enumerate(pictures):
        show_image(axes[0, column], amplitudes[column], "viridis", low, high, "")
        show_image(axes[1, column], phases[column], cmap, -bound, bound, "rad")
        axes[0, column].set_title(f"{shortened(name, 32)}\n{scores}", color=INK, parse_math=False)
        for row in (0, 1):
            axes[row, column].set_xticks([])
            axes[row, column].set_yticks([])
    write(figure, path)


def view(result: Reconstruction) -> tuple[NDArray[Any], tuple[float, float, float, float]]:
    """Canvas around the scanned box (NaN where unseen) and its (left, right, bottom, top) in px.

    A little more than the box: what lies further out was lit by the rim of the probe only.
    """
    low = np.floor(result.positions_px.min(axis=0)).astype(int)
    high = np.ceil(result.positions_px.max(axis=0)).astype(int) + 1
    margin = max(4, result.N // 8)
    first = np.maximum(low - margin, result.origin_px)
    last = np.minimum(high + margin, result.origin_px + np.array(result.object.shape))
    if (last <= first).any():
        # Positions off the canvas: show all of it.
        first, last = result.origin_px, result.origin_px + np.array(result.object.shape)
    box = slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))
    origin = (int(result.origin_px[0]), int(result.origin_px[1]))
    picture = cut(result.object, box, origin)
    seen = cut(result.weight > 0, box, origin)
    picture = np.where(seen, picture, np.complex64(np.nan + 1j * np.nan))
    left, right = box[1].start - 0.5, box[1].stop - 0.5
    top, bottom = box[0].start - 0.5, box[0].stop - 0.5
    return picture, (left, right, bottom, top)


def _save_map(
    result: Reconstruction,
    image: np.ma.MaskedArray[Any, Any],
    extent: tuple[float, float, float, float],
    path: str | Path,
    note: str | None,
    title: str,
    unit: str,
    cmap: str | Colormap,
    low: float,
    high: float,
) -> None:
    height, width = image.shape
    # The picture is about 5 inches on its longer side; colour bar and labels come on top.
    scale = 5.0 / max(height, width)
    size = (max(width * scale, 2.0) + 1.6, max(height * scale, 2.0) + 0.9 + (0.5 if note else 0.0))
    figure = new_figure(size)
    set_title(figure, f"{title} · {result.name}", note)
    axes = figure.add_subplot()
    show_image(axes, image, cmap, low, high, unit, extent)
    if note is not None:
        axes.set_title(shortened(f"{title} · {result.name}"), color=INK, parse_math=False)
    if result.pixel_size_m is None:
        axes.set_xlabel("x [px]")
        axes.set_ylabel("y [px]")
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        _scale_bar(axes, result.pixel_size_m, extent)
    write(figure, path)


def _scale_bar(axes: Axes, pixel_size_m: float, extent: tuple[float, float, float, float]) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres, about a fifth of the picture."""
    width = extent[1] - extent[0]
    aim = 0.22 * width * pixel_size_m
    power = 10.0 ** np.floor(np.log10(aim))
    length = max(f for f in (1, 2, 5) if f * power <= aim * (1 + 1e-9)) * power
    units = ((1e-3, "mm"), (1e-6, "µm"), (1e-9, "nm"), (1e-12, "pm"))
    factor, unit = next((u for u in units if length >= u[0] * 0.999), units[-1])
    pixels, height = length / pixel_size_m, extent[2] - extent[3]
    right, bottom = extent[1] - 0.04 * width, extent[2] - 0.05 * height
    outline = withStroke(linewidth=2.5, foreground="black")
    axes.add_patch(
        Rectangle(
            (right - pixels, bottom),
            pixels,
            -height / 80,
            facecolor="white",
            path_effects=[outline],
        )
    )
    axes.text(
        right - pixels / 2,
        bottom - 0.025 * height,
        f"{length / factor:.0f} {unit}",
        ha="center",
        va="bottom",
        color="white",
        fontsize=11,
        path_effects=[outline],
    )
