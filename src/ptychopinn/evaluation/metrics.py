"""Scores of an aligned reconstruction against the truth. Formulas in each docstring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychopinn.evaluation.alignment import Aligned

Float = NDArray[np.float64]

# Beyond this a PSNR tells how numbers are rounded and not how good a picture is.
PSNR_CAP_DB = 150.0


@dataclass(frozen=True, eq=False)
class Scores:
    """The numbers by name, the six pictures behind them, and remarks on what is left out."""

    values: dict[str, float]
    images: dict[str, Float]
    notes: tuple[str, ...]


def nrmse(reconstruction: NDArray[np.complexfloating], truth: NDArray[np.complexfloating]) -> float:
    """``sqrt(sum(abs(rec - truth)^2) / sum(abs(truth)^2))`` of complex objects."""
    error = (np.abs(reconstruction - truth) ** 2).sum()
    return float(np.sqrt(error / (np.abs(truth) ** 2).sum()))


def psnr(error: Float, peak: float) -> float:
    """``20 log10(peak / rms(error))`` in dB, at most 150."""
    rms = float(np.sqrt(np.mean(error**2)))
    floor = peak * 10 ** (-PSNR_CAP_DB / 20)
    return float(20 * np.log10(peak / max(rms, floor)))


def phase_error(aligned: Aligned) -> Float:
    """``angle(rec * conj(truth))``, in (-pi, pi]: free of wrapping whatever the phases are.

    Unseen pixels count as if their phase were the mean of the true phase.
    """
    error = np.angle(aligned.reconstruction * np.conj(aligned.truth))
    if aligned.seen.all():
        return error
    mean = np.angle(aligned.truth.sum())
    flat = np.angle(np.exp(1j * mean) * np.conj(aligned.truth))
    return np.where(aligned.seen, error, flat)


def score(aligned: Aligned) -> Scores:
    """All metrics of an aligned pair.

    ``nrmse``; ``amplitude_*`` of abs(rec) against abs(truth) and ``phase_*`` of the error image
    :func:`phase_error`: ``mae`` mean absolute error, ``psnr_db`` with ``peak`` = the range (largest
    minus smallest value) of the truth inside the box, ``ssim`` structural similarity (Wang et al.,
    2004; 7 x 7 pixels) with the same range. The true phase is unwrapped for its range; the phase
    compared in the SSIM is true phase + error. Unseen pixels count as amplitude 0.
    """
    from skimage.metrics import structural_similarity
    from skimage.restoration import unwrap_phase

    truth_amplitude = np.abs(aligned.truth)
    amplitude = np.abs(aligned.reconstruction)
    amplitude_error = amplitude - truth_amplitude
    truth_phase = np.asarray(unwrap_phase(np.angle(aligned.truth), rng=0), dtype=np.float64)
    error = phase_error(aligned)
    phase = truth_phase + error

    values = {"nrmse": nrmse(aligned.reconstruction, aligned.truth)}
    notes = []
    for name, unit, true, found, difference, scale in (
        ("amplitude", "", truth_amplitude, amplitude, amplitude_error, truth_amplitude.max()),
        ("phase", "_rad", truth_phase, phase, error, 1.0),
    ):
        values[f"{name}_mae{unit}"] = float(np.abs(difference).mean())
        peak = float(np.ptp(true))
        if peak <= 1e-5 * scale:
            notes.append(
                f"The true {name} is constant: it has no range, hence no PSNR and no SSIM."
            )
            continue
        values[f"{name}_peak{unit}"] = peak
        values[f"{name}_psnr_db"] = psnr(difference, peak)
        values[f"{name}_ssim"] = float(structural_similarity(true, found, data_range=peak))
    images = {
        "truth_amplitude": truth_amplitude,
        "amplitude": amplitude,
        "amplitude_error": amplitude_error,
        "truth_phase": truth_phase,
        "phase": phase,
        "phase_error": error,
    }
    return Scores(values, images, tuple(notes))
