"""PNG pictures of results. Only matplotlib's object-oriented API: no global state, no window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.evaluation import Evaluation
from ptychopinn.evaluation.alignment import cut
from ptychopinn.io.atomic import atomic_path

UNSEEN = "#9a9a9a"
INK = "#1f2933"
RED = "#b3261e"
DPI = 130


def save_amplitude(result: Reconstruction, path: str | Path, note: str | None = None) -> None:
    """Picture of abs(object) around the scanned box; ``note`` is printed on a red banner."""
    picture, extent = _view(result)
    amplitude = np.ma.masked_invalid(np.abs(picture))
    low, high = _limits(amplitude)
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
    picture, extent = _view(result)
    phase = np.ma.masked_invalid(np.angle(_centred(picture)))
    cmap, bound = _phase_colours(phase)
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
            "reconstruct again with --uncertainty."
        )
    radius = np.where(np.isfinite(result.uncertainty), result.uncertainty, np.nan)
    picture, extent = _view(replace(result, object=np.nan_to_num(radius, nan=-1.0)))
    image = np.ma.masked_less(np.ma.masked_invalid(picture.real), 0)
    low, high = _limits(image)
    _save_map(result, image, extent, path, note, "90 % radius of the error", "", "magma", low, high)


def save_comparison(
    pictures: Sequence[tuple[str, str, NDArray[np.complexfloating[Any, Any]]]], path: str | Path
) -> None:
    """Amplitude and phase of several objects, one column each with the limits of the first.

    ``pictures`` are (name, scores in words, (h, w) complex, NaN where unseen), aligned.
    """
    amplitudes = [np.ma.masked_invalid(np.abs(picture)) for *_, picture in pictures]
    phases = [np.ma.masked_invalid(np.angle(_centred(picture))) for *_, picture in pictures]
    low, high = _limits(amplitudes[0])
    cmap, bound = _phase_colours(phases[0])
    figure = _figure((3.3 * len(pictures) + 0.8, 6.2))
    axes = figure.subplots(2, len(pictures), squeeze=False)
    for column, (name, scores, _) in enumerate(pictures):
        _show(axes[0, column], amplitudes[column], "viridis", low, high, "")
        _show(axes[1, column], phases[column], cmap, -bound, bound, "rad")
        axes[0, column].set_title(f"{_short(name, 32)}\n{scores}", color=INK, parse_math=False)
        for row in (0, 1):
            axes[row, column].set_xticks([])
            axes[row, column].set_yticks([])
    _write(figure, path)


def save_loss_curve(history: Mapping[str, Sequence[tuple[float, float]]], path: str | Path) -> None:
    """Loss against epoch; ``history`` maps the name of a curve to its (epoch, value) pairs.

    Raises
    ------
    InputError
        When there is not a single finite value.
    """
    curves = {name: np.asarray(pairs, dtype=np.float64) for name, pairs in history.items() if pairs}
    finite = [c[np.isfinite(c[:, 1]), 1] for c in curves.values()]
    values = np.concatenate(finite) if finite else np.zeros(0)
    if values.size == 0:
        raise InputError(
            "a loss curve needs at least one finite value, received none; train for one epoch."
        )
    figure = _figure((6.4, 4.0))
    axes = figure.add_subplot()
    for number, (name, curve) in enumerate(curves.items()):
        marker = "o" if len(curve) < 25 else ""
        axes.plot(
            curve[:, 0], curve[:, 1], marker=marker, markersize=4, color=f"C{number}", label=name
        )
    if values.min() > 0 and values.max() > 5 * values.min():
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    _plain(axes)
    axes.grid(alpha=0.25)
    _write(figure, path)


def save_evaluation(evaluation: Evaluation, path: str | Path) -> None:
    """One page: pictures (with the truth and the error where it is known), curves and numbers."""
    images, fit = evaluation.images, evaluation.misfit
    with_truth = "truth_amplitude" in images
    rows = (2 if with_truth else 1) + (1 if fit is not None else 0)
    figure = _figure((15.5, 3.9 * rows + 0.6))
    banner = None
    if evaluation.verdict == "poor" and fit is not None:
        banner = (
            f"POOR FIT: the residual of {fit.residual:.3f} exceeds the {fit.expected:.3f} that "
            "photon noise explains"
        )
    _title(figure, evaluation.name, banner)
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
                _show(axes, np.ma.masked_invalid(image), colours, low, high, bar)
                axes.set_title(title)
                axes.set_xticks([])
                axes.set_yticks([])
        _ring_curve(figure.add_subplot(grid[0, 3]), evaluation)
        _numbers(figure.add_subplot(grid[1, 3]), evaluation)
    else:
        amplitude = np.ma.masked_invalid(images["amplitude"])
        phase = np.ma.masked_invalid(images["phase"])
        colours, bound = _phase_colours(phase)
        axes = figure.add_subplot(grid[0, 0])
        _show(axes, amplitude, "viridis", *_limits(amplitude), "")
        axes.set_title("Reconstructed amplitude")
        other = figure.add_subplot(grid[0, 1])
        _show(other, phase, colours, -bound, bound, "rad")
        other.set_title("Reconstructed phase")
        for panel in (axes, other):
            panel.set_xticks([])
            panel.set_yticks([])
        _numbers(figure.add_subplot(grid[0, 2:]), evaluation, right=0.6)
    if fit is not None:
        measured, model = fit.measured_mean, fit.model_mean
        peak = float(max(np.nanmax(measured), np.nanmax(model)))
        high = float(np.log10(1 + peak))
        for column, (title, pattern) in enumerate(
            (("Mean measured pattern", measured), ("Mean modelled pattern", model))
        ):
            axes = figure.add_subplot(grid[rows - 1, column])
            shown = np.ma.masked_invalid(np.log10(1 + pattern))
            _show(axes, shown, "inferno", 0, high, "log10(1 + counts)")
            axes.set_title(title)
            axes.set_xticks([])
            axes.set_yticks([])
        _residual_map(figure.add_subplot(grid[rows - 1, 2]), evaluation)
        _residual_histogram(figure.add_subplot(grid[rows - 1, 3]), evaluation)
    _write(figure, path)


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
        rows.append((name, unit, unit, _limits(truth, 0.0), cmap, bound))
    return rows


def _view(result: Reconstruction) -> tuple[NDArray[Any], tuple[float, float, float, float]]:
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


def _centred(picture: NDArray[Any]) -> NDArray[Any]:
    """The picture turned by its mean phase, which has no meaning, so that it rarely wraps."""
    mean = np.nansum(picture)
    return picture * np.conj(mean) / abs(mean) if mean else picture


def _limits(image: np.ma.MaskedArray[Any, Any], tail: float = 0.2) -> tuple[float, float]:
    """Display limits without the outermost ``tail`` percent; never equal."""
    values = image.compressed()
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (tail, 100 - tail)))
    if high - low < 1e-6 * max(abs(high), 1e-12):
        spread = 0.5 * abs(high) or 0.5
        low, high = low - spread, high + spread
    return low, high


def _phase_colours(phase: np.ma.MaskedArray[Any, Any]) -> tuple[Colormap, float]:
    """Colours and symmetric limit of phases: the whole circle, or its middle for a smaller span."""
    values = np.abs(phase.compressed())
    bound = float(np.percentile(values, 99.8)) if values.size else np.pi
    circle = colormaps["twilight"]
    if bound > 0.8 * np.pi:
        return circle, float(np.pi)
    part = LinearSegmentedColormap.from_list("phase", circle(np.linspace(0.09, 0.91, 256)))
    return part, max(bound, 1e-3)


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
    figure = _figure(size)
    _title(figure, f"{title} · {result.name}", note)
    axes = figure.add_subplot()
    _show(axes, image, cmap, low, high, unit, extent)
    if note is not None:
        axes.set_title(_short(f"{title} · {result.name}"), color=INK, parse_math=False)
    if result.pixel_size_m is None:
        axes.set_xlabel("x [px]")
        axes.set_ylabel("y [px]")
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        _scale_bar(axes, result.pixel_size_m, extent)
    _write(figure, path)


def _title(figure: Figure, title: str, banner: str | None) -> None:
    """The title, below a red banner when there is something to warn about."""
    if banner is None:
        figure.suptitle(_short(title), fontsize=13, color=INK, parse_math=False)
        return
    # Bold 11-point letters are about a ninth of an inch wide.
    width = max(int((figure.get_figwidth() - 0.6) * 8.5), 20)
    figure.suptitle(
        fill(banner, width),
        parse_math=False,
        fontsize=11,
        fontweight="bold",
        color="white",
        bbox={"facecolor": RED, "edgecolor": "none", "boxstyle": "square,pad=0.5"},
    )


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _show(
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
    bar = _colour_bar(axes, shown)
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks, labels=[_number(v, high - low) for v in ticks])
    if unit:
        bar.set_label(unit)
    axes.tick_params(labelsize=9, colors=INK)
    bar.ax.tick_params(labelsize=9, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _colour_bar(axes: Axes, shown: Any) -> Any:
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


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK)


def _ring_curve(axes: Axes, evaluation: Evaluation) -> None:
    frc = evaluation.frc
    if frc is None:
        axes.set_axis_off()
        return
    axes.plot(frc.frequency, frc.correlation, color="C0", label="FRC")
    axes.plot(frc.frequency[1:], frc.half_bit[1:], color="C1", ls="--", label="1/2 bit")
    axes.axhline(frc.fixed, color="C2", ls=":", label=f"{frc.fixed:g}")
    for crossing, colour in ((frc.half_bit_crossing, "C1"), (frc.fixed_crossing, "C2")):
        if crossing is not None:
            axes.axvline(crossing, color=colour, lw=0.8, alpha=0.7)
    axes.set_xlim(0, 1)
    axes.set_ylim(min(-0.05, float(frc.correlation.min()) - 0.02), 1.05)
    axes.set_xlabel("spatial frequency / Nyquist")
    axes.set_title("Fourier ring correlation with the truth")
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.25)
    _plain(axes)


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
    low, high = _limits(np.ma.masked_invalid(fit.per_pattern), 1.0)
    # About as large as the mean distance of two positions on the printed panel.
    size = float(np.clip(3e4 / max(len(x), 1), 1.5, 60.0))
    dots = axes.scatter(
        x[good], y[good], c=fit.per_pattern[good], s=size, cmap="magma_r", vmin=low, vmax=high
    )
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_title("Residual of each pattern")
    axes.set_xlabel("x [px]")
    axes.set_ylabel("y [px]")
    bar = _colour_bar(axes, dots)
    bar.ax.tick_params(labelsize=9, colors=INK)
    _plain(axes)


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
    _plain(axes)


def _figure(size: tuple[float, float]) -> Figure:
    """An empty figure whose parts make room for each other."""
    return Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def _write(figure: Figure, path: str | Path) -> None:
    target = Path(path)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format=target.suffix.lstrip(".") or "png", dpi=DPI)
