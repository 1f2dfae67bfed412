"""Figures of objects: amplitude, phase, both as colours, uncertainty, and several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.evaluation.alignment import cut
from ptychopinn.report.colours import (
    AMPLITUDE,
    DOUBT,
    Image,
    as_colours,
    limits,
    phases,
    without_mean_phase,
)
from ptychopinn.report.drawing import (
    INK,
    Extent,
    add_colour_bar,
    bare,
    grid_of,
    map_size,
    new_figure,
    set_scale,
    set_title,
    shortened,
    show_image,
    ticks_of_circle,
    title,
    without_ticks,
    write,
)

Limits = tuple[float | None, float | None]


def amplitude_figure(result: Reconstruction, note: str | None = None) -> Figure:
    """abs(object) around the scanned box; ``note`` is printed on a banner."""
    picture, extent = view(result)
    amplitude = np.ma.masked_invalid(np.abs(picture))
    low, high = limits(amplitude, scanned(result, extent))
    return _map(result, amplitude, extent, note, "Amplitude", "", AMPLITUDE, low, high)


def phase_figure(
    result: Reconstruction, note: str | None = None, given: Limits = (None, None)
) -> Figure:
    """angle(object) in radians around the scanned box, its mean removed.

    The limits are those of the scanned area, the colours those of a circle only where the phases
    wrap. Limits in radians that are ``given`` replace those found.

    Raises
    ------
    InputError
        When the limits do not rise.
    """
    picture, extent = view(result)
    phase = phases(picture, scanned(result, extent))
    low, high = (
        found if asked is None else asked
        for asked, found in zip(given, (phase.low, phase.high), strict=True)
    )
    if not low < high:
        raise InputError(
            f"the limits of the phase must rise, received {low:.4g} to {high:.4g}; swap them."
        )
    return _map(result, phase.values, extent, note, "Phase", "rad", phase.colours, low, high)


def complex_figure(result: Reconstruction, note: str | None = None) -> Figure:
    """The object as colours: its phase is the hue, its amplitude the brightness."""
    picture, extent = view(result)
    amplitude = np.ma.masked_invalid(np.abs(picture))
    _, high = limits(amplitude, scanned(result, extent))
    figure = new_figure(map_size(picture.shape, note))
    axes = figure.add_subplot()
    axes.imshow(as_colours(without_mean_phase(picture), high), extent=extent)
    circle = ScalarMappable(Normalize(-np.pi, np.pi), turned_hues())
    bar = add_colour_bar(axes, circle, f"phase [rad]; black to bright: amplitude 0 to {high:.3g}")
    ticks_of_circle(bar)
    bare(axes)
    _finish(figure, "Complex object", result, note, axes)
    return figure


def uncertainty_figure(result: Reconstruction, note: str | None = None) -> Figure:
    """The 90 % radius of the object's error; InputError when the result has none."""
    if result.uncertainty is None:
        raise InputError(
            "a picture of the uncertainty needs a result that states it, received one without; "
            "reconstruct again with uncertainty=True."
        )
    image, extent = uncertainty_view(result)
    low, high = limits(image)
    return _map(result, image, extent, note, "90 % radius of the error", "", DOUBT, low, high)


def coverage_figure(result: Reconstruction, note: str | None = None) -> Figure:
    """How much every pixel was seen, relative to the best seen one, and the positions."""
    canvas, origin = result.weight, result.origin_px
    light = np.ma.masked_equal(canvas / max(float(canvas.max()), 1e-30), 0)
    top, left = (float(v) - 0.5 for v in origin)
    extent = (left, left + canvas.shape[1], top + canvas.shape[0], top)
    figure = _map(result, light, extent, note, "Coverage", "share of the best", DOUBT, 0.0, 1.0)
    y, x = result.positions_px.T
    size = float(np.clip(2e3 / len(x), 0.3, 9))
    figure.axes[0].scatter(x, y, s=size, c="#39d0ff", linewidths=0)
    return figure


def comparison_figure(
    pictures: Sequence[tuple[str, str, NDArray[np.complexfloating[Any, Any]]]],
) -> Figure:
    """Amplitude and phase of several objects, one column each with the limits of the first.

    ``pictures`` are (name, scores in words, (h, w) complex, NaN where unseen), aligned.
    """
    amplitudes = [np.ma.masked_invalid(np.abs(picture)) for *_, picture in pictures]
    shown = [phases(picture) for *_, picture in pictures]
    low, high = limits(amplitudes[0])
    first = shown[0]
    height, width = amplitudes[0].shape
    tall = float(np.clip(2.6 * height / width, 0.9, 5.0))
    figure = new_figure((3.4 * len(pictures) + 0.8, 2 * tall + 1.0))
    axes = grid_of(figure, 2, len(pictures))
    for column, (name, scores, _) in enumerate(pictures):
        above, below = axes[0][column], axes[1][column]
        show_image(above, amplitudes[column], AMPLITUDE, low, high, "")
        angles = shown[column].values
        if not first.cyclic:
            # Cut where the first is, so that the same phase has the same colour.
            middle = (first.low + first.high) / 2
            turned = np.mod(angles.data - middle + np.pi, 2 * np.pi) - np.pi + middle
            angles = np.ma.masked_array(turned, np.ma.getmaskarray(angles))
        show_image(below, angles, first.colours, first.low, first.high, "rad")
        title(above, shortened(name, 32), scores, width=44)
        without_ticks(above, below)
    return figure


def save_amplitude(result: Reconstruction, path: str | Path, note: str | None = None) -> None:
    """:func:`amplitude_figure` as a file."""
    write(amplitude_figure(result, note), path)


def save_phase(
    result: Reconstruction, path: str | Path, note: str | None = None, limits: Limits = (None, None)
) -> None:
    """:func:`phase_figure` as a file."""
    write(phase_figure(result, note, limits), path)


def save_uncertainty(result: Reconstruction, path: str | Path, note: str | None = None) -> None:
    """:func:`uncertainty_figure` as a file."""
    write(uncertainty_figure(result, note), path)


def save_comparison(
    pictures: Sequence[tuple[str, str, NDArray[np.complexfloating[Any, Any]]]], path: str | Path
) -> None:
    """:func:`comparison_figure` as a file."""
    write(comparison_figure(pictures), path)


def view(result: Reconstruction) -> tuple[NDArray[Any], Extent]:
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


def uncertainty_view(result: Reconstruction) -> tuple[Image, Extent]:
    """The same of its stated uncertainty; masked where nothing is stated."""
    assert result.uncertainty is not None
    radius = np.where(np.isfinite(result.uncertainty), result.uncertainty, -1.0)
    picture, extent = view(replace(result, object=radius))
    return np.ma.masked_less(np.ma.masked_invalid(picture.real), 0), extent


def scanned(result: Reconstruction, extent: Extent) -> NDArray[np.bool_]:
    """(h, w) True in the box of scan positions, of a picture with this extent in pixels."""
    left, right, bottom, top = extent
    y = np.arange(round(bottom - top)) + top + 0.5
    x = np.arange(round(right - left)) + left + 0.5
    low, high = result.positions_px.min(axis=0), result.positions_px.max(axis=0)
    rows, columns = (y >= low[0]) & (y <= high[0]), (x >= low[1]) & (x <= high[1])
    return np.asarray(rows[:, None] & columns[None, :])


def turned_hues() -> Any:
    """The hues of :func:`as_colours` from -pi to pi: red, phase 0, in their middle."""
    from matplotlib.colors import ListedColormap, hsv_to_rgb

    hues = np.mod(np.linspace(-0.5, 0.5, 256), 1.0)
    return ListedColormap(hsv_to_rgb(np.stack((hues, 0 * hues + 1, 0 * hues + 1), axis=-1)))


def _map(
    result: Reconstruction,
    image: Image,
    extent: Extent,
    note: str | None,
    words: str,
    unit: str,
    cmap: str,
    low: float,
    high: float,
) -> Figure:
    figure = new_figure(map_size(image.shape, note))
    axes = figure.add_subplot()
    show_image(axes, image, cmap, low, high, unit, extent)
    _finish(figure, words, result, note, axes)
    return figure


def _finish(
    figure: Figure, words: str, result: Reconstruction, note: str | None, axes: Any
) -> None:
    text = f"{words} · {result.name}"
    set_title(figure, text, note)
    if note is not None:
        axes.set_title(shortened(text, int(figure.get_figwidth() * 8)), color=INK, parse_math=False)
    set_scale(axes, result.pixel_size_m)
