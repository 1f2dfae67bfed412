"""Are some patterns likelier at the positions of others, where a residual is that of noise?

Of few photons a fit follows patterns that do not belong to their positions, and their residual is
no larger than that of the others. Yet they are likelier where they were taken: the model there was
found by the patterns around it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ptychopinn.checks.trial_fits import FEWEST, neighbours
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.workflows.exposure import modelled_counts

# Patterns that are compared with each other's models.
LOOKED_AT = 256
# A pattern is misplaced where another model is likelier by so much (-2 log L; up to 12 by chance),
# and the share of all from which on their picture suffers.
LIKELIER, LEAST_SHARE = 25.0, 0.05
# Modelled counts are not taken below this share of the mean.
FLOOR = 1e-4


class Misplaced(NamedTuple):
    """numbers : (m,) of patterns.  given, elsewhere : the residual, and what it would be if it fell
    as the likelihood rises with each of them at the best of the other positions."""

    numbers: tuple[int, ...]
    given: float
    elsewhere: float


def misplaced(scan: Scan, result: Reconstruction) -> Misplaced | None:
    """Patterns that are likelier at the positions of others; None where they are few.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result whose residual is that of
        noise.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    # Noise of reading has its own likelihood.
    if scan.M < FEWEST or fit.noise.readout > 0:
        return None
    numbers, good = neighbours(scan, LOOKED_AT), scan.good_pixels
    counts = np.asarray(scan.diffraction[numbers], np.float64)[:, good] / fit.noise.photon
    model = modelled_counts(result, numbers)[:, good]
    model = np.maximum(model, FLOOR * model.mean())
    # Of their shapes, whatever the beam did, and without what was only bounded from below.
    tells = np.ones_like(counts)
    if scan.saturation is not None:
        tells[counts * fit.noise.photon >= scan.saturation] = 0.0
        counts = counts * tells
    whole = counts.sum(axis=1, keepdims=True)
    likelihood = 2 * (counts @ np.log(model).T - whole * np.log(tells @ model.T))
    gain = likelihood.max(axis=1) - np.diagonal(likelihood)
    far = gain > LIKELIER
    if far.mean() < LEAST_SHARE:
        return None
    order = np.argsort(-gain[far], kind="stable")
    share = float(gain[far].sum()) / (4 * max(float(counts.sum()), 1.0))
    found = tuple(int(k) for k in numbers[far][order])
    return Misplaced(found, fit.residual, max(fit.residual - share, 0.0))
