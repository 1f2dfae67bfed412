"""Simulated scans with a known object: ``simulate(object="leaves", photons=1e4)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ptychopinn.simulation.config import SimulationConfig

if TYPE_CHECKING:
    from ptychopinn.simulation.simulated import simulate, true_slices

__all__ = ["SimulationConfig", "simulate", "true_slices"]


def __getattr__(name: str) -> Any:
    # Loaded when it is used: the flags of the command need the options only.
    if name not in ("simulate", "true_slices"):
        raise AttributeError(f"module 'ptychopinn.simulation' has no attribute {name!r}")
    from ptychopinn.simulation import simulated

    return getattr(simulated, name)
