"""The numbers of a fit that a verdict is taken from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.far_away import SAME_PLACE_PX
from ptychopinn.evaluation.gain_steps import GainStep, gain_step

if TYPE_CHECKING:
    from ptychopinn.evaluation.misfit import Misfit

# Structure that is a very small part of the counts: how much it must be, as a share of the counts
# and of the noise.
FAINT_STRUCTURE, FAINT_STRUCTURE_OF_NOISE = 1e-4, 0.3
# Pixels: how many times the noise of the mean pattern and the residual of the others, and how many
# they are at most.
PIXEL_SIGMA, PIXEL_TIMES, PIXELS_AT_MOST = 12.0, 30.0, 0.03
# So many of them are a clump, whose logarithms are off by at most so much: 0.2 where the phase of a
# probe is missing, 4 and more for dead and hot pixels.
CLUMP, CLUMP_OFF = 8, 0.3
# Pixels beside bad ones differ by hardly anything, 0.02 of what those do; beside others by 0.3 and
# more where a probe is wrong.
BESIDE = 0.2
# Pixels that vary by less than photons do: photons at least, how unlikely that is (-log), how many
# times the usual residual at most, and the share of all counts that they hold.
QUIET_PHOTONS, QUIET_UNLIKELY, QUIET_TIMES, QUIET_COUNTS = 4.0, 25.0, 0.5, 0.003
# Patterns: robust deviations of the excess from its median, and how many they are at most.
PATTERN_SIGMA, PATTERNS_AT_MOST = 8.0, 0.2
# Patterns without beam have such a share of the median counts, and of those that are modelled.
EMPTY, EMPTY_OF_MODEL = 0.02, 0.3
# A change in mid-scan: patterns on each side at least, standard deviations, how many times more is
# not explained on one side, and how much at least; how much structure there must be on one side as
# a share of the other, and what noise may hide.
FEWEST_BEFORE, CHANGE_SIGMA, CHANGE_TIMES, CHANGE_LEAST = 12, 6.0, 5.0, 0.1
CHANGE_STRUCTURE, FLOOR_OF_NOISE = 0.3, 0.1
# Factors of patterns vary by so much, without the few that are farthest off.
UNEVEN, USUAL = 0.02, 0.95
# The median of photons that are counted lies up to a third of one below their mean: it is that of
# groups of dark pixels that have so many together, and of so many groups at least.
COUNTED, GROUPS = 30.0, 8


@dataclass(frozen=True)
class Signs:
    """The numbers that a verdict is taken from.

    residual, expected, explained : as in :class:`ptychopinn.evaluation.misfit.Misfit`.
    faint : the share explained where the structure is a very small part of the counts, and yet more
        than noise, so that ``explained`` is NaN; NaN elsewhere.
    systematic : share of the excess that the mean pattern has.
    background, background_sigma : what the darkest quarter of the mean pattern has above the model,
        per pixel times all pixels, as a share of the counts; and in standard deviations.  The
        level is a median, which a few pixels do not change.
    pixels, pixels_share : (y, x) of pixels with a bias of their own; share of the excess in them.
    clump : whether most of those are neighbours and all of them differ by little from the model, or
        pixels beside them differ likewise, as where a probe or a curve of the detector is wrong in
        the bright; no bad pixels do.
    quiet : (y, x) of pixels that vary by far less than photons do and differ from the model by far
        less than noise, as where a number is stuck and the probe has taken it up.
    patterns, patterns_share : patterns far worse than the others; share of the excess in them.
    empty : patterns with hardly any counts where the model has far more.
    change, before, after : the pattern from which on far less, or far more, of the structure is
        explained than before, None where there is none; what is not explained of both parts.
    step : the border of a part of the detector that counts more than the rest, None without one.
    alone : whether no two patterns overlap, or all show one and the same place.
    current, current_share : scatter of measured over modelled counts of the patterns beyond noise,
        relative; share of the excess that it makes.
    uneven_share : share of the excess that a factor for each pattern would take away, where more
        than a few of them need one.
    """

    residual: float
    expected: float
    explained: float = float("nan")
    faint: float = float("nan")
    systematic: float = 0.0
    background: float = 0.0
    background_sigma: float = 0.0
    pixels: tuple[tuple[int, int], ...] = ()
    pixels_share: float = 0.0
    patterns: tuple[int, ...] = ()
    patterns_share: float = 0.0
    current: float = 0.0
    current_share: float = 0.0
    uneven_share: float = 0.0
    change: int | None = None
    before: float = 0.0
    after: float = 0.0
    alone: bool = False
    quiet: tuple[tuple[int, int], ...] = ()
    step: GainStep | None = None
    clump: bool = False
    empty: tuple[int, ...] = ()

    @property
    def excess(self) -> float:
        return self.residual - self.expected


def signs_of(fit: Misfit) -> Signs:
    """The signs of a fit; no pattern is read again.

    With I the mean measured and J the mean modelled pattern over M patterns, a count of a photon q,
    the noise s of reading and the sum C of I, the noise of I at a pixel has the variance
    (q J + s^2) / M.
    """
    good = np.isfinite(fit.measured_mean)
    measured, model = fit.measured_mean[good], fit.model_mean[good]
    counts, m = float(measured.sum()), len(fit.per_pattern)
    excess = max(fit.excess, 1e-12)
    light = np.maximum(model, 0.25 * fit.noise.photon / m)
    sigma = np.sqrt(fit.noise.variance(light) / m)
    squares = (np.sqrt(measured) - np.sqrt(model)) ** 2 / counts
    difference = measured - model
    dark = np.argsort(model, kind="stable")[: max(1, len(model) // 4)]
    seen = float(measured[dark].mean()) * m / fit.noise.photon
    level = usual(difference[dark], seen) * len(model) / counts
    pixels, pixels_share = _pixels(difference, squares, sigma, good)
    patterns, patterns_share = _patterns(fit)
    current, current_share = _current(fit, counts)
    change, before, after = _change(fit)
    return Signs(
        residual=fit.residual,
        expected=fit.expected,
        explained=fit.explained,
        faint=faint_share(fit),
        systematic=max(float(squares.sum()) - fit.expected / m, 0.0) / excess,
        background=max(level, 0.0),
        background_sigma=float(difference[dark].sum() / np.sqrt((sigma[dark] ** 2).sum())),
        pixels=pixels,
        pixels_share=pixels_share / excess,
        patterns=patterns,
        patterns_share=patterns_share / excess,
        current=current,
        current_share=current_share / excess,
        uneven_share=_uneven(fit) / excess,
        change=change,
        before=before,
        after=after,
        alone=_alone(fit),
        quiet=_quiet(fit),
        clump=_clump(fit, pixels),
        empty=_empty(fit),
        step=gain_step(fit.measured_mean, fit.model_mean, fit.noise, m),
    )


def _change(fit: Misfit) -> tuple[int | None, float, float]:
    """Where the scan is best cut into one part that is explained and one that is not.

    Both parts must show structure: where there is no sample nothing is left to explain.
    """
    excess = np.nan_to_num(fit.per_pattern - fit.expected_per_pattern)
    structure = np.nan_to_num(fit.flat_per_pattern - fit.expected_per_pattern)
    m, least = len(excess), max(FEWEST_BEFORE, len(excess) // 8)
    if m < 2 * FEWEST_BEFORE:
        return None, 0.0, 0.0
    left = np.arange(least, m - least + 1)
    sums, squares = np.cumsum(excess), np.cumsum(excess**2)
    means = sums[left - 1] / left, (sums[-1] - sums[left - 1]) / (m - left)
    spread = (squares[left - 1] / left - means[0] ** 2) / left
    spread += ((squares[-1] - squares[left - 1]) / (m - left) - means[1] ** 2) / (m - left)
    sigma = np.abs(means[1] - means[0]) / np.sqrt(np.maximum(spread, 1e-24))
    k = int(left[sigma.argmax()])
    parts = slice(None, k), slice(k, None)
    shown = [float(structure[part].mean()) for part in parts]
    if sigma.max() < CHANGE_SIGMA or min(shown) < CHANGE_STRUCTURE * max(shown):
        return None, 0.0, 0.0
    before, after = (float(excess[p].mean()) / s for p, s in zip(parts, shown, strict=True))
    low, high = sorted((before, after))
    # What is little beside noise is not told from it.
    floor = FLOOR_OF_NOISE * fit.expected / max(shown)
    clear = high >= CHANGE_TIMES * max(low, floor) and high >= CHANGE_LEAST
    return (k, before, after) if clear else (None, 0.0, 0.0)


def _alone(fit: Misfit) -> bool:
    """Whether patterns of N pixels do not overlap, or hardly differ in their position."""
    places = fit.positions_px
    if len(places) < 2 or float(np.ptp(places, axis=0).max()) < SAME_PLACE_PX:
        return True
    from scipy.spatial import cKDTree

    # The larger one of both distances along the axes.
    nearest = cKDTree(places).query(places, k=2, p=np.inf)[0][:, 1]
    return bool(nearest.min() >= fit.measured_mean.shape[-1])


def usual(values: NDArray[Any], photons: float) -> float:
    """The mean of pixels (K,) that have so many photons each, but for a few that are far off."""
    size = int(np.ceil(COUNTED / max(photons, COUNTED / len(values))))
    groups = max(len(values) // size, min(GROUPS, len(values)))
    # Pixels come in the order of their light: each group has some of all.
    return float(np.median([values[k::groups].mean() for k in range(groups)]))


def faint_share(fit: Misfit) -> float:
    """The share explained where the structure is a very small part of the counts, and yet more than
    noise; NaN elsewhere."""
    least = max(FAINT_STRUCTURE, FAINT_STRUCTURE_OF_NOISE * fit.expected)
    if np.isfinite(fit.explained) or not fit.structure > least:
        return float("nan")
    return 1 - fit.excess / fit.structure


def _pixels(
    difference: NDArray[Any], squares: NDArray[Any], sigma: NDArray[Any], good: NDArray[np.bool_]
) -> tuple[tuple[tuple[int, int], ...], float]:
    """Few pixels that differ by far more than the others do, and the residual in them."""
    limit = np.quantile(squares, 1 - PIXELS_AT_MOST)
    others = float(squares[squares <= limit].mean())
    far = (squares > PIXEL_TIMES * others) & (np.abs(difference) > PIXEL_SIGMA * sigma)
    if not far.any() or far.mean() > PIXELS_AT_MOST:
        return (), 0.0
    order = np.argsort(-squares[far], kind="stable")
    places = np.argwhere(good)[far][order]
    return tuple((int(y), int(x)) for y, x in places), float(squares[far].sum())


def _clump(fit: Misfit, pixels: tuple[tuple[int, int], ...]) -> bool:
    """Whether such pixels are one patch of the detector that is off by a few per cent, or have
    neighbours that are off as well."""
    if not pixels:
        return False
    y, x = np.array(pixels).T
    if _beside(fit, y, x) > BESIDE:
        return True
    if len(pixels) < CLUMP:
        return False
    from scipy.ndimage import label

    off = np.log(np.maximum(fit.measured_mean[y, x], 1e-12) / fit.model_mean[y, x])
    if np.abs(off).max() > CLUMP_OFF:
        return False
    where = np.zeros(fit.measured_mean.shape, bool)
    where[y, x] = True
    parts = label(where, np.ones((3, 3)))[0][y, x]
    return bool(2 * np.bincount(parts).max() >= len(pixels))


def _beside(fit: Misfit, y: NDArray[Any], x: NDArray[Any]) -> float:
    """How far the pixels beside those are off, as a share of these: the median."""
    off = fit.measured_mean - fit.model_mean
    others = off.copy()
    others[y, x] = np.nan
    around = np.pad(others, 1, constant_values=np.nan)
    near = np.stack([around[y + j, x + i] for j in range(3) for i in range(3)])
    told = np.isfinite(near).any(axis=0)
    if not told.any():
        return 0.0
    return float(np.median(np.nanmedian(near[:, told], axis=0) / off[y, x][told]))


def _quiet(fit: Misfit) -> tuple[tuple[int, int], ...]:
    """Few pixels with light in which the residual is far below noise, and below that of the others.

    The sum of m squares of normal numbers is by a factor r below m, or more, with a probability
    below exp(-m (r - 1 - log r) / 2) (Chernoff).
    """
    lit = np.nan_to_num(fit.model_mean) > QUIET_PHOTONS * fit.noise.photon
    if not lit.any():
        return ()
    # Whatever a fit follows of noise, and a gain that is not quite known, lowers all alike; where
    # the others are explained badly, one that is explained is not quiet.
    usually = min(float(np.median(fit.times_noise[lit])), 1.0)
    ratio = np.where(lit, fit.times_noise, np.nan) / max(usually, 1e-9)
    low = np.clip(np.nan_to_num(ratio, nan=1.0), 1e-9, 1.0)
    unlikely = len(fit.per_pattern) * (low - 1 - np.log(low)) / 2
    far = (unlikely > QUIET_UNLIKELY) & (low < QUIET_TIMES)
    held = float(fit.measured_mean[far].sum()) / max(float(np.nansum(fit.measured_mean)), 1e-12)
    if held < QUIET_COUNTS or far.mean() > PIXELS_AT_MOST:
        return ()
    return tuple((int(y), int(x)) for y, x in np.argwhere(far))


def _patterns(fit: Misfit) -> tuple[tuple[int, ...], float]:
    """Few patterns that are far worse than the others, and what they add to the residual."""
    excess = fit.per_pattern - fit.expected_per_pattern
    known = np.isfinite(excess)
    if known.sum() < 8:
        return (), 0.0
    middle = float(np.median(excess[known]))
    typical = 1.4826 * float(np.median(np.abs(excess[known] - middle)))
    floor = 0.5 * float(np.median(fit.expected_per_pattern[known]))
    far = known & (excess > middle + PATTERN_SIGMA * typical + floor)
    if not far.any() or far.mean() > PATTERNS_AT_MOST:
        return (), 0.0
    weight = fit.counts / fit.counts.sum()
    order = np.argsort(-excess[far], kind="stable")
    share = float(((excess - middle) * weight)[far].sum())
    return tuple(int(k) for k in np.flatnonzero(far)[order]), share


def _empty(fit: Misfit) -> tuple[int, ...]:
    """Patterns that a sample which lets little through does not explain."""
    few = fit.counts < EMPTY * np.median(fit.counts)
    return tuple(int(k) for k in np.flatnonzero(few & (fit.factors < EMPTY_OF_MODEL)))


def _current(fit: Misfit, counts: float) -> tuple[float, float]:
    """Scatter of the factors beyond noise, and the residual that it makes."""
    factors = fit.factors[np.isfinite(fit.factors)]
    if len(factors) < 8 or not counts > 0:
        return 0.0, 0.0
    pixels = int(np.isfinite(fit.measured_mean).sum())
    noise = pixels * float(fit.noise.variance(counts / pixels)) / counts**2
    scatter = 1.4826 * float(np.median(np.abs(factors - np.median(factors))))
    made = np.median((np.sqrt(np.maximum(factors, 0)) - 1) ** 2) / 0.455 - noise / 4
    return float(np.sqrt(max(scatter**2 - noise, 0.0))), max(float(made), 0.0)


def _uneven(fit: Misfit) -> float:
    """The residual that goes when the model of each pattern gets the counts that were measured.

    The amplitudes of a pattern with f times the modelled counts are off by 1 - 1 / sqrt(f) of them.
    """
    factors, counts = fit.factors, fit.counts
    lit = np.isfinite(factors) & (factors > 0) & (counts > 0)
    if np.count_nonzero(lit) < 8:
        return 0.0
    factors, counts = factors[lit], counts[lit]
    pixels = int(np.isfinite(fit.measured_mean).sum())
    noise = pixels * np.asarray(fit.noise.variance(counts / pixels)) / counts**2
    # Of a few patterns the object is the cause, or they do not belong to the others.
    off = np.sort(np.abs(factors / np.median(factors) - 1))[: int(USUAL * len(factors))]
    if np.sqrt((off**2).mean()) < UNEVEN:
        return 0.0
    made = (1 - 1 / np.sqrt(factors)) ** 2 - noise / 4
    return max(float((counts * made).sum() / counts.sum()), 0.0)
