"""Pixels of the detector that hold no reading of their own: a constant, or what others counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding, numbered
from ptychopinn.data.findings import Finding
from ptychopinn.physics.readout import variance_of_counts

FILLED = "filled-lines"
AXES = (("row", "y"), ("column", "x"))
# Readings of bright pixels vary by this share of what photons do at least, or patterns may have
# been computed, and lines be alike for that reason.
VARIES = 0.7
# So many patterns tell whether a pixel is constant, and no pixel that counts a photon is one.
PATTERNS, LIGHT = 16, 0.99
# So many of them have the same number: single ones with a number of their own are stuck.
ALIKE = 8
# Patterns that are looked at for lines.
LOOKED_AT = 64
# A line differs from those beside it by this share of what photons would, where it was made of
# them; told by so many readings of pixels with a photon and more.
MADE, READINGS = 0.3, 1000
# Lines of so many photons are never the same by chance; of more of them than this share of those
# that are lit nothing is masked.
PHOTONS, MOST = 100.0, 1 / 3


@check("constant-pixels")
def constant_pixels(look: Look) -> Iterator[Noticed]:
    """Pixels that count the same in all patterns, while photons fluctuate: a border of a constant,
    or what was put in place of pixels that do not measure."""
    level = look.mean
    # Those with the largest number of all may be saturated.
    constant = look.good & (look.largest <= level * (1 + 1e-9)) & (level < look.largest.max())
    constant &= level > LIGHT * look.photon
    numbers, often = np.unique(level[constant], return_counts=True)
    constant &= np.isin(level, numbers[often >= ALIKE])
    if look.scan.M < PATTERNS or not constant.any():
        return
    # All around, where nothing is left to tell the noise, it is no light either.
    border = np.pad(np.zeros((look.scan.N - 2,) * 2, bool), 1, constant_values=True)
    photon = variance_of_counts(look.sample, look.good & ~constant)
    if not (constant[border].all() if photon is None else photon >= VARIES * look.photon):
        return
    values = np.unique(level[constant])
    count = int(constant.sum())
    what = f"{values[0]:.6g}" if len(values) == 1 else f"{values[0]:.6g} to {values[-1]:.6g}"
    yield (
        finding(
            "constant-pixels", "mended",
            f"masked {count} pixels that count the same in all patterns ({what}) while photons "
            "fluctuate: no measurement, as where patterns were framed or gaps filled.",
            count=count, values=values[:12].tolist(),
        ),
        Mend(masked=constant),
    )  # fmt: skip


@check(FILLED)
def filled_lines(look: Look) -> Iterator[Noticed]:
    """Rows and columns that were copied from others, or interpolated between them: they have no
    noise of their own."""
    fault = _copied(look)
    if fault is not None:
        yield fault, None
        return
    masked = np.zeros_like(look.good)
    said = list[str]()
    details = dict[str, list[int]]()
    some = few(look.sample, LOOKED_AT)
    for axis, (line, name) in enumerate(AXES):
        readings = some if axis == 0 else some.swapaxes(1, 2)
        good = measured(look) if axis == 0 else measured(look).T
        photon = variance_of_counts(readings, good)
        if photon is None or photon < VARIES * look.photon:
            continue
        found = made_of_others(readings, good, photon)
        if len(found):
            (masked if axis == 0 else masked.T)[found] = True
            said.append(f"{line}s {name} = {numbered(found)}")
            details[f"{line}s"] = found.tolist()
    masked &= look.good
    if not masked.any():
        return
    count = int(masked.sum())
    yield (
        finding(
            FILLED, "mended",
            f"masked {count} pixels of {' and '.join(said)}, which have no noise of their own: "
            "they were interpolated between the lines beside them, or copied from one, as where "
            "gaps of a detector are filled.",
            count=count, **details,
        ),
        Mend(masked=masked),
    )  # fmt: skip


def few(patterns: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """So many of the patterns at most, at even distances."""
    return patterns[:: max(1, len(patterns) // most)][:most]


def measured(look: Look) -> NDArray[np.bool_]:
    """(N, N) good pixels that are never saturated."""
    top = look.scan.saturation
    return look.good if top is None else look.good & (look.largest < top)


def made_of_others(
    readings: NDArray[np.float32], good: NDArray[np.bool_], photon: float
) -> NDArray[np.int64]:
    """Rows of patterns (m, N, N) that follow from the rows beside them; none where too many do.

    ``photon`` is the variance of bright readings over their mean.
    """
    mean = readings.mean(axis=0, dtype=np.float64)
    lit = good & (mean > photon)
    between, told = _own_noise(readings, mean, lit, (-0.5, 1.0, -0.5), photon)
    usual = min(1.0, float(np.median(between[told]))) if told.any() else 0.0
    if usual < VARIES:
        return np.zeros(0, np.int64)
    found = set((np.flatnonzero(between < MADE * usual) + 1).tolist())
    # Ends of lines that are all the same. Two alone are no fault: the counts of one wide pixel
    # between two chips are divided among both.
    beside, _ = _own_noise(readings, mean, lit, (1.0, -1.0), photon)
    for k in np.flatnonzero(beside <= 0).tolist():
        if {k, k + 1} & found:
            found |= {k, k + 1}
    return np.array(sorted(found if len(found) <= MOST * told.sum() else ()), np.int64)


def _own_noise(
    readings: NDArray[np.float32],
    mean: NDArray[np.float64],
    lit: NDArray[np.bool_],
    weights: tuple[float, ...],
    photon: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How much the weighted sums of rows beside each other vary, as a share of what photons do, and
    whether enough readings tell; infinite where they do not."""
    last = len(mean) - len(weights) + 1
    parts = [slice(k, last + k) for k in range(len(weights))]
    together = np.logical_and.reduce([lit[part] for part in parts])
    differences = np.zeros_like(readings[:, :last])
    due = np.zeros_like(mean[:last])
    for part, weight in zip(parts, weights, strict=True):
        differences += np.float32(weight) * readings[:, part]
        due += weight**2 * photon * mean[part]
    seen = np.einsum("myx,myx->yx", differences, differences, dtype=np.float64) / len(readings)
    told = together.sum(axis=1) * len(readings) >= READINGS
    share = np.full(last, np.inf)
    totals = [np.where(together, values, 0).sum(axis=1)[told] for values in (seen, due)]
    share[told] = totals[0] / totals[1]
    return share, told


def _copied(look: Look) -> Finding | None:
    """The fault of patterns many of whose rows, or columns, hold the same counts as another one."""
    some = few(look.sample, LOOKED_AT)
    both = (some, look.good), (some.swapaxes(1, 2), look.good.T)
    pairs = [_same(readings, good, PHOTONS * look.photon) for readings, good in both]
    most = [len(p) > MOST * lit for p, lit in pairs]
    if not any(most):
        return None
    # Noise tells once each line is there once.
    kept = [np.setdiff1d(np.arange(look.scan.N), [b for _, b in p]) for p, _ in pairs]
    rows, columns = kept
    once = some[:, rows][:, :, columns]
    varies = variance_of_counts(once, np.ones(once.shape[1:], bool))
    if varies is None or varies < VARIES * look.photon:
        return None
    axis = most.index(True)
    (found, lit), line = pairs[axis], AXES[axis][0]
    times = round(float(np.median(np.diff(kept[axis]))))
    why = "a part of the patterns is the mirror image of another one; mask what was not measured"
    if all(b - a < times for a, b in found):
        why = (
            f"the patterns were enlarged {times} times; store them as they were measured, or bring "
            f"them back with ptychopinn prepare and the option bin={times}"
        )
    a, b = found[0]
    return finding(
        FILLED, "fault",
        f"each {line} of the patterns must hold its own counts, received {len(found)} of {lit} "
        f"that are the same as another one to the last count (such as {a} and {b}): {why}.",
        axis=AXES[axis][1], pairs=found[:12],
    )  # fmt: skip


def _same(
    readings: NDArray[np.float32], good: NDArray[np.bool_], least: float
) -> tuple[list[tuple[int, int]], int]:
    """Pairs of rows of patterns (m, N, N) of which the second holds the counts of the first, in the
    same or the opposite order; and how many rows count enough to tell."""
    # Whatever is masked was copied too.
    counts = np.where(good, readings, 0).sum(axis=(0, 2), dtype=np.float64)
    lit = [int(k) for k in np.flatnonzero(counts > least)]
    seen, pairs = dict[bytes, int](), list[tuple[int, int]]()
    for k in lit:
        ways = [readings[:, k].tobytes(), readings[:, k, ::-1].tobytes()]
        other = next((seen[way] for way in ways if way in seen), None)
        if other is None:
            seen[ways[0]] = k
        else:
            pairs.append((other, k))
    return pairs, len(lit)
