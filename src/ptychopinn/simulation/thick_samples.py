"""Thick samples: slices, each a drawing of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.simulation.config import SimulationConfig
from ptychopinn.simulation.objects import make_object


def make_slices(
    config: SimulationConfig, shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.complex64]:
    """The slices (K, H, W) from the upstream one on; the first is the object of a thin sample."""
    further = [np.random.default_rng((config.seed, k)) for k in range(1, config.slices)]
    return np.stack([make_object(config, shape, one) for one in (rng, *further)])
