"""A detector that adds a number to every pixel: an offset that nobody subtracted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding

# The level is that of the darkest pixels, this share of all, and this number at least.
DARKEST, FEWEST = 0.05, 16
# It is subtracted when it is so many photons, and holds this share of the counts.
PHOTONS, SHARE = 4.0, 0.005
# One photon is enough where the darkest pixels always read the same, nothing reads less, and so
# many of their readings would if that were light.
STEADY_PHOTONS, WOULD_READ_LESS = 0.99, 50.0
# An offset scatters less than light: readings scatter by this share of it at most, and with this
# share of the variance of photons. Light that fluctuates less is none.
STEADY, OF_PHOTONS = 0.2, 0.5
# Nor is there anything darker: so many deviations below it lies this share of all readings at most.
DEVIATIONS, DARKER = 5.0, 0.02


@check("detector-offset")
def detector_offset(look: Look) -> Iterator[Noticed]:
    """A number that all readings contain and that scatters less than so many photons would.

    A background of light scatters as photons do; the iterations fit that.
    """
    good = look.good
    if not good.any() or look.scan.M < FEWEST:
        return
    means = look.mean[good]
    # Cheap, and true of nearly all scans: something is dark.
    darkest = np.argsort(means, kind="stable")[: max(FEWEST, int(DARKEST * len(means)))]
    if means[darkest[len(darkest) // 2]] < STEADY_PHOTONS * look.photon:
        return
    readings = look.sample[:, good]
    dark = readings[:, darkest]
    low, level = (float(v) for v in np.percentile(dark, (15.87, 50)))
    scatter = level - low
    photon = look.photon
    dark_by_chance = dark.size * np.exp(-level / photon)
    steady = dark.max() == level == readings.min() and dark_by_chance > WOULD_READ_LESS
    least = STEADY_PHOTONS if steady else PHOTONS
    if level < least * photon or level * len(means) < SHARE * float(np.median(look.sums)):
        return
    if scatter > STEADY * level or scatter**2 > OF_PHOTONS * level * photon:
        return
    if (readings < level - DEVIATIONS * max(scatter, photon)).mean() > DARKER:
        return
    if np.issubdtype(look.scan.diffraction.dtype, np.integer):
        level = float(round(level))
    share = level * len(means) / float(np.median(look.sums))
    yield (
        finding(
            "detector-offset", "mended",
            f"subtracted {level:.6g} counts from every pixel: no reading is clearly below, and "
            f"the darkest pixels scatter by {scatter:.3g} counts, less than so much light would; "
            f"an offset of the detector, {share:.1%} of all counts.",
            counts=level, scatter=scatter, share=share,
        ),
        Mend(offset=level),
    )  # fmt: skip
