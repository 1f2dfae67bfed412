"""Does the probe fit the data? Asked before training, answered by a few physics iterations.

On one compact cluster of patterns the object is found by the iterations of
:mod:`ptychopinn.solvers.descent`, all patterns in one subset. With a fitting probe the residual
falls to a few per cent beyond the photon noise within some twenty steps; with a wrong one it stays
near 0.1, whatever the object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import Canvas
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.sampling import nearest_groups
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.forward import intensities
from ptychopinn.physics.noise import POOR_EXCESS
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.problem import scan_problem

PATTERNS = 64
STEPS = 30
STEP, MOMENTUM, PHASE_GAIN = 1.0, 0.7, 0.4
LIMIT_BYTES = 512 << 20
# A residual that exceeds that of photon noise by more, as a share of the counts and of the noise.
DOUBTFUL_EXCESS, DOUBTFUL_EXCESS_OF_NOISE = 0.02, 0.3


@dataclass(frozen=True)
class ProbeCheck:
    """residual : ``sum((sqrt(I_hat) - sqrt(I))^2) / sum(I)`` after the physics steps.
    expected : what photon noise alone gives.  fits : whether the difference is at most 0.05.
    verdict : "good", "doubtful" or "poor"; measured patterns leave up to 0.02 with a good probe.
    """

    residual: float
    expected: float

    @property
    def fits(self) -> bool:
        return self.residual - self.expected <= POOR_EXCESS

    @property
    def verdict(self) -> Literal["good", "doubtful", "poor"]:
        if not self.fits:
            return "poor"
        least = max(DOUBTFUL_EXCESS, DOUBTFUL_EXCESS_OF_NOISE * self.expected)
        return "doubtful" if self.residual - self.expected > least else "good"


def check_probe(scan: Scan | PreparedScan) -> ProbeCheck:
    """Run the physics iterations on the patterns around the middle of the scan, or of a scan with
    its scales (:func:`ptychopinn.data.normalization.prepare`), which then need not be found again.
    """
    return probe_trial(prepare(scan) if isinstance(scan, Scan) else scan).check


class Trial(NamedTuple):
    """The check, the part of the scan it was made with, the numbers (m,) of its patterns, and their
    object."""

    check: ProbeCheck
    part: PreparedScan
    numbers: NDArray[np.int64]
    canvas: Canvas


def probe_trial(prepared: PreparedScan) -> Trial:
    """The check, and what it found."""
    scan = prepared.scan
    count = min(PATTERNS, scan.M)
    middle = np.median(scan.positions_px, axis=0)
    anchor = np.argmin(((scan.positions_px - middle) ** 2).sum(axis=1))
    rng = np.random.default_rng(0)
    chosen = nearest_groups(scan.positions_px, np.array([anchor]), count, count - 1, rng)[0]
    part = replace(prepared, scan=replace(scan.select(chosen), object=None))
    problem, origin = scan_problem(NumpyOps(), part, 1, LIMIT_BYTES)
    state = Descent(problem)
    state.follows_phase = False
    for _ in range(STEPS):
        state.update(0, STEP, MOMENTUM, PHASE_GAIN)
    measured = prepared.amplitudes(chosen)[:, scan.good_pixels].astype(np.float64)
    modelled = intensities(
        state.canvas, prepared.probe, part.scan.positions_px, origin, prepared.propagator
    )[:, scan.good_pixels]
    total = float((measured**2).sum())
    residual = float(((np.sqrt(modelled) - measured) ** 2).sum()) / total
    scale = prepared.input_scale**2
    expected = float(prepared.noise.of_amplitude(modelled / scale).sum()) * scale / total
    canvas = state.found(origin, [residual])
    return Trial(ProbeCheck(residual, expected), part, chosen, canvas)
