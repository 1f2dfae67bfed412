"""How the values of this package show themselves in a notebook: a small table beside a picture."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.data.scan import Scan
    from ptychopinn.evaluation import Evaluation
    from ptychopinn.workflows.model import Model

Rows = Iterable[tuple[str, object]]
# Patterns of a scan that its picture is the mean of.
PATTERNS = 32
# Readable on light and dark pages.
VERDICTS = {"good": "#2e8b57", "doubtful": "#c07000", "poor": "#c03030"}


def card(title: str, rows: Rows, picture: bytes | None = None, verdict: str | None = None) -> str:
    """A table of words and values below a title, beside a PNG; everything is escaped."""
    cells = "".join(
        f'<tr><td style="text-align:left;opacity:.7">{escape(words)}</td>'
        f'<td style="text-align:left">{escape(str(value))}</td></tr>'
        for words, value in rows
    )
    mark = ""
    if verdict is not None:
        colour = VERDICTS.get(verdict, "inherit")
        mark = f' <b style="color:{colour}">{escape(verdict)}</b>'
    shown = ""
    if picture is not None:
        data = base64.b64encode(picture).decode()
        shown = f'<img alt="" src="data:image/png;base64,{data}" style="max-width:160px">'
    return (
        '<div style="display:flex;gap:1em;align-items:flex-start;flex-wrap:wrap">'
        # Beside the picture where there is room for a few words.
        f'{shown}<div style="flex:1 1 12em;min-width:0"><b>{escape(title)}</b>{mark}'
        f"<table>{cells}</table></div></div>"
    )


def scan_card(scan: Scan) -> str:
    """Of a scan, with the mean of some patterns."""
    chosen = np.unique(np.linspace(0, scan.M - 1, min(scan.M, PATTERNS)).astype(np.int64))
    mean = np.asarray(scan.diffraction[chosen]).astype(np.float64).mean(axis=0)
    good = scan.good_pixels
    span = np.ptp(scan.positions_px, axis=0)
    rows: list[tuple[str, object]] = [
        ("patterns", f"{scan.M} of {scan.N} x {scan.N}, {scan.diffraction.dtype}"),
        ("counts per pattern", f"about {mean[good].sum():.3g}"),
        ("scanned", f"{span[0]:.0f} x {span[1]:.0f} px"),
        ("probe", f"{len(scan.probe)} mode{'s' * (len(scan.probe) > 1)}"),
    ]
    if scan.pixel_size_m is not None:
        rows.append(("object pixel", f"{scan.pixel_size_m * 1e9:.4g} nm"))
    if not good.all():
        rows.append(("bad pixels", int((~good).sum())))
    if scan.object is not None:
        rows.append(("known object", " x ".join(map(str, scan.object.shape))))
    return card(scan.name, rows, _png(np.log1p(np.where(good, mean, np.nan))))


def result_card(result: Reconstruction) -> str:
    """Of a result, with its phase, its verdict and the names of its findings."""
    from ptychopinn.report.matplotlib_import import load_matplotlib

    load_matplotlib()
    from ptychopinn.report.thumbnails import phase_thumbnail

    height, width = result.object.shape[-2:]
    rows: list[tuple[str, object]] = [
        ("object", f"{height} x {width} px, {len(result.positions_px)} patterns"),
    ]
    fit = result.fit
    if fit is not None:
        rows.append(("residual", f"{fit.residual:.4f}, photon noise {fit.expected:.4f}"))
        if fit.cause is not None:
            rows.append(("likely", fit.cause))
    if result.findings:
        rows.append(("findings", ", ".join(f"{f.name} ({f.level})" for f in result.findings)))
    if result.pixel_size_m is not None:
        rows.append(("pixel", f"{result.pixel_size_m * 1e9:.4g} nm"))
    verdict = None if fit is None else fit.verdict
    return card(result.name, rows, phase_thumbnail(result), verdict)


def model_card(model: Model) -> str:
    """Of a trained model, with the modulus of its probe."""
    manifest, statistics = model.manifest, model.manifest.statistics
    rows: list[tuple[str, object]] = [
        ("architecture", model.config.model.architecture),
        ("parameters", sum(value.size for value in model.weights.values())),
        ("trained", f"{manifest.created}, {manifest.backend}"),
    ]
    rows += [(name, statistics[name]) for name in ("N", "patterns") if name in statistics]
    rows += [(k, f"{v:.4g}") for k, v in manifest.metrics.items() if isinstance(v, float)]
    return card(model.source or "model", rows, _png(np.abs(model.probe[0])))


def evaluation_card(evaluation: Evaluation) -> str:
    """Of scores: every number, the notes, the verdict."""
    rows = [*evaluation.rows(), *(("note", note) for note in evaluation.notes)]
    return card(evaluation.name, rows, None, evaluation.verdict)


def options_card(name: str, values: Mapping[str, Any]) -> str:
    """Of options, those of sections below their names."""
    rows: list[tuple[str, object]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += [(f"{key}.{inner}", shown) for inner, shown in value.items()]
        else:
            rows.append((key, value))
    return card(name, rows)


def _png(values: NDArray[Any]) -> bytes:
    """A picture of values between the least and the largest."""
    from ptychopinn.report.matplotlib_import import load_matplotlib

    load_matplotlib()
    from ptychopinn.report.colours import COUNTS
    from ptychopinn.report.thumbnails import thumbnail

    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return thumbnail((values - low) / max(high - low, 1e-12), COUNTS)
