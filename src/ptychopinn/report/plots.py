"""The figures there are of a result, a scan and a model, by name: for whoever looks, and for the
commands, which write them.

The modules behind import matplotlib; this one does so when a figure is asked for. Every function
returns a ``Figure`` that no window and no list of figures belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.evaluation.beside import Compared, telling
from ptychopinn.evaluation.resolution import judged_curve
from ptychopinn.report.matplotlib_import import load_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

WORDS = ("best", "typical", "worst")


class Look(NamedTuple):
    """What a figure is drawn from.

    compared : the result with its scan, or None.  note : for a banner, or None.
    """

    result: Reconstruction
    compared: Compared | None = None
    note: str | None = None


class Kind(NamedTuple):
    """A figure. lacks : what a result must have that it is drawn from and does not; or None."""

    draw: Callable[[Look], Figure]
    lacks: Callable[[Look], str | None]


def result_figure(
    result: Reconstruction,
    what: str = "overview",
    data: Scan | None = None,
) -> Figure:
    """A figure of a result; the names are those of ``FIGURES``.

    Parameters
    ----------
    data : the scan with the measured patterns, for those that show it.

    Raises
    ------
    InputError
        When there is no such figure, or what it is drawn from is missing.
    """
    if what not in FIGURES:
        raise InputError(
            f"a figure must be one of {', '.join(FIGURES)}, received {shown(what)}; correct it."
        )
    compared = None if data is None else Compared.of(result, data)
    look = Look(result, compared)
    missing = FIGURES[what].lacks(look)
    if missing is not None:
        raise InputError(f"the figure '{what}' needs {missing}")
    load_matplotlib()
    return FIGURES[what].draw(look)


def all_figures(look: Look) -> Iterator[tuple[str, Figure]]:
    """Name and figure of all that can be drawn, one after the other."""
    load_matplotlib()
    for name, kind in FIGURES.items():
        if kind.lacks(look) is None:
            yield name, kind.draw(look)


def scan_overview(scan: Scan) -> Figure:
    """The mean pattern, the counts at every position and the probe."""
    load_matplotlib()
    from ptychopinn.report.probe_figures import scan_figure

    return scan_figure(scan)


def model_overview(
    history: Mapping[str, Any], probe: NDArray[np.complexfloating[Any, Any]], name: str
) -> Figure:
    """The losses of a training, where they are known, else the probe."""
    load_matplotlib()
    from ptychopinn.report.curves import loss_figure
    from ptychopinn.report.probe_figures import probe_figure

    losses = {key: pairs for key, pairs in history.items() if key.endswith("_loss") and pairs}
    return loss_figure(losses) if losses else probe_figure(probe, name)


def _overview(look: Look) -> Figure:
    """Amplitude and phase side by side; unseen pixels stay empty.

    The axes are in micrometres where the pixel size is known, else in object pixels; their origin
    is that of the scan positions.
    """
    from ptychopinn.report.colours import AMPLITUDE, limits, phases
    from ptychopinn.report.drawing import INK, new_figure, round_ticks, set_title, show_image, title
    from ptychopinn.report.pictures import scanned

    result = look.result
    seen = result.weight > 0
    picture = np.where(seen, result.object, np.complex64(np.nan + 1j * np.nan))
    height, width = picture.shape
    unit, step = "px", 1.0
    if result.pixel_size_m is not None:
        unit, step = "µm", result.pixel_size_m * 1e6
    top, left = (float(v) - 0.5 for v in result.origin_px)
    extent = (left, left + width, top + height, top)
    inside = scanned(result, extent)
    amplitude, phase = np.ma.masked_array(np.abs(picture), ~seen), phases(picture, inside)
    wide = width > 2.6 * height
    figure = new_figure((9.0, 6.0) if wide else (10.4, 4.4))
    set_title(figure, result.name)
    panels = figure.subplots(2, 1) if wide else figure.subplots(1, 2)
    for axes, words, image, colours, low, high, of in (
        (panels[0], "amplitude", amplitude, AMPLITUDE, *limits(amplitude, inside), ""),
        (panels[1], "phase", phase.values, phase.colours, phase.low, phase.high, "rad"),
    ):
        placed = (extent[0] * step, extent[1] * step, extent[2] * step, extent[3] * step)
        show_image(axes, image, colours, low, high, of, placed)
        title(axes, words)
        axes.set_xlabel(f"x [{unit}]", color=INK)
        axes.set_ylabel(f"y [{unit}]", color=INK)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(round_ticks())
    return figure


def _picture(name: str) -> Callable[[Look], Figure]:
    def draw(look: Look) -> Figure:
        from ptychopinn.report import pictures

        figure: Figure = getattr(pictures, f"{name}_figure")(look.result, look.note)
        return figure

    return draw


def _probe(look: Look) -> Figure:
    from ptychopinn.report.probe_figures import probe_figure

    return probe_figure(look.result.probe, look.result.name, look.result.pixel_size_m)


def _slices(look: Look) -> Figure:
    from ptychopinn.report.slice_figures import slices_figure

    return slices_figure(look.result, look.note)


def _positions(look: Look) -> Figure:
    from ptychopinn.report.probe_figures import positions_figure

    given = None if look.compared is None else look.compared.given_px
    return positions_figure(look.result, given, look.result.position_covariance)


def _misfit(look: Look) -> Figure:
    from ptychopinn.report.fit_figures import misfit_figure

    fit = _fit(look)
    return misfit_figure(fit, look.result.name, list(zip(WORDS, telling(fit), strict=True)))


def _passes(look: Look) -> Figure:
    from ptychopinn.report.fit_figures import passes_figure

    return passes_figure(look.result.losses, look.result.name)


def _patterns(look: Look) -> Figure:
    from ptychopinn.report.fit_figures import patterns_figure

    assert look.compared is not None
    fit = _fit(look)
    return patterns_figure(look.compared.patterns(telling(fit)), WORDS, fit, look.result.name)


def _resolution(look: Look) -> Figure:
    from ptychopinn.report.fit_figures import rings_figure

    result = look.result
    assert result.half_split is not None
    curve = judged_curve(result.half_split, result.pixel_size_m)
    return rings_figure(curve, "of two halves", result.name)


def _fit(look: Look) -> Any:
    if look.compared is not None:
        return look.compared.fit
    assert look.result.fit is not None
    return look.result.fit


def _nothing(look: Look) -> str | None:
    return None


def _data(look: Look) -> str | None:
    if look.compared is None:
        return "the scan with the measured patterns, received none; give it as data."
    return None


def _fit_or_data(look: Look) -> str | None:
    return None if look.result.fit is not None else _data(look)


def _losses(look: Look) -> str | None:
    if np.isfinite(look.result.losses).any():
        return None
    return "a result of iterations, received one without their misfit; refine it."


def _stated(name: str) -> Callable[[Look], str | None]:
    def lacks(look: Look) -> str | None:
        if getattr(look.result, name) is not None:
            return None
        if name == "half_split":
            return "a result that was refined with uncertainty=True, received another; do so."
        if name == "slices":
            return "a result with several slices, received one of a thin sample; refine with them."
        return "a result that states it, received one without; add uncertainty=True."

    return lacks


FIGURES: Mapping[str, Kind] = {
    "overview": Kind(_overview, _nothing),
    "amplitude": Kind(_picture("amplitude"), _nothing),
    "phase": Kind(_picture("phase"), _nothing),
    "complex": Kind(_picture("complex"), _nothing),
    "slices": Kind(_slices, _stated("slices")),
    "probe": Kind(_probe, _nothing),
    "positions": Kind(_positions, _nothing),
    "coverage": Kind(_picture("coverage"), _nothing),
    "misfit": Kind(_misfit, _fit_or_data),
    "passes": Kind(_passes, _losses),
    "patterns": Kind(_patterns, _data),
    "resolution": Kind(_resolution, _stated("half_split")),
    "uncertainty": Kind(_picture("uncertainty"), _stated("uncertainty")),
}
