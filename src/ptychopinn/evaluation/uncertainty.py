"""How far a reconstruction may be off: from two reconstructions of half of the patterns each.

The patterns are divided into two interleaved halves, A and B. Their objects, each brought to the
phase and scale of the full one, differ by independent errors; with D = abs(A - B)^2 / 4, smoothed
over a few pixels, sqrt(D) follows the local error of the full object. The stated radius

    r(u) = q sqrt(D(u))

is such that abs(O - O_true) <= r in nine of ten pixels. The factor q would be sqrt(ln 10) = 1.52
for independent complex normal errors; it is larger because both halves share the systematic errors
of the method, and was determined on simulated scans (see docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.sampling import ordered_subsets
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.alignment import align, scan_box
from ptychopinn.evaluation.resolution import ring_curve

# q for an object that a network found at once, and for one refined until nothing improved.
NETWORK_FACTOR, REFINED_FACTOR = 2.3, 1.75
# Standard deviation in pixels over which the squared difference of the halves is averaged.
SMOOTH_PX = 8.0


def halves(scan: Scan) -> list[Scan]:
    """The scan divided into two that each cover it evenly."""
    parts = ordered_subsets(scan.positions_px, 2, np.random.default_rng(0))
    return [
        replace(scan, diffraction=scan.diffraction[part], positions_px=scan.positions_px[part])
        for part in parts
    ]


def with_uncertainty(
    result: Reconstruction,
    scan: Scan,
    reconstruct: Callable[[Scan], Reconstruction],
    factor: float,
    from_nothing: bool,
) -> Reconstruction:
    """The result with its 90 % radius; ``reconstruct`` is what made it, applied to each half.

    Outside the box of scan positions nothing is stated: the radius is infinite there. Where the
    halves were found ``from_nothing``, without a network whose expectations both would share, their
    ring correlation is stated as well.
    """
    box = scan_box(result.positions_px - result.origin_px)
    found = []
    for half in halves(scan):
        part = reconstruct(half)
        origin = part.origin_px - result.origin_px
        aligned = align(part.object, part.weight, origin, result.object, box)
        found.append(aligned.reconstruction)
    radius = np.full(result.object.shape, np.inf, dtype=np.float32)
    radius[box] = factor * difference_of_halves(*found)
    curve = ring_curve(found[0], found[1]) if from_nothing else None
    return replace(result, uncertainty=radius, half_split=curve)


def difference_of_halves(
    a: NDArray[np.complex128], b: NDArray[np.complex128]
) -> NDArray[np.float64]:
    """sqrt of abs(A - B)^2 / 4, smoothed."""
    from scipy.ndimage import gaussian_filter

    squared = np.abs(a - b) ** 2 / 4
    smooth: NDArray[np.float64] = gaussian_filter(squared, SMOOTH_PX, mode="nearest")
    return np.sqrt(smooth)
