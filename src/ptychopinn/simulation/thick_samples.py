"""Thick samples: slices, each a drawing of its own, with free space between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.physics.effects import Effect
from ptychopinn.physics.propagators import HC
from ptychopinn.physics.slices import Slices
from ptychopinn.simulation.config import SimulationConfig
from ptychopinn.simulation.objects import make_object


def make_slices(
    config: SimulationConfig, shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.complex64]:
    """The slices (K, H, W) from the upstream one on; the first is the object of a thin sample."""
    further = [np.random.default_rng((config.seed, k)) for k in range(1, config.slices)]
    return np.stack([make_object(config, shape, one) for one in (rng, *further)])


def effects_of(config: SimulationConfig) -> tuple[Effect, ...]:
    """What the sample does beyond a thin one."""
    if config.slices == 1:
        return ()
    spacing, pixel, energy = config.slice_spacing_m, config.pixel_size_m, config.energy_eV
    assert spacing is not None and pixel is not None and energy is not None  # of the schema
    return (Slices.of(config.slices, spacing, pixel, HC / energy),)
