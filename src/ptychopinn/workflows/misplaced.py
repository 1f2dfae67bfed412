"""Are some patterns likelier at the positions of others?

Of few photons a fit follows patterns that do not belong to their positions, and their residual is
no larger than that of the others. Yet they are likelier where they were taken: the model there was
found by the patterns around it. Beyond noise they look like a beam that changes, or pull the scan
axes; but nothing else is explained by another position for the most part.
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
# Beyond noise: so many patterns at least, and this share of all at most, of whose deviance this
# share goes there (the median): 0.68 and more of those that belong there, 0.3 at most with other
# faults of some patterns, but for those at the border of two exposures. Of all that is more than
# noise this share goes with them, 0.56 and more where they are the cause, 0.16 of a border.
FEWEST_PATTERNS, MOST, EXPLAINED_THERE, OF_EXCESS = 2, 0.3, 0.5, 0.35
# Modelled counts are not taken below this share of the mean.
FLOOR = 1e-4


class Misplaced(NamedTuple):
    """numbers : (m,) of patterns.  given, elsewhere : the residual, and what it would be if it fell
    as the likelihood rises with each of them at the best of the other positions."""

    numbers: tuple[int, ...]
    given: float
    elsewhere: float


def misplaced(scan: Scan, result: Reconstruction, in_noise: bool = True) -> Misplaced | None:
    """Patterns that are likelier at the positions of others; None where they are few.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result.
    in_noise : whether its residual is that of noise.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    from scipy.special import xlogy

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
    far = gain > LIKELIER * max(fit.residual / fit.expected, 1.0)
    if in_noise and far.mean() < LEAST_SHARE:
        return None
    if not in_noise:
        deviance = 2 * (xlogy(counts, counts) - xlogy(counts, whole)).sum(axis=1)
        deviance -= np.diagonal(likelihood)
        some = far.sum() >= FEWEST_PATTERNS and far.mean() <= MOST
        if not some or np.median(gain[far] / deviance[far]) < EXPLAINED_THERE:
            return None
    share = float(gain[far].sum()) / (4 * max(float(counts.sum()), 1.0))
    if not in_noise and share < OF_EXCESS * fit.excess:
        return None
    order = np.argsort(-gain[far], kind="stable")
    found = tuple(int(k) for k in numbers[far][order])
    return Misplaced(found, fit.residual, max(fit.residual - share, 0.0))
