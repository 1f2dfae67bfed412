"""Does a scan belong to a result? A score against a foreign one says nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.fingerprint import difference, fingerprint, recorded
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.physics.effects import stored

# Positions nearer than this are the same, in pixels; a scan is part of another one when this share
# of its positions is there too.
SAME_PX, PART = 0.05, 0.9
# Another origin is looked for with so many positions, among so many of the first ones.
FEW, MOST_SHIFTS = 32, 4096
# The findings of patterns that belong to other positions, all or some.
OFFSETS = ("frame-order", "frame-offset", "frame-slip")
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
    if any(found.name in OFFSETS for found in result.findings):
        # Pattern for pattern it is paired otherwise; the positions tell whether it is the same.
        reason = None if _partly(result, scan) else "other counts at other positions"
    elif differing == "counts":
        if _explained(result) and _same_probe(result, scan):
            # Background and beam current are those of an exposure, slices those of the object.
            lasting = stored(effect for effect in effects_of(result) if effect.slices > 1)
            fits = [misfit(one, scan) for one in (result, replace(result, effects=lasting))]
            fit = min(fits, key=lambda fit: fit.residual)
            if fit.verdict == "poor":
                reason = (
                    f"the same positions, but patterns that the result does not explain (residual "
                    f"{fit.residual:.3f}, photon noise alone gives {fit.expected:.3f}"
                    f"{_noticed(scan)})"
                )
    elif not _partly(result, scan):
        reason = "other counts at other positions"
    if reason is None:
        return (
            f"The {role} is not the scan that the result was made from, only one like it"
            f"{_noticed(scan) if role == 'data' else ''}."
        )
    remedy = "the scan that the result was made from" if file is None else f"'{file}'"
    raise InputError(
        f"the {role} must belong to the result, received '{scan.name}' with {reason}; give "
        f"{remedy}, or another scan of the same object at the same positions."
    )


def _noticed(scan: Scan) -> str:
    """What a look at the scan finds, which nobody has mended here, in words."""
    from ptychopinn.checks import examine

    found = [one.name for one in examine(scan).findings if one.level != "note"]
    return f"; a look at it finds {', '.join(found)}" if found else ""


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
    """Whether nearly all positions of one of the two are positions of the other.

    They may have another origin where both have the same probe: that of some formats depends on
    the positions that are left out.
    """
    shift, share = translation(result.positions_px, scan.positions_px)
    return share >= PART and (not shift.any() or _same_probe(result, scan))


def translation(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """By what (y, x) the positions ``one`` (m, 2) lie on ``other`` (k, 2), and the share of the
    fewer ones that does; they are in the same order, and some may be left out of either."""
    from scipy.spatial import KDTree

    small, large = sorted((one, other), key=len)
    tree = KDTree(large)
    best, share = np.zeros(2), _found(tree, small)
    if share < PART:
        few = small[np.linspace(0, len(small) - 1, min(len(small), FEW)).astype(np.int64)]
        shifts = large[:MOST_SHIFTS] - small[0]
        best = max(shifts, key=lambda shift: _found(tree, few + shift))
        share = _found(tree, small + best)
    return (best if small is one else -best), share


def _found(tree: Any, places: NDArray[np.float64]) -> float:
    """Which part of the positions (m, 2) the tree holds."""
    return float((tree.query(places)[0] < SAME_PX).mean())
