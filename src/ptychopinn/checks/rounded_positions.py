"""Positions that lost their last digits: far from zero in 32 bits, or written with few digits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Noticed, check, finding

# Of fewer positions nothing is told. Whole pixels are what scans are planned in.
FEWEST, COARSE_PX = 16, 1.2
# Positions are multiples of a number to this share of it, and so many of them share their place
# along the axis.
EXACT, SHARED = 0.02, 0.5
# A raster goes on by one number of multiples: of rounded steps this share is one more or less, or
# this share of all positions are those of another pattern.
OTHERWISE, TOGETHER = 0.15, 0.25
# Or they are at this share of the places that there are, where a raster is at all, and one whose
# rows lie between each other at half of them.
FILLED = 0.4


@check("rounded-positions")
def rounded_positions(look: Look) -> Iterator[Noticed]:
    """Positions that are multiples of a large number, and not those of a raster."""
    positions = look.scan.positions_px
    if look.scan.M < FEWEST:
        return
    pitches = [_pitch(positions[:, axis]) for axis in (0, 1)]
    together = 1 - len(np.unique(positions, axis=0)) / len(positions) > TOGETHER
    if None not in pitches:
        sites = np.prod(np.ptp(positions, axis=0) / np.array(pitches, float) + 1)
        together |= len(positions) < FILLED * sites
    along = [
        pitch is not None and (together or _uneven(positions[:, axis], pitch))
        for axis, pitch in enumerate(pitches)
    ]
    said = [
        f"{pitch:.4g} px along {name}"
        for name, pitch, told in zip("yx", pitches, along, strict=True)
        if pitch is not None and told
    ]
    if not said:
        return
    error = max(p for p, told in zip(pitches, along, strict=True) if p is not None and told) / 2
    yield (
        finding(
            "rounded-positions", "doubt",
            f"the positions are whole multiples of {' and of '.join(said)}, which no raster has: "
            f"they were rounded by up to {error:.3g} px, as where numbers far from zero are stored "
            "in 32 bits, or with few digits; store them with all their digits (subtract the first "
            "one before), or else refine with the option refine_positions.",
            error_px=error,
        ),
        None,
    )  # fmt: skip


def _pitch(values: NDArray[np.float64]) -> float | None:
    """The number whose multiples the coordinates (M,) are, from the first on; None for others."""
    places = np.unique(np.round(values, 6))
    if len(places) < 3 or len(places) > SHARED * len(values):
        return None
    steps = np.diff(places)
    # Numbers in 32 bits are as inexact where they were divided by a pixel.
    pitch = float(np.median(steps[steps <= 1.5 * steps.min()]))
    multiples = steps / pitch
    if pitch < COARSE_PX or np.abs(multiples - np.rint(multiples)).max() > EXACT:
        return None
    return pitch


def _uneven(values: NDArray[np.float64], pitch: float) -> bool:
    """Whether the moves from each position to the next one are of two sizes, as rounded ones."""
    moves = np.rint(np.abs(np.diff(values)) / pitch).astype(int)
    often = np.bincount(moves[moves > 0], minlength=4)
    usual = int(often.argmax())
    beside = [often[k] for k in (usual - 1, usual + 1) if 0 < k < len(often)]
    return bool(max(beside, default=0) > OTHERWISE * len(moves))
