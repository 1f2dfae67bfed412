"""Photon scale: the probe's power, the network's input and the object's one free factor.

Only the product of probe and object is seen by the detector. The package fixes their common scale
by the probe: through vacuum (object = 1) it puts its counts on the good pixels,

    power = sum_{q good} sum_p |F P_p|^2(q),

with F the unitary FFT, so that without a mask the power is ``sum(abs(probe)**2)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.physics.forward import FAR_FIELD, vacuum_pattern
from ptychopinn.physics.propagators import Propagator

# A real object transmits at most everything, and few transmit less than a thousandth.
MAX_COUNTS_OVER_POWER = 4.0
MIN_COUNTS_OVER_POWER = 1e-3

# What a scan remembers, in its provenance, of a probe that was scaled to its counts.
SCALED = "probe_power"


def probe_power(
    probe: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    propagator: Propagator = FAR_FIELD,
) -> float:
    """Counts that ``probe`` (P, N, N) puts on the good pixels of ``mask`` (N, N) through vacuum."""
    exact = np.asarray(probe, dtype=np.complex128)
    if mask is None:
        return float((np.abs(exact) ** 2).sum())
    modes = exact.reshape(-1, *exact.shape[-2:])
    return float(vacuum_pattern(modes, propagator)[mask].sum())


def reconcile_probe(
    probe: NDArray[Any],
    mean_counts: float,
    mask: NDArray[np.bool_] | None = None,
    propagator: Propagator = FAR_FIELD,
) -> tuple[NDArray[np.complex64], float]:
    """Scale a probe of unknown units to sqrt(counts).

    ``P' = factor * P`` with ``factor = sqrt(mean_counts / power(P))``, so that the counts on the
    good pixels through vacuum equal the mean measured counts per pattern on the good pixels of
    ``mask`` (N, N). Returns P' (P, N, N) or (N, N) as complex64, and the factor.

    Raises InputError when either number is zero or not finite."""
    power = probe_power(probe, mask, propagator)
    for name, value in (("the patterns", mean_counts), ("the probe", power)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(
                f"{name} must put a positive number of counts on the good pixels, received "
                f"{value:.4g}; check the patterns, the probe and the mask."
            )
    factor = float(np.sqrt(mean_counts / power))
    return (np.asarray(probe, dtype=np.complex128) * factor).astype(np.complex64), factor


def scaled_by(power: float, counts: float, factor: float) -> dict[str, float]:
    """What is remembered, as :data:`SCALED`, of a probe of this power that was scaled."""
    return {"given": power, "counts": counts, "factor": factor}


def check_probe_power(
    probe: NDArray[Any],
    mean_counts: float,
    mask: NDArray[np.bool_] | None = None,
    propagator: Propagator = FAR_FIELD,
) -> None:
    """Raise InputError when a probe stated in sqrt(counts) contradicts the measured counts.

    The ratio ``mean_counts / power`` is the mean transmission of the object: more than 4 or less
    than 1/1000 means that one of the two has other units.
    """
    power = probe_power(probe, mask, propagator)
    if not power * MIN_COUNTS_OVER_POWER <= mean_counts <= power * MAX_COUNTS_OVER_POWER:
        raise InputError(
            "the probe must be in sqrt(counts) and agree with the patterns, received a probe of "
            f"{power:.4g} counts through vacuum and patterns of {mean_counts:.4g} counts on "
            "average; correct the units, or give a probe in place of that of the file with the "
            "option probe, which is then rescaled."
        )


def input_scale(n: int, mean_counts: float) -> float:
    """Factor of the network input ``x = a * sqrt(counts)``: ``a = (N/2) / sqrt(mean_counts)``.

    The mean of ``x**2`` over all pixels is then 1/4 whatever the flux, so that a trained model does
    not depend on it.

    Raises InputError when ``mean_counts`` is not positive."""
    if not (np.isfinite(mean_counts) and mean_counts > 0):
        raise InputError(
            f"the patterns must hold counts, received {mean_counts:.4g} per pattern on average; "
            "check that the shutter was open and that the file is the right one."
        )
    return (n / 2) / float(np.sqrt(mean_counts))


def global_scale(sum_measured: float, sum_modelled: float) -> float:
    """The factor ``s = sqrt(sum I / sum I_hat)`` of an object that gives it the measured counts.

    It is the maximum-likelihood amplitude scale of Poisson data.

    Raises InputError when the modelled counts are not positive, or either number is not finite."""
    if not (np.isfinite(sum_measured) and np.isfinite(sum_modelled)) or (
        sum_modelled <= 0 or sum_measured < 0
    ):
        raise InputError(
            "the object and the probe must give finite, positive counts, received "
            f"{sum_modelled:.4g} modelled and {sum_measured:.4g} measured; check both."
        )
    return float(np.sqrt(sum_measured / sum_modelled))
