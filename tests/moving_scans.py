"""Scans whose sample moves while a pattern is recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptychopinn.data.scan import Scan
from ptychopinn.physics.forward import intensities
from ptychopinn.physics.moving_exposure import directions_of


def on_the_fly(
    scan: Scan, length: float, moments: int = 9, along: np.ndarray | None = None
) -> Scan:
    """Counts drawn from the true object and probe of a scan, the sample moving by ``length`` pixels
    along the scan, or a unit vector (y, x), during each exposure, which is a mean over so many
    ``moments``."""
    unit = directions_of(scan.positions_px) if along is None else along
    ways, obj = length * unit, np.asarray(scan.object)
    times = (np.arange(moments) + 0.5) / moments - 0.5
    mean = np.mean(
        [intensities(obj, scan.probe, scan.positions_px + t * ways) for t in times], axis=0
    )
    counts = np.random.default_rng(0).poisson(mean).astype(np.uint32)
    return replace(scan, diffraction=counts, object=None)
