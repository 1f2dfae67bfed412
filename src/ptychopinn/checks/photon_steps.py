"""Single photons that stand out of the noise of a detector which does not count."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding

NAME = "photon-steps"
# Units of the smallest and the largest photon that is looked for, in steps of 2 %, and how many
# readings are asked, in bins of so many units.
SMALLEST, LARGEST, GRID, READINGS, BIN = 4.0, 200.0, 200, 1 << 18, 0.25
# Readings of so many photons tell; so many are needed.
PHOTONS, FEWEST = (0.5, 4.5), 1000
# They lie at whole photons, with a scatter of this part of one at most, and hardly any between
# none and one, as a part of those with one.
AT_WHOLE, SCATTER, BETWEEN = 0.5, 0.2, 0.15
# And this part of those with one, or more, hold two: readings that end at some number have one.
TWO = 0.01
# What readings without a photon add up to, as a share of all, that hides a picture.
DARK = 0.01


@check(NAME)
def photon_steps(look: Look) -> Iterator[Noticed]:
    """Readings at whole multiples of a number, with noise that is no light between them.

    Set to 0 where it is negative, that noise is a background. Single photons tell it from light.
    """
    if look.scan.saturation is not None:
        return
    readings = look.sample[:, look.good].ravel()
    readings = readings[:: max(1, len(readings) // READINGS)]
    found = _photon(readings[readings > 0].astype(np.float64))
    if found is None:
        return
    photon, scatter = found
    dark = float(readings[readings < photon / 2].sum() / max(float(readings.sum()), 1e-30))
    if dark < DARK:
        return
    yield (
        finding(
            NAME, "mended",
            f"readings are whole photons of {photon:.4g} units each, with noise of {scatter:.2g} "
            f"units: divided by that and made whole, since the noise of readings without a photon "
            f"is {dark:.1%} of all that was read.",
            photon=photon, scatter=scatter, dark=dark,
        ),
        Mend(photon=photon),
    )  # fmt: skip


def _photon(lit: NDArray[np.float64]) -> tuple[float, float] | None:
    """Units of one photon and the scatter of readings (n,) above 0; None where none show."""
    bins = round(PHOTONS[1] * LARGEST / BIN)
    often = np.histogram(lit, bins, (BIN / 2, (bins + 0.5) * BIN))[0]
    middle = np.arange(1, bins + 1) * BIN
    best, photon = 0.0, 0.0
    for unit in np.geomspace(SMALLEST, LARGEST, GRID):
        told = (middle > PHOTONS[0] * unit) & (middle < PHOTONS[1] * unit)
        there = often[told].sum()
        if there < FEWEST:
            continue
        whole = float((often[told] * np.cos(2 * np.pi * middle[told] / unit)).sum() / there)
        if whole > best:
            best, photon = whole, float(unit)
    if best < AT_WHOLE:
        return None
    for _ in range(2):
        some = lit[(lit > PHOTONS[0] * photon) & (lit < PHOTONS[1] * photon)]
        number = np.rint(some / photon)
        photon = float((some * number).sum() / (number**2).sum())
    scatter = float(np.sqrt(((some - number * photon) ** 2).mean()))
    between = np.count_nonzero(abs(lit / photon - 0.5) < 0.15)
    one, two = (np.count_nonzero(abs(lit / photon - number) < 0.3) for number in (1, 2))
    clear = scatter < SCATTER * photon and between < BETWEEN * one and two > TWO * one
    return (photon, scatter) if clear else None
