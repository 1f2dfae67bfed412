"""What a scan contains, as numbers: for ``ptychopinn inspect`` and for records."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import Scan
from ptychopinn.io.base import batches
from ptychopinn.physics.scaling import probe_power

ENCLOSED = 0.9
# Of so few positions all distances are found sooner than a library is loaded.
FEW = 1500


def probe_diameter(probe: NDArray[Any], enclosed: float = ENCLOSED) -> float:
    """Diameter in pixels of the circle round the centre of mass with ``enclosed`` of the power.

    ``probe`` is (P, N, N); the intensities of its modes add.
    """
    intensity = (np.abs(probe.astype(np.complex128)) ** 2).sum(axis=0)
    weight = intensity / intensity.sum()
    rows, columns = np.indices(weight.shape)
    radius = np.hypot(rows - (rows * weight).sum(), columns - (columns * weight).sum()).ravel()
    order = np.argsort(radius)
    inside = np.searchsorted(np.cumsum(weight.ravel()[order]), enclosed)
    return 2.0 * float(radius[order][min(int(inside), radius.size - 1)])


def median_step(positions_px: NDArray[np.float64]) -> float | None:
    """Median distance in pixels to the nearest other position; None for a single one."""
    if len(positions_px) < 2:
        return None
    return float(np.median(nearest_px(positions_px)))


def nearest_px(positions_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) distance in pixels of each of at least two positions (M, 2) to the nearest other."""
    if len(positions_px) > FEW:
        from scipy.spatial import KDTree

        found: NDArray[np.float64] = KDTree(positions_px).query(positions_px, k=2)[0][:, 1]
        return found
    y, x = (p[:, None] - p[None] for p in positions_px.T)
    distance = np.hypot(y, x)
    np.fill_diagonal(distance, np.inf)
    return np.asarray(distance.min(axis=1))


def summarise(scan: Scan) -> dict[str, Any]:
    """Plain data about a scan; the patterns are read in batches.

    ``overlap`` is ``1 - step / diameter`` with the median step to the nearest position and the
    diameter of the circle with 90 % of the probe's power; ``probe`` is None where there is none.
    """
    sums = np.concatenate(
        [
            scan.diffraction[part][:, scan.good_pixels].sum(axis=1, dtype=np.float64)
            for part in batches(scan.diffraction, 8)
        ]
    )
    step = median_step(scan.positions_px)
    # A scan without a probe was given a placeholder.
    none = scan.provenance.get("probe") == "none"
    diameter = 0.0 if none else probe_diameter(scan.probe)
    low, high = scan.positions_px.min(axis=0), scan.positions_px.max(axis=0)
    modes = (np.abs(scan.probe.astype(np.complex128)) ** 2).sum(axis=(1, 2))
    return {
        "kind": "scan",
        "name": scan.name,
        "M": scan.M,
        "N": scan.N,
        "dtype": str(scan.diffraction.dtype),
        "counts_per_pattern": {
            "min": float(sums.min()),
            "mean": float(sums.mean()),
            "max": float(sums.max()),
        },
        "positions_px": {
            "min_yx": low.tolist(),
            "max_yx": high.tolist(),
            "median_step": step,
        },
        "probe": None
        if none
        else {
            "modes": len(scan.probe),
            "power": probe_power(scan.probe, scan.mask, scan.propagator),
            "mode_fractions": (modes / modes.sum()).tolist(),
            "diameter_px": diameter,
        },
        "overlap": None if step is None or diameter == 0 else 1 - step / diameter,
        "mask": None
        if scan.mask is None
        else {"bad_pixels": int((~scan.mask).sum()), "good_fraction": float(scan.mask.mean())},
        "object": None
        if scan.object is None
        else {
            "shape": list(scan.object.shape),
            "mean_amplitude": float(np.abs(scan.object).mean()),
        },
        "pixel_size_m": scan.pixel_size_m,
        "energy_eV": scan.energy_eV,
        "distance_m": scan.distance_m,
        "provenance": dict(scan.provenance),
    }
