"""Does a part of the detector count more than another one, along a straight line between them?

An object takes up what changes slowly across the mean pattern, and no step. Nothing else makes one
along a whole line: fringes, pupils and what a wrong probe leaves change along it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.physics.readout import DetectorNoise

# Lines on either side of a border whose counts are added up.
WIDTH = 2
# Photons that tell the factor of one line of such a stretch, and so many lines at least.
ENOUGH, FEWEST = 20.0, 4
# A step is one of so many standard deviations, by so much at least (log), that scatters along the
# border by so much of itself at most beyond noise: 0 to 0.3 where a part counts 1.05 to 1.2 times
# as much, 0.8 and more where a wrong probe leaves steps.
SIGMA, LEAST, SCATTER = 12.0, 0.035, 0.35
# On one side of it at least slopes scatter along the border by this share of the step at most: 0.13
# of a part that counts more, 0.29 and more where a probe is wrong or a beam drifts.
SLOPES = 0.2
# It is so many times clearer than the median of other places, 24 and more against 9 at most in
# right scans and with other faults, and at least this share of the light falls beside it: elsewhere
# a step spoils nothing.
CLEARER, LIT = 15.0, 0.02


class GainStep(NamedTuple):
    """From a line of the detector on counts are larger, or smaller, than before it.

    axis : "row" or "column".  place : number of the first one behind the border.  part : (first,
    last) pixels along the border.  step : change of the logarithm of measured over modelled counts.
    """

    axis: str
    place: int
    part: tuple[int, int]
    step: float


def gain_step(
    measured: NDArray[np.float64], model: NDArray[np.float64], noise: DetectorNoise, patterns: int
) -> GainStep | None:
    """The clearest step of measured over modelled counts along a row or a column, or half of one;
    None where there is none.

    Parameters
    ----------
    measured, model : (N, N) mean patterns in counts; bad pixels are NaN.
    patterns : how many the means are of.
    """
    found: list[tuple[float, GainStep]] = []
    for axis, frames in (("column", (measured, model)), ("row", (measured.T, model.T))):
        found += _along(axis, frames[0], frames[1], noise, patterns)
    return max(found, key=lambda one: one[0], default=(0.0, None))[1]


def _along(
    axis: str,
    measured: NDArray[np.float64],
    model: NDArray[np.float64],
    noise: DetectorNoise,
    patterns: int,
) -> list[tuple[float, GainStep]]:
    """Steps between columns, with the standard deviations that they are of."""
    good = np.isfinite(measured)
    # A border may be a gap.
    columns = np.flatnonzero(good.mean(axis=0) > 0.5)
    size, count = len(measured), len(columns)
    if count < 4 * WIDTH:
        return []

    def stretch(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over all patterns and over the columns that begin with each."""
        sums = np.cumsum(np.pad(values[:, columns], ((0, 0), (1, 0))), axis=1)
        return np.asarray(patterns * (sums[:, WIDTH:] - sums[:, :-WIDTH]))

    light = stretch(np.where(good, np.maximum(model, 0), 0.0))
    counts = stretch(np.where(good, np.maximum(measured, 0), 0.0))
    spread = noise.photon * light + noise.readout**2 * stretch(good.astype(np.float64))
    told = np.minimum(light, counts) >= ENOUGH * noise.photon
    ratio = np.log(np.where(told, counts, 1.0) / np.where(told, light, 1.0))
    variance = np.where(told, spread, np.inf) / np.where(told, light, 1.0) ** 2
    borders = np.arange(2 * WIDTH, count - 2 * WIDTH + 1)
    outer, before, after, behind = (borders + k * WIDTH for k in (-2, -1, 0, 1))
    # A slope, as of what an object takes up, is no step.
    steps = 1.5 * (ratio[:, after] - ratio[:, before]) + 0.5 * (ratio[:, outer] - ratio[:, behind])
    slopes = ratio[:, before] - ratio[:, outer], ratio[:, behind] - ratio[:, after]
    near, far = variance[:, before] + variance[:, after], variance[:, outer] + variance[:, behind]
    weights = 1 / (2.25 * near + 0.25 * far)
    found, total = [], patterns * float(np.maximum(model[good], 0).sum()) / noise.photon
    # Modules meet along whole lines, or along half of one.
    for first, last in ((0, size), (0, size // 2), (size // 2, size)):
        step, weight = steps[first:last], weights[first:last]
        whole = np.maximum(weight.sum(axis=0), 1e-300)
        mean, lines = (weight * step).sum(axis=0) / whole, (weight > 0).sum(axis=0)
        scatter = (weight * (step - mean) ** 2).sum(axis=0) / whole - lines / whole
        same = scatter <= (SCATTER * mean) ** 2
        around = []
        for slope in (one[first:last] for one in slopes):
            usual = (weight * slope).sum(axis=0) / whole
            around.append((weight * (slope - usual) ** 2).sum(axis=0) / whole - lines / whole)
        same = same & (np.minimum(*around) <= (SLOPES * mean) ** 2)
        clear = same & (np.abs(mean) >= LEAST) & (lines >= max(FEWEST, size // 8))
        sigma = np.abs(mean) * np.sqrt(whole)
        k = int(np.where(clear, sigma, -1.0).argmax())
        others = np.median(sigma[np.abs(np.arange(len(borders)) - k) >= 2 * WIDTH])
        # Weights are photons on each side over the factors of their variance.
        lit = 5 * whole[k] >= LIT * total
        if clear[k] and lit and sigma[k] >= max(SIGMA, CLEARER * others):
            step_there = GainStep(axis, int(columns[borders[k]]), (first, last), float(mean[k]))
            found.append((float(sigma[k]), step_there))
            if last - first == size:
                break  # halves of that border tell no more
    return found
