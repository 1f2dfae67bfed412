"""Does a result explain the measured patterns? Needs no truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.normalization import noise_of, total_pattern
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, brief
from ptychopinn.evaluation.causes import Likely
from ptychopinn.evaluation.flat_object import flat_amplitude_of
from ptychopinn.evaluation.prediction import match_patterns, predict
from ptychopinn.evaluation.signs import signs_of
from ptychopinn.evaluation.verdict import Alternatives, Verdict, judge
from ptychopinn.machine.threads import available
from ptychopinn.machine.workers import Workers
from ptychopinn.ops.base import Ops
from ptychopinn.physics.noise import deviance_terms, shows_structure
from ptychopinn.physics.readout import DetectorNoise

# A probe fits when the residual is at most this multiple of the one expected, plus this margin.
NOISE_MULTIPLE, MARGIN = 1.5, 0.01

# Bytes of predicted patterns kept between the two passes (else they are computed twice).
_KEEP_BYTES = 256 << 20
# Expected counts are not taken below this in the deviance: single precision takes them for 0.
_FLOOR_COUNTS = 1e-6


@dataclass(frozen=True, eq=False)
class Misfit:
    """How a result fits the measured patterns.

    Attributes
    ----------
    residual : float
        ``sum((sqrt(I_model) - sqrt(I_meas))^2) / sum(I_meas)`` over good pixels.
    expected : float
        What the noise of photons and of reading alone gives for this model.
    excess : float
        ``residual - expected``: 0 at a perfect model.
    explained : float
        ``1 - excess / excess of a flat object``: 0 for an object that does no better than a
        constant, 1 for a perfect one; NaN when the patterns show nothing beyond noise.
    structure : float
        The excess that a flat object leaves, per count.
    deviance : float
        Poisson deviance per count.
    scale : float
        One factor for all fields, ``sqrt(sum I_meas / sum I_model)``, applied before all of this.
    verdict : "good", "doubtful" or "poor"
        See :mod:`ptychopinn.evaluation.verdict`.
    likely, cause : str or None
        Of a fit that is not good the likeliest cause: a stable name, a key of
        :data:`ptychopinn.evaluation.causes.CAUSES`, and a sentence.
    alternatives : (words, residual) pairs
        What else was tried on some patterns, when the result was made.
    per_pattern : (M,) float64
        The residual of each pattern.
    expected_per_pattern : (M,) float64
        What that noise alone gives for each pattern.
    flat_per_pattern : (M,) float64
        The residual that a flat object leaves of each pattern.
    counts : (M,) float64
        The measured counts of each pattern, saturated pixels left out.
    factors : (M,) float64
        Measured over modelled counts of each pattern, saturated pixels left out; NaN where none
        are modelled.
    noise : DetectorNoise
        What one photon adds to the counts, and the noise of reading.
    positions_px : (M, 2) float64
        Where those patterns are.
    measured_mean, model_mean : (N, N) float64
        Mean patterns; bad pixels are NaN.
    times_noise : (N, N) float64
        The residual of each pixel, as a multiple of noise alone, which it takes for saturated ones.
    """

    residual: float
    expected: float
    excess: float
    explained: float
    structure: float
    deviance: float
    scale: float
    per_pattern: NDArray[np.float64]
    expected_per_pattern: NDArray[np.float64]
    flat_per_pattern: NDArray[np.float64]
    counts: NDArray[np.float64]
    factors: NDArray[np.float64]
    noise: DetectorNoise
    positions_px: NDArray[np.float64]
    measured_mean: NDArray[np.float64]
    model_mean: NDArray[np.float64]
    times_noise: NDArray[np.float64]
    verdict: Verdict = "good"
    likely: Likely | None = None
    cause: str | None = None
    alternatives: tuple[tuple[str, float], ...] = ()

    def __repr__(self) -> str:
        return (
            f"Misfit(residual={self.residual:.4g}, expected={self.expected:.4g}, "
            f"verdict={self.verdict!r}, {len(self.per_pattern)} patterns)"
        )

    def judged(self, alternatives: Alternatives) -> Misfit:
        """The same with the verdict and the cause, given what else was tried."""
        found = judge(signs_of(self), alternatives)
        return replace(
            self,
            verdict=found.verdict,
            likely=found.likely,
            cause=found.cause,
            alternatives=tuple((str(words), float(left)) for words, left in alternatives),
        )

    @property
    def fits_probe(self) -> bool:
        """Whether the residual is so near to that of photon noise that the probe must be right."""
        return self.residual <= NOISE_MULTIPLE * self.expected + MARGIN

    def summary(self) -> dict[str, Any]:
        """The numbers and the verdict as plain JSON data; ``explained`` is None when there is
        nothing to explain."""
        return {
            "residual": self.residual,
            "expected": self.expected,
            "excess": self.excess,
            "explained": self.explained if np.isfinite(self.explained) else None,
            "deviance": self.deviance,
            "verdict": self.verdict,
            "likely": self.likely,
            "cause": self.cause,
            "alternatives": [[words, left] for words, left in self.alternatives],
        }


def misfit(
    result: Reconstruction,
    data: Scan,
    alternatives: Alternatives | None = None,
    *,
    xp: Ops | None = None,
) -> Misfit:
    """Compare the patterns predicted from object, probe and positions with the measured counts.

    Patterns are read and predicted in batches, so that memory is bounded. ``alternatives`` are
    (words, residual on some patterns) of what else was tried; by default those that the result
    remembers. ``xp`` predicts, NumPy when not given.

    Raises
    ------
    InputError
        When result and data do not belong together, the model is empty or no photon was counted.
    """
    chosen, good = match_patterns(result, data), data.good_pixels
    m, every = len(result.positions_px), bool(good.all())

    def pixels(frames: NDArray[Any]) -> NDArray[np.float32]:
        """The good ones (b, pixels) of patterns, in single precision."""
        there = frames.reshape(len(frames), -1) if every else frames[:, good]
        return there.astype(np.float32, copy=False)

    def measured(part: slice) -> NDArray[np.float32]:
        return pixels(data.diffraction[part if chosen is None else chosen[part]])

    # First pass: the global scale. The predicted patterns are kept when there is room for them.
    keep: list[tuple[slice, NDArray[np.float32]]] | None = (
        [] if m * int(good.sum()) * 4 <= _KEEP_BYTES else None
    )
    modelled_counts, measured_counts = np.zeros(m), np.zeros(m)
    told: Any = 0  # readings of each pixel that are no bounds
    least = np.inf if data.saturation is None else data.saturation * (1 - 1e-6)
    # Whoever prepared a whole scan has added its patterns up: they need not be read for that.
    added = data.saturation is None and chosen is None
    for part, frames in predict(result, xp=xp):
        model = pixels(frames)
        whole: Any = np.True_
        if not added:
            readings = measured(part)
            # A saturated reading tells nothing about the scale.
            whole = np.True_ if data.saturation is None else readings < least
            measured_counts[part] = readings.sum(axis=1, dtype=np.float64, where=whole)
            told = told + np.broadcast_to(whole, readings.shape).sum(axis=0)
        modelled_counts[part] = model.sum(axis=1, dtype=np.float64, where=whole)
        if keep is not None:
            keep.append((part, model))
    model_sum, measured_sum = float(modelled_counts.sum()), float(measured_counts.sum())
    if added:
        measured_sum = float(total_pattern(data.diffraction)[good].sum())
    if not measured_sum > 0:
        raise InputError(
            "data must hold at least one count on good pixels, received none; check the mask."
        )
    if not model_sum > 0:
        raise InputError(
            "the result must predict some intensity, received an object or a probe that is zero; "
            "reconstruct again."
        )
    power = measured_sum / model_sum
    detector = noise_of(data, measured_sum / m)

    def predicted() -> Iterator[tuple[slice, NDArray[np.float32]]]:
        if keep is not None:
            return iter(keep)
        return ((part, pixels(frames)) for part, frames in predict(result, xp=xp))

    flat_amplitude = flat_amplitude_of(result, good, power, m if added else told, measured_sum)

    def judged(batch: tuple[slice, NDArray[np.float32]]) -> _Sums:
        part, modelled = batch
        model = modelled * np.float32(power)
        frames = measured(part)
        amplitudes = np.sqrt(frames)
        modelled_amplitudes, noise = np.sqrt(model), detector.of_amplitude(model)
        bounds: Any = np.float32(0)
        flat_squares = (flat_amplitude - amplitudes) ** 2
        if data.saturation is not None:
            # A saturated reading bounds the model from below only.
            above = (frames >= least) & (model > frames)
            modelled_amplitudes = np.where(above, amplitudes, modelled_amplitudes)
            model = np.where(above, frames, model)
            bounds = np.where(frames >= least, noise, 0)
            flat_squares[(frames >= least) & (flat_amplitude > amplitudes)] = 0
            noise = noise - bounds
        terms = deviance_terms(np.maximum(model, np.float32(_FLOOR_COUNTS)), frames)
        squares = (modelled_amplitudes - amplitudes) ** 2
        # A pixel of few readings beside bounds is not judged by these few alone.
        per_pixel = (model, frames, squares + bounds, noise + bounds)
        return _Sums(
            squares=squares.sum(axis=1, dtype=np.float64),
            flat_squares=flat_squares.sum(axis=1, dtype=np.float64),
            counts=frames.sum(axis=1, dtype=np.float64),
            noise=noise.sum(axis=1, dtype=np.float64),
            deviance=float(terms.sum(dtype=np.float64)),
            per_pixel=np.stack([v.sum(axis=0, dtype=np.float64) for v in per_pixel]),
        )

    squares, counts, noises, flat_squares = (np.zeros(m) for _ in range(4))
    deviance = 0.0
    per_pixel = np.zeros((4, int(good.sum())))
    with Workers(available()) as workers:
        for (part, _), sums in workers.each(judged, predicted()):
            squares[part], counts[part], noises[part] = sums.squares, sums.counts, sums.noise
            deviance, flat_squares[part] = deviance + sums.deviance, sums.flat_squares
            per_pixel += sums.per_pixel
    if added:
        measured_counts = counts
    residual, expected = float(squares.sum() / measured_sum), float(noises.sum()) / measured_sum
    structure = float(flat_squares.sum()) / measured_sum - expected
    explained = float("nan")
    if shows_structure(structure, expected):
        explained = 1 - (residual - expected) / structure

    def per_count(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.divide(values, counts, out=np.full(m, np.nan), where=counts > 0)

    factors = np.full(m, np.nan)
    np.divide(measured_counts, power * modelled_counts, out=factors, where=modelled_counts > 0)
    found = Misfit(
        residual=residual,
        expected=expected,
        excess=residual - expected,
        explained=explained,
        structure=structure,
        deviance=deviance / measured_sum,
        scale=float(np.sqrt(power)),
        per_pattern=per_count(squares),
        expected_per_pattern=per_count(noises),
        flat_per_pattern=per_count(flat_squares),
        counts=measured_counts,
        factors=factors,
        noise=detector,
        positions_px=result.positions_px,
        measured_mean=_as_pattern(per_pixel[1] / m, good),
        model_mean=_as_pattern(per_pixel[0] / m, good),
        times_noise=_as_pattern(per_pixel[2] / np.maximum(per_pixel[3], 1e-12), good),
    )
    known = recorded_alternatives(result.provenance) if alternatives is None else alternatives
    return found.judged(known)


class _Sums(NamedTuple):
    """Of some patterns: per pattern (b,), in all, and per good pixel (4, pixels): model, measured,
    squares and noise."""

    squares: NDArray[np.float64]
    counts: NDArray[np.float64]
    noise: NDArray[np.float64]
    flat_squares: NDArray[np.float64]
    deviance: float
    per_pixel: NDArray[np.float64]


def _as_pattern(values: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    pattern = np.full(good.shape, np.nan)
    pattern[good] = values
    return pattern


def recorded_alternatives(provenance: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """What was tried when a result was made, as its provenance remembers it."""
    fit = provenance.get("fit")
    stored = fit.get("alternatives") if isinstance(fit, Mapping) else None
    return tuple(
        (brief(item[0]), float(item[1]))
        for item in (stored if isinstance(stored, list) else [])
        if isinstance(item, list) and len(item) == 2 and isinstance(item[1], int | float)
    )
