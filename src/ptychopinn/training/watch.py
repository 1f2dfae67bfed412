"""How well the predicted patterns fit: sums over the patterns watched in an epoch.

With I measured and I_hat predicted intensities, sums over good pixels of all watched patterns:

    residual  = D / sum I,              D   = sum (sqrt I_hat - sqrt I)^2
    explained = (D_0 - D) / (D_0 - E),  D_0 = the same for a flat object: the pattern of the bare
                                              probe, scaled to the measured mean counts
                                        E   = what photon noise alone gives
    correlation of sqrt I_hat - mu with sqrt I - mu, mu = mean over the patterns of sqrt I
    object_std  standard deviation of the object relative to its mean, weighted by the illumination

A flat object has explained = 0, a perfect one 1. Where a flat object leaves nothing but noise
there is nothing to explain, and nothing is said about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.physics.noise import noise_of_amplitude, shows_structure
from ptychopinn.training.objective import Prediction

Array = NDArray[Any]


class _Sums:
    """Of one scan; double precision, because differences of large sums are taken."""

    def __init__(self, good: Array) -> None:
        self.good = np.asarray(good, dtype=np.float64)
        self.patterns = 0
        self.data = np.zeros_like(self.good)
        self.model = np.zeros_like(self.good)
        self.intensity = np.zeros_like(self.good)
        self.difference = self.model_data = self.model_model = 0.0

    def add(self, modelled: Array, measured: Array) -> None:
        shape = (-1, *self.good.shape)
        intensity = measured.reshape(shape).astype(np.float64)
        squared = modelled.reshape(shape).astype(np.float64)
        data, model = np.sqrt(intensity), np.sqrt(squared)
        self.patterns += len(data)
        self.data += data.sum(axis=0)
        self.model += model.sum(axis=0)
        self.intensity += intensity.sum(axis=0)
        self.difference += float((self.good * (model - data) ** 2).sum())
        self.model_data += float((self.good * model * data).sum())
        self.model_model += float((self.good * squared).sum())


class FitWatch:
    """Accumulates predictions; :meth:`metrics` reports on them and starts anew.

    photon_scales : per scan, the amplitude of one photon in network units.
    """

    def __init__(self, photon_scales: Sequence[float]) -> None:
        self.photon_scales = list(photon_scales)
        self._start()

    def _start(self) -> None:
        self._scans: dict[int, _Sums] = {}
        self._losses: list[float] = []
        self._spreads: list[float] = []

    def add(self, scan: int, prediction: Prediction, loss: float) -> None:
        """Watch the patterns of one step; the prediction holds NumPy arrays."""
        sums = self._scans.setdefault(scan, _Sums(prediction.good))
        last = prediction.estimates[-1]
        sums.add(last.modelled, last.measured)
        images = np.asarray(prediction.images, dtype=np.complex128)
        weight = np.broadcast_to(prediction.weight, images.shape).astype(np.float64)
        total = weight.sum()
        mean = (weight * images).sum() / total
        variance = (weight * np.abs(images - mean) ** 2).sum() / total
        self._spreads.append(float(variance / max(np.abs(mean) ** 2, 1e-12)))
        self._losses.append(loss)

    def metrics(self, vacuum: Callable[[int], Array]) -> dict[str, float]:
        """Metrics of what was watched since the last call; empty when that was nothing.

        ``vacuum`` gives the pattern (N, N), FFT order, of the bare probe of a scan. ``explained``
        is left out when there is nothing to explain.
        """
        scans, losses, spreads = self._scans, self._losses, self._spreads
        self._start()
        if not scans:
            return {}
        difference = power = flat = noise = ab = aa = bb = 0.0
        for number, sums in scans.items():
            m, good = sums.patterns, sums.good
            data, model, intensity = sums.data, sums.model, sums.intensity
            mean = data / m
            total = float((good * intensity).sum())
            difference += sums.difference
            power += total
            bare = good * vacuum(number).astype(np.float64)
            flat += 2 * total - 2 * float((np.sqrt(bare * total / m / bare.sum()) * data).sum())
            a2 = self.photon_scales[number] ** 2
            noise += m * a2 * float((good * noise_of_amplitude(intensity / m / a2)).sum())
            ab += sums.model_data - float((good * mean * model).sum())
            aa += sums.model_model + float((good * (m * mean - 2 * model) * mean).sum())
            bb += total - float((good * mean * data).sum())
        values = {
            "val_loss": float(np.mean(losses)),
            "residual": difference / power,
            "correlation": ab / max(math.sqrt(max(aa, 0.0) * max(bb, 0.0)), 1e-12 * power),
            "object_std": float(np.sqrt(np.mean(spreads))),
        }
        structure = flat - noise
        if shows_structure(structure / power, noise / power):
            values["explained"] = (flat - difference) / structure
        return values
