"""How good is a reconstruction? Against the truth, or against the measured patterns.

``evaluate`` is the entry; the definitions are in the modules ``alignment`` (what is removed before
comparing), ``metrics``, ``resolution`` (Fourier ring correlation) and ``misfit`` (without truth).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import left_out
from ptychopinn.errors import InputError, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.data.scan import Scan
    from ptychopinn.evaluation.misfit import Misfit
    from ptychopinn.evaluation.resolution import FourierRingCorrelation

__all__ = ["Evaluation", "evaluate"]

# Order, name and format of the numbers in tables; the unit is part of the name.
LABELS: dict[str, tuple[str, str]] = {
    "coverage": ("coverage of the scanned box", ".1%"),
    "nrmse": ("NRMSE of the complex object", ".4f"),
    "amplitude_psnr_db": ("amplitude PSNR [dB]", ".2f"),
    "amplitude_ssim": ("amplitude SSIM", ".4f"),
    "amplitude_mae": ("amplitude mean abs. error", ".4g"),
    "amplitude_peak": ("amplitude peak (range of truth)", ".4g"),
    "phase_psnr_db": ("phase PSNR [dB]", ".2f"),
    "phase_ssim": ("phase SSIM", ".4f"),
    "phase_mae_rad": ("phase mean abs. error [rad]", ".4g"),
    "phase_peak_rad": ("phase peak (range of truth) [rad]", ".4g"),
    "uncertainty_coverage": ("true error within the 90 % radius", ".1%"),
    "frc_half_bit_fraction_of_nyquist": ("FRC 1/2-bit [Nyquist]", ".3f"),
    "frc_half_bit_half_period_m": ("FRC 1/2-bit half period [m]", ".3g"),
    "frc_0143_fraction_of_nyquist": ("FRC 0.143 [Nyquist]", ".3f"),
    "frc_0143_half_period_m": ("FRC 0.143 half period [m]", ".3g"),
    "halves_half_bit_fraction_of_nyquist": ("FRC halves, 1/2-bit [Nyquist]", ".3f"),
    "halves_half_bit_half_period_m": ("FRC halves, 1/2-bit [m]", ".3g"),
    "halves_one_bit_fraction_of_nyquist": ("FRC halves, 1-bit [Nyquist]", ".3f"),
    "halves_one_bit_half_period_m": ("FRC halves, 1-bit [m]", ".3g"),
    "position_sigma_px": ("position uncertainty, median [px]", ".3f"),
    "shift_y_px": ("removed shift y [px]", "+.3f"),
    "shift_x_px": ("removed shift x [px]", "+.3f"),
    "ramp_y_rad_per_px": ("removed ramp y [rad/px]", "+.2e"),
    "ramp_x_rad_per_px": ("removed ramp x [rad/px]", "+.2e"),
    "scale_abs": ("removed scale, modulus", ".4g"),
    "scale_phase_rad": ("removed scale, phase [rad]", "+.4f"),
    "residual": ("residual of the patterns", ".4f"),
    "residual_expected": ("residual expected from noise", ".4f"),
    "residual_excess": ("excess residual", "+.4f"),
    "explained": ("share of the structure explained", ".3f"),
    "poisson_deviance": ("Poisson deviance per count", ".4f"),
    "model_scale": ("scale of the model fields", ".4f"),
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found.

    Attributes
    ----------
    name : str
        Name of the result.
    metrics : dict of float
        The numbers; the names are those of ``LABELS``, where a table wants words.
    frc : FourierRingCorrelation or None
        Against the truth.
    half_split : FourierRingCorrelation or None
        Of two halves of the patterns, where the result states it (``refine`` with uncertainty).
    misfit : Misfit or None
        Against the measured patterns.
    verdict : "good", "doubtful", "poor" or None
        Whether the result explains the patterns; None without data. Why it does not is in
        ``misfit.likely`` and ``misfit.cause``.
    images : dict of arrays
        Pictures for the figure, in the box (amplitude, phase, their truths and errors).
    notes : tuple of str
        What a reader of the numbers has to know.
    """

    name: str
    metrics: dict[str, float]
    frc: FourierRingCorrelation | None = None
    half_split: FourierRingCorrelation | None = None
    misfit: Misfit | None = None
    verdict: str | None = None
    images: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        numbers = ", ".join(f"{words} {value}" for words, value in self.rows()[:4])
        # Without measured patterns there is no verdict.
        verdict = "" if self.verdict is None else f", verdict {self.verdict}"
        return f"Evaluation({self.name!r}: {numbers}{verdict})"

    def _repr_html_(self) -> str:
        from ptychopinn.report.notebook import evaluation_card

        return evaluation_card(self)

    def to_json(self) -> dict[str, Any]:
        """Plain data: name, metrics, verdict, notes and the ring correlation curves."""
        return {
            "name": self.name,
            "metrics": dict(self.metrics),
            "verdict": self.verdict,
            "likely": None if self.misfit is None else self.misfit.likely,
            "cause": self.cause,
            "notes": list(self.notes),
            "fourier_ring_correlation": None if self.frc is None else self.frc.to_json(),
            "half_split_correlation": (
                None if self.half_split is None else self.half_split.to_json()
            ),
        }

    @property
    def cause(self) -> str | None:
        """Why a fit is not good, in a sentence."""
        return None if self.misfit is None else self.misfit.cause

    def rows(self) -> list[tuple[str, str]]:
        """(words, formatted value) of every number, in reading order."""
        return [
            (words, format(self.metrics[key], style))
            for key, (words, style) in LABELS.items()
            if key in self.metrics
        ]

    def plot(self) -> Figure:
        """Pictures, curves and numbers on one page, as a figure of matplotlib that no window
        belongs to."""
        # Pictures are floors above scores.
        from ptychopinn.report.matplotlib_import import load_matplotlib

        load_matplotlib()
        from ptychopinn.report.page import evaluation_figure

        return evaluation_figure(self)

    def summary(self) -> str:
        """The numbers as lines of text."""
        lines = [self.name]
        lines += [f"  {words:<36} {value}" for words, value in self.rows()]
        if self.verdict is not None:
            lines.append(f"  {'fit of the patterns':<36} {self.verdict}")
        if self.cause is not None:
            lines.append(f"Likely: {self.cause}")
        return "\n".join([*lines, *self.notes])


def _require_kinds(result: Any, truth: Any, data: Any) -> None:
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.data.scan import Scan

    kinds: dict[str, tuple[Any, type]] = {"result": (result, Reconstruction)}
    kinds |= {k: (v, Scan) for k, v in (("truth", truth), ("data", data)) if v is not None}
    for name, (value, kind) in kinds.items():
        if not isinstance(value, kind):
            raise InputError(
                f"{name} must be a {kind.__name__}, received {shown(value)}; write "
                "evaluate(result, truth, data)."
            )


def evaluate(
    result: Reconstruction, truth: Scan | None = None, data: Scan | None = None
) -> Evaluation:
    """Score a reconstruction against a known object, against the measured patterns, or both.

    Parameters
    ----------
    result : Reconstruction
    truth : Scan, optional
        A scan that carries the true ``object``. The box of *its* positions is scored, so that parts
        that were scanned and not reconstructed count.
    data : Scan, optional
        The scan with the measured patterns that was reconstructed.

    Raises
    ------
    InputError
        When neither is given, the truth has no object, or they do not belong to the result (see
        :mod:`ptychopinn.evaluation.belonging`).
    """
    _require_kinds(result, truth, data)
    if truth is None and data is None:
        raise InputError(
            "an evaluation needs something to compare with, received neither a truth nor data; "
            "give a scan that holds the true object, or the scan with the measured patterns."
        )
    metrics: dict[str, float] = {}
    images: dict[str, NDArray[Any]] = {}
    notes: list[str] = []
    frc = fit = verdict = None
    if result.provenance:
        from ptychopinn.evaluation.belonging import check_belongs

        for role, scan in {"truth": truth, "data": data}.items():
            # One scan may serve as both.
            if scan is not None and not (role == "data" and scan is truth):
                note = check_belongs(result, scan, role)
                notes += [] if note is None else [note]
    if truth is not None:
        frc = _against_truth(result, truth, metrics, images, notes)
    if data is not None:
        from ptychopinn.checks.replay import mended_like
        from ptychopinn.evaluation.misfit import misfit

        fit = misfit(result, mended_like(data, result.findings))
        verdict = fit.verdict
        metrics["residual"] = fit.residual
        metrics["residual_expected"] = fit.expected
        metrics["residual_excess"] = fit.excess
        if np.isfinite(fit.explained):
            metrics["explained"] = fit.explained
        metrics["poisson_deviance"] = fit.deviance
        metrics["model_scale"] = fit.scale
        if truth is None:
            from ptychopinn.evaluation.alignment import cut, scan_box

            box = scan_box(result.positions_px)
            origin = (int(result.origin_px[0]), int(result.origin_px[1]))
            seen = cut(result.weight > 0, box, origin)
            metrics["coverage"] = float(seen.mean())
            picture = cut(result.object, box, origin)
            picture = picture * np.exp(-1j * np.angle(picture[seen].sum()))
            images["amplitude"] = np.where(seen, np.abs(picture), np.nan)
            images["phase"] = np.where(seen, np.angle(picture), np.nan)
    split = None
    if result.half_split is not None:
        from ptychopinn.evaluation.resolution import judged_curve

        size = result.pixel_size_m or (None if truth is None else truth.pixel_size_m)
        split = judged_curve(result.half_split, size)
        _crossings(metrics, "halves", split, ("half_bit", "one_bit"))
    sigma = result.position_sigma_px
    if sigma is not None:
        metrics["position_sigma_px"] = float(np.median(sigma))
    return Evaluation(result.name, metrics, frc, split, fit, verdict, images, tuple(notes))


def _crossings(
    metrics: dict[str, float], of: str, frc: FourierRingCorrelation, limits: tuple[str, ...]
) -> None:
    """Where a ring correlation crosses its thresholds, as fractions of Nyquist and in metres."""
    for limit in limits:
        crossing = getattr(frc, f"{limit}_crossing")
        meters = getattr(frc, f"{limit}_resolution_m")
        name = f"{of}_{'0143' if limit == 'fixed' else limit}"
        if crossing is not None:
            metrics[f"{name}_fraction_of_nyquist"] = crossing
        if meters is not None:
            metrics[f"{name}_half_period_m"] = meters


def _against_truth(
    result: Reconstruction,
    truth: Scan,
    metrics: dict[str, float],
    images: dict[str, NDArray[Any]],
    notes: list[str],
) -> FourierRingCorrelation:
    from ptychopinn.evaluation.alignment import align, cut, scan_box
    from ptychopinn.evaluation.metrics import score
    from ptychopinn.evaluation.resolution import fourier_ring_correlation

    if truth.object is None:
        raise InputError(
            f"the truth must be a scan with a known object, received '{truth.name}', which has "
            "none; give a simulated scan, or evaluate against the measured patterns instead (data)."
        )
    origin = result.origin_px + common_origin(result, truth)
    box = scan_box(truth.positions_px)
    aligned = align(result.object, result.weight, origin, truth.object, box)
    scores = score(aligned)
    frc = fourier_ring_correlation(
        aligned.reconstruction, aligned.truth, result.pixel_size_m or truth.pixel_size_m
    )
    seen = cut(result.weight > 0, box, (int(origin[0]), int(origin[1])))
    metrics["coverage"] = float(seen.mean())
    metrics.update(scores.values)
    _crossings(metrics, "frc", frc, ("half_bit", "fixed"))
    if frc.half_bit_crossing is None:
        notes.append(
            "The FRC stays above the 1/2-bit threshold up to Nyquist: limited by the pixels."
        )
    if frc.fixed_crossing is None:
        notes.append("The FRC stays above 0.143 up to Nyquist: limited by the pixels.")
    metrics["shift_y_px"], metrics["shift_x_px"] = aligned.shift_px
    metrics["ramp_y_rad_per_px"], metrics["ramp_x_rad_per_px"] = aligned.ramp_rad_per_px
    if result.uncertainty is not None:
        radius = cut(result.uncertainty, box, (int(origin[0]), int(origin[1])))
        error = np.abs(aligned.reconstruction - aligned.truth)
        stated = seen & np.isfinite(radius)
        if stated.any():
            within = error[stated] <= radius[stated] / abs(aligned.scale)
            metrics["uncertainty_coverage"] = float(within.mean())
    metrics["scale_abs"] = float(abs(aligned.scale))
    metrics["scale_phase_rad"] = float(np.angle(aligned.scale))
    if metrics["coverage"] < 1:
        notes.append(
            f"{1 - metrics['coverage']:.2%} of the box was never seen; "
            "there the amplitude counts as 0."
        )
    notes.extend(scores.notes)
    images.update(scores.images)
    return frc


def common_origin(result: Reconstruction, truth: Scan) -> NDArray[np.int64]:
    """Whole-pixel offset (y, x) from the result's scan coordinates to those of the truth.

    Zero when both come from the same file. A file format may number its pixels from another corner;
    their median difference tells, or where one is a part of the other, what brings it there.
    """
    places = truth.positions_px
    gone = left_out(result.findings)
    if len(places) == len(result.positions_px) + len(gone):
        places = np.delete(places, gone, axis=0)
    if len(result.positions_px) == len(places):
        difference = places - result.positions_px
        offset = np.median(difference, axis=0)
        if np.median(np.abs(difference - offset)) <= 1:
            return np.asarray(np.round(offset), dtype=np.int64)
    from ptychopinn.evaluation.belonging import PART, translation

    shift, share = translation(result.positions_px, truth.positions_px)
    # Where they are not the same scan points, the files are taken at their word.
    return np.asarray(np.round(shift if share >= PART else 0 * shift), dtype=np.int64)
