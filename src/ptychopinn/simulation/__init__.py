"""Simulated scans with a known object: ``simulate(object="leaves", photons=1e4)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ptychopinn.simulation.config import SimulationConfig

if TYPE_CHECKING:
    from ptychopinn.simulation.simulated import simulate

__all__ = ["SimulationConfig", "simulate"]


def __getattr__(name: str) -> Any:
    # Loaded when it is used: the flags of the command need the options only.
    if name != "simulate":
        raise AttributeError(f"module 'ptychopinn.simulation' has no attribute {name!r}")
    from ptychopinn.simulation.simulated import simulate

    return simulate
