"""How well the predicted patterns fit: sums over the patterns watched in an epoch.

With I measured and I_hat predicted intensities, sums over good pixels of all watched patterns:

    residual  = D / sum I,              D   = sum (sqrt I_hat - sqrt I)^2
    explained = (D_0 - D) / (D_0 - E),  D_0 = the same for a flat object: the pattern of the bare
                                              probe, scaled to the measured mean counts
                                        E   = what photon noise alone gives
    correlation of sqrt I_hat - mu with sqrt I - mu, mu = mean over the patterns of sqrt I
    object_std  standard deviation of the object relative to its mean, weighted by the light

A flat object has explained = 0, a perfect one 1. Where a flat object leaves nothing but noise
there is nothing to explain, and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.backends.pytorch.family import Prediction
from ptychopinn.physics.losses import noise_of_amplitude, shows_structure

Pattern = NDArray[np.float64]


class _Sums:
    """Of one scan; double precision, because differences of large sums are taken."""

    def __init__(self, prediction: Prediction) -> None:
        self.good = prediction.good.double()
        self.patterns = 0
        self.data = torch.zeros_like(self.good)
        self.model = torch.zeros_like(self.good)
        self.intensity = torch.zeros_like(self.good)
        zero = torch.zeros((), dtype=torch.float64, device=self.good.device)
        self.difference, self.model_data, self.model_model = zero, zero, zero

    def add(self, modelled: Tensor, measured: Tensor) -> None:
        n = measured.shape[-1]
        intensity = measured.reshape(-1, n, n).double()
        data = torch.sqrt(intensity)
        model = torch.sqrt(modelled.reshape(-1, n, n).double())
        self.patterns += len(data)
        self.data += data.sum(dim=0)
        self.model += model.sum(dim=0)
        self.intensity += intensity.sum(dim=0)
        self.difference = self.difference + (self.good * (model - data).square()).sum()
        self.model_data = self.model_data + (self.good * model * data).sum()
        self.model_model = self.model_model + (self.good * model.square()).sum()


class FitWatch:
    """Accumulates predictions; :meth:`metrics` reports on them and starts anew.

    Parameters
    ----------
    input_scales : per scan, a of ``sqrt(I) = a * sqrt(counts)``.
    """

    def __init__(self, input_scales: list[float]) -> None:
        self.input_scales = input_scales
        self._start()

    def _start(self) -> None:
        self._scans: dict[int, _Sums] = {}
        self._losses: list[Tensor] = []
        self._spreads: list[Tensor] = []

    def add(self, scan: int, prediction: Prediction, loss: Tensor) -> None:
        """Watch the patterns of one step."""
        with torch.no_grad():
            sums = self._scans.setdefault(scan, _Sums(prediction))
            last = prediction.estimates[-1]
            sums.add(last.modelled, last.measured)
            weight = prediction.weight.expand(prediction.images.shape)
            total = weight.sum()
            mean = (weight * prediction.images).sum() / total
            variance = (weight * (prediction.images - mean).abs().square()).sum() / total
            self._spreads.append(variance / mean.abs().square().clamp_min(1e-12))
            self._losses.append(loss.detach())

    def metrics(self, vacuum: Callable[[int], Tensor]) -> dict[str, float]:
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
            m, good = sums.patterns, _array(sums.good)
            data, model, intensity = _array(sums.data), _array(sums.model), _array(sums.intensity)
            mean = data / m
            total = float((good * intensity).sum())
            difference += float(sums.difference)
            power += total
            bare = good * _array(vacuum(number))
            flat += 2 * total - 2 * float((np.sqrt(bare * total / m / bare.sum()) * data).sum())
            a2 = self.input_scales[number] ** 2
            noise += m * a2 * float((good * noise_of_amplitude(intensity / m / a2)).sum())
            ab += float(sums.model_data) - float((good * mean * model).sum())
            aa += float(sums.model_model) + float((good * (m * mean - 2 * model) * mean).sum())
            bb += total - float((good * mean * data).sum())
        values = {
            "val_loss": float(torch.stack(losses).mean()),
            "residual": difference / power,
            "correlation": ab / max(np.sqrt(max(aa, 0.0) * max(bb, 0.0)), 1e-12 * power),
            "object_std": float(torch.stack(spreads).mean().sqrt()),
        }
        structure = flat - noise
        if shows_structure(structure / power, noise / power):
            values["explained"] = (flat - difference) / structure
        return values


def _array(values: Tensor) -> Pattern:
    return values.detach().double().cpu().numpy()
