"""Figures of the beam and of where it was: probe modes, scan positions, the scan as it came."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.report.colours import AMPLITUDE, COUNTS, DOUBT, as_colours, limits
from ptychopinn.report.drawing import (
    INK,
    add_colour_bar,
    bare,
    grid_of,
    new_figure,
    round_ticks,
    set_scale,
    set_title,
    show_image,
    title,
    without_frame,
    without_ticks,
)

MOST_COLUMNS = 6
# Bytes of patterns that are looked at together.
BLOCK_BYTES = 64 << 20
# Nine of ten of a normal distribution in the plane lie within so many standard deviations.
NINE_OF_TEN = 2.146


def probe_figure(
    probe: NDArray[np.complexfloating[Any, Any]], name: str, pixel_size_m: float | None = None
) -> Figure:
    """Modes (P, N, N) as colours, phase as hue and amplitude as brightness, with their shares in
    the power, each as bright as it can be."""
    count = len(probe)
    columns = min(count, MOST_COLUMNS)
    rows = -(-count // columns)
    figure = new_figure((max(2.5 * columns, 3.6), 2.75 * rows + 0.6))
    set_title(figure, f"Probe · {name}")
    panels = [axes for row in grid_of(figure, rows, columns) for axes in row]
    shares = power_shares(probe)
    for number, axes in enumerate(panels):
        if number >= count:
            axes.set_axis_off()
            continue
        show_mode(axes, probe[number])
        share = shares[number]
        title(axes, f"mode {number + 1}: {100 * share:.3g} %" if count > 1 else "one mode")
        if number == 0 and pixel_size_m is not None:
            set_scale(axes, pixel_size_m)
    return figure


def show_mode(axes: Axes, mode: NDArray[Any]) -> None:
    """A mode (N, N) as colours."""
    turned = mode * np.exp(-1j * np.angle((mode * np.abs(mode)).sum()))
    axes.imshow(as_colours(turned, float(np.abs(mode).max())))
    without_ticks(axes)
    bare(axes)


def power_shares(probe: NDArray[Any]) -> NDArray[np.float64]:
    """(P,) share of each mode in the power."""
    powers = (np.abs(probe.astype(np.complex128)) ** 2).sum(axis=(1, 2))
    return np.asarray(powers / (powers.sum() or 1.0))


def positions_figure(
    result: Reconstruction,
    given_px: NDArray[np.float64] | None = None,
    covariance_px: NDArray[np.float64] | None = None,
) -> Figure:
    """Scan positions; with those ``given_px`` (M, 2) before, arrows along which they were moved.

    ``covariance_px`` (M, 2, 2), (y, x) in square pixels, is that of their errors: ellipses hold
    nine of ten. Arrows and ellipses are drawn larger than they are where they would not be seen,
    and the title says how much.

    Raises
    ------
    InputError
        When an array has another shape.
    """
    places = result.positions_px
    for what, array, shape in (
        ("given_px", given_px, places.shape),
        ("covariance_px", covariance_px, (len(places), 2, 2)),
    ):
        if array is not None and array.shape != shape:
            raise InputError(
                f"{what} must have shape {shape}, received {array.shape}; give one per position."
            )
    figure = new_figure(size_around(places, 1.6))
    axes = figure.add_subplot()
    y, x = places.T
    moves = np.zeros_like(places) if given_px is None else places - given_px
    # A shift of all is no move: nothing tells it from a shift of the object.
    moves = moves - np.median(moves, axis=0)
    length = np.hypot(*moves.T)
    largest = float(np.percentile(length, 99)) if len(length) else 0.0
    lines = [f"Scan positions · {result.name}"]
    size = float(np.clip(6e3 / len(x), 1.0, 25.0))
    spacing = _spacing(places)
    if largest > 1e-6:
        times = _times(largest, spacing)
        start = places - times * moves
        axes.quiver(
            start[:, 1], start[:, 0], times * moves[:, 1], times * moves[:, 0], length,
            cmap=AMPLITUDE, angles="xy", scale_units="xy", scale=1, width=0.0022,
            clim=(0.0, largest),
        )  # fmt: skip
        dots = axes.scatter(x, y, c=length, s=size, cmap=AMPLITUDE, vmin=0, vmax=largest)
        add_colour_bar(axes, dots, "moved by [px]")
        lines.append(
            f"moved by {np.median(length):.2g} px (median), up to {length.max():.2g} px"
            + (f"; arrows {times:g} times as long" if times > 1 else "")
        )
    else:
        axes.scatter(x, y, color="#3b6ea5", s=size)
        lines.append("not moved" if given_px is not None else f"{len(x)} positions")
    if covariance_px is not None:
        widths, heights, angles = _ellipses(covariance_px)
        times = _times(float(np.percentile(widths, 99)) / 2, spacing)
        axes.add_collection(
            EllipseCollection(
                times * widths, times * heights, angles, units="xy", offsets=places[:, ::-1],
                offset_transform=axes.transData, facecolors="none", edgecolors=INK, linewidths=0.6,
            )
        )  # fmt: skip
        larger = f", drawn {times:g} times as large" if times > 1 else ""
        lines.append(f"ellipses hold nine of ten errors{larger}")
    title(axes, *lines, width=int(figure.get_figwidth() * 9))
    _in_pixels(axes, places)
    return figure


def scan_figure(scan: Scan) -> Figure:
    """The mean pattern, the counts at every position and the probe of a scan, as they came."""
    counts, mean = _counts(scan)
    figure = new_figure((14.0, 4.6))
    set_title(figure, f"{scan.name}: {scan.M} patterns of {scan.N} x {scan.N}")
    grid = figure.add_gridspec(1, 3)
    pattern, places = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    image = np.ma.masked_array(np.log10(1 + mean), ~scan.good_pixels)
    show_image(
        pattern, image, COUNTS, 0.0, float(image.max() or 1.0) or 1.0, "log10(1 + mean counts)"
    )
    title(pattern, "mean pattern")
    without_ticks(pattern)
    y, x = scan.positions_px.T
    low, high = limits(np.ma.asarray(counts))
    dots = places.scatter(
        x, y, c=counts, s=_dot(scan.M), cmap=DOUBT, vmin=low, vmax=high, linewidths=0
    )
    _in_pixels(places, scan.positions_px)
    add_colour_bar(places, dots, "counts of the pattern")
    title(places, "scan positions")
    modes = figure.add_subplot(grid[0, 2])
    show_mode(modes, scan.probe[0])
    if scan.pixel_size_m is not None:
        set_scale(modes, scan.pixel_size_m)
    shares = power_shares(scan.probe)
    words = f"mode 1 of {len(shares)}: {100 * shares[0]:.3g} %"
    title(modes, words if len(shares) > 1 else "probe")
    return figure


def show_residuals(
    axes: Axes, places: NDArray[np.float64], values: NDArray[np.float64], label: str
) -> None:
    """A dot at every position (M, 2), coloured by its value (M,); those without one are hollow."""
    y, x = places.T
    good = np.isfinite(values)
    low, high = limits(np.ma.masked_invalid(values), tail=1.0)
    size = _dot(len(x))
    dots = axes.scatter(
        x[good], y[good], c=values[good], s=size, cmap="magma_r", vmin=low, vmax=high, linewidths=0
    )
    if not good.all():
        axes.scatter(x[~good], y[~good], s=size, facecolors="none", edgecolors=INK, linewidths=0.5)
    _in_pixels(axes, places)
    add_colour_bar(axes, dots, label)


def _counts(scan: Scan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts (M,) of every pattern on good pixels, and the mean pattern (N, N), block by block."""
    good, total = scan.good_pixels, np.zeros((scan.N, scan.N))
    counts = np.zeros(scan.M)
    length = max(1, BLOCK_BYTES // (scan.N * scan.N * 8))
    for first in range(0, scan.M, length):
        frames = np.asarray(scan.diffraction[first : first + length]).astype(np.float64)
        counts[first : first + length] = frames[:, good].sum(axis=1)
        total += frames.sum(axis=0)
    return counts, total / scan.M


def _dot(count: int) -> float:
    """Points squared: about as large as the mean distance of two positions on a printed panel."""
    return float(np.clip(3e4 / max(count, 1), 1.5, 60.0))


def _in_pixels(axes: Axes, places: NDArray[np.float64]) -> None:
    low, high = places.min(axis=0), places.max(axis=0)
    margin = 0.05 * float(max((high - low).max(), 1.0))
    axes.set_xlim(low[1] - margin, high[1] + margin)
    axes.set_ylim(high[0] + margin, low[0] - margin)
    axes.set_aspect("equal")
    axes.set_xlabel("x [px]", color=INK)
    axes.set_ylabel("y [px]", color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(round_ticks())
    axes.tick_params(labelsize=9)
    without_frame(axes)


def size_around(places: NDArray[np.float64], beside: float) -> tuple[float, float]:
    height, width = np.maximum(np.ptp(places, axis=0), 1.0)
    scale = 6.0 / max(height, width)
    return max(width * scale, 3.4) + beside, max(height * scale, 1.2) + 1.9


def _spacing(places: NDArray[np.float64]) -> float:
    """Typical distance of neighbouring positions."""
    from scipy.spatial import cKDTree

    if len(places) < 2:
        return 1.0
    return float(np.median(cKDTree(places).query(places, k=2)[0][:, 1])) or 1.0


def _times(length: float, spacing: float) -> float:
    """How many times longer something is drawn to be about as long as ``spacing``: 1, 2, 5, ..."""
    most = 0.8 * spacing / max(length, 1e-12)
    if most <= 1:
        return 1.0
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(f for f in (1, 2, 5) if f * power <= most) * power)


def _ellipses(
    covariance: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Full widths, heights and angles (degrees, from x towards y) that hold nine of ten errors."""
    values, vectors = np.linalg.eigh(covariance)
    axes = 2 * NINE_OF_TEN * np.sqrt(np.maximum(values, 0))
    angles = np.degrees(np.arctan2(vectors[:, 0, 1], vectors[:, 1, 1]))
    return axes[:, 1], axes[:, 0], angles
