"""Does a scan belong to a result? A score against a foreign one says nothing."""

from __future__ import annotations

import numpy as np

from ptychopinn.data.findings import left_out
from ptychopinn.data.fingerprint import difference, fingerprint, recorded
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation.misfit import misfit

# Positions nearer than this are the same, in pixels; a scan is part of another one when this share
# of its positions is there too.
SAME_PX, PART = 0.05, 0.9
# Probes that correlate by more than this are the same.
SAME_PROBE = 0.95


def check_belongs(result: Reconstruction, scan: Scan, role: str) -> str | None:
    """A note when the scan is another one than the result was made from, and yet may belong to it.

    The same counts in another file always belong to it: the positions may have been corrected. So
    do other counts at the same positions, such as another exposure, unless a result that explains
    its own patterns does not explain these, which were taken with the same probe; and a scan of
    which one is a part of the other. A result that has no record of its scan is accepted as it is.

    ``role`` is what the scan is given as, "truth" or "data".

    Raises
    ------
    InputError
        When it is a foreign one.
    """
    known, file = recorded(result.provenance)
    if known is None:
        return None
    differing = difference(known, fingerprint(scan))
    if differing in (None, "positions"):
        return None
    reason = None
    if differing == "counts":
        if _explained(result) and _same_probe(result, scan):
            fit = misfit(result, scan)
            if fit.verdict == "poor":
                reason = (
                    f"the same positions, but patterns that the result does not explain (residual "
                    f"{fit.residual:.3f}, photon noise alone gives {fit.expected:.3f})"
                )
    elif not _partly(result, scan):
        reason = "other counts at other positions"
    if reason is None:
        return f"The {role} is not the scan that the result was made from, only one like it."
    remedy = "the scan that the result was made from" if file is None else f"'{file}'"
    raise InputError(
        f"the {role} must belong to the result, received '{scan.name}' with {reason}; give "
        f"{remedy}, or another scan of the same object at the same positions."
    )


def _explained(result: Reconstruction) -> bool:
    """Whether the result fits the patterns that it was made from."""
    fit = result.provenance.get("fit")
    return isinstance(fit, dict) and fit.get("verdict") == "good"


def _same_probe(result: Reconstruction, scan: Scan) -> bool:
    if result.probe.shape[-1] != scan.N:
        return False
    one, other = result.probe[0].astype(np.complex128), scan.probe[0].astype(np.complex128)
    powers = (np.abs(one) ** 2).sum() * (np.abs(other) ** 2).sum()
    return bool(abs(np.vdot(one, other)) ** 2 > SAME_PROBE**2 * powers)


def _partly(result: Reconstruction, scan: Scan) -> bool:
    """Whether nearly all positions of one of the two are positions of the other."""
    if len(result.positions_px) + len(left_out(result.findings)) == scan.M:
        return False
    from scipy.spatial import KDTree

    places = [result.positions_px, scan.positions_px]
    small, large = sorted(places, key=len)
    distance, _ = KDTree(large).query(small)
    return bool((distance < SAME_PX).mean() >= PART)
