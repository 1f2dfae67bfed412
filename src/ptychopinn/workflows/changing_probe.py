"""Does the probe change while the scan goes on? Seen on a result that takes it for one.

Aberrations of the probe that patterns ask for, each for itself, follow the order of the scan where
optics drift or warm up, and explain much of what is left; those that make up for other faults do
neither.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.physics.aberrations import aberrated
from ptychopinn.physics.varying_probe import VaryingProbe
from ptychopinn.workflows.exposure import modelled_counts

# Patterns that are looked at, spread over the scan.
LOOKED_AT = 96
# Aberrations explain this share of the excess at least, and so much of them stays from one of those
# patterns to the next: 0.45 and 0.8 of probes that change, 0.15 and 0.5 at most of other faults.
SHARE, ORDERED = 0.3, 0.6
# Small phase (rad) whose effect on a pattern is taken for its derivative.
STEP = 0.02


class ChangingProbe(NamedTuple):
    """defocus : its scatter over the scan in rad, at the rms radius of the pupil.  given, left :
    the residual, and what it would be with aberrations of its own for each pattern."""

    defocus: float
    given: float
    left: float


def changing_probe(scan: Scan, result: Reconstruction) -> ChangingProbe | None:
    """What aberrations of each pattern explain, where they follow the order of the scan; None
    elsewhere.

    Parameters
    ----------
    scan : the patterns of a result whose residual is more than noise.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    one = result.slices is None and VaryingProbe.name not in result.effects
    if scan.M < 2 * FEWEST or not one or not scan.propagator.measures_momentum:
        return None
    found = asked_for(scan, result)
    if found.share < SHARE or found.ordered < ORDERED:
        return None
    left = fit.residual - min(found.share, 1.0) * fit.excess
    return ChangingProbe(found.defocus, fit.residual, left)


class Asked(NamedTuple):
    """share : of the excess over noise that aberrations of each pattern explain.  ordered : the
    part of their square that stays from one of the patterns that are looked at to the next.
    defocus : its scatter in rad, at the rms radius of the pupil."""

    share: float
    ordered: float
    defocus: float


def asked_for(scan: Scan, result: Reconstruction) -> Asked:
    """The aberrations that patterns ask for, each for itself."""
    fit = result.fit
    assert fit is not None
    numbers = np.unique(np.linspace(0, scan.M - 1, LOOKED_AT).round().astype(np.int64))
    asked, square = _aberrations(scan, result, numbers)
    asked = asked - asked.mean(axis=0)
    whole = float((asked**2).sum())
    ordered = float((asked[1:] * asked[:-1]).sum()) / max(whole, 1e-300)
    noise = 0.25 * fit.noise.photon * asked.size
    gain = float(np.einsum("ja,jab,jb->", asked, square, asked)) - noise
    share = gain / (max(fit.excess, 1e-12) * float(fit.counts[numbers].sum()))
    return Asked(share, ordered, float(np.sqrt((asked[:, 0] ** 2).mean())))


def _aberrations(
    scan: Scan, result: Reconstruction, numbers: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares of the amplitudes of each pattern: defocus, astigmatism and coma (m, 5) in rad
    at the rms radius of the pupil, beside a factor and a shift of the probe, and the matrix (m, 5,
    5) of what they explain, a^T S a."""
    measured = np.asarray(scan.diffraction[numbers], np.float64)
    read = np.broadcast_to(scan.good_pixels, measured.shape)
    if scan.saturation is not None:
        read = read & (measured < scan.saturation)

    def amplitudes(probe: NDArray[np.complex64]) -> NDArray[np.float64]:
        model = modelled_counts(replace(result, probe=probe), numbers)
        return np.where(read, np.sqrt(np.maximum(model, 0)), 0.0)

    given = amplitudes(result.probe)
    changed = aberrated(result.probe, STEP)
    jacobian = np.stack([given, *((amplitudes(p) - given) / STEP for p in changed)], axis=1)
    jacobian = jacobian.reshape(len(numbers), 1 + len(changed), -1)
    missing = np.where(read, np.sqrt(np.maximum(measured, 0)), 0.0) - given
    normal = jacobian @ jacobian.transpose(0, 2, 1)
    right = jacobian @ missing.reshape(len(numbers), -1, 1)
    # Of a pattern without light nothing is asked.
    trace = np.trace(normal, axis1=1, axis2=2, dtype=np.float64)[:, None, None]
    normal = normal + (1e-9 * trace + 1e-300) * np.eye(1 + len(changed))
    asked = np.linalg.solve(normal, right)[:, 3:, 0]
    beside, across = normal[:, :3, :3], normal[:, :3, 3:]
    square = normal[:, 3:, 3:] - across.transpose(0, 2, 1) @ np.linalg.solve(beside, across)
    return asked, square
