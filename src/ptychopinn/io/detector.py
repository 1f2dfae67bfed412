"""Numbers that a detector or its software writes and that are no counts.

Where the file's mask marks them, they become 0 and stay masked. Without a mask, a pixel that holds
the same impossible number in nearly all patterns stands in a gap or is dead, and is masked; noise
about zero, which the subtraction of a dark image leaves, is clipped. Both are said as findings;
anything else is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.data.scan import PatternArray
from ptychopinn.errors import InputError, listed
from ptychopinn.io.base import batches, sample_indices
from ptychopinn.io.no_counts import (
    NEARLY_ALL,
    WIDEST,
    Mask,
    beyond_counters,
    half_overflowed,
    impossible,
    lost,
    lost_finding,
    named_patterns,
    no_number,
    one_bit_finding,
    text_of_number,
)
from ptychopinn.io.rescaled import Stored, how_stored, refuse_floored
from ptychopinn.io.signed import negative, refuse_wrapped

SENTINELS = "sentinel-pixels"
# Patterns that are looked at first, and the share there below which a pixel is not looked at again.
SAMPLE, SAMPLE_BYTES, SUSPECT = 24, 16 << 20, 0.75
# A mask of the opposite meaning: the masked pixels are more than this part and hold more than this
# part of the counts, or the others hold nearly none.
OPPOSITE_PART, OPPOSITE_SMALL, NO_COUNTS = 0.5, 0.2, 1e-3
# Pixels without a measurement in some patterns that are masked, as a share, at most.
MOST_STRUCK = 0.05
# How a mask is meant, by what it is called.
MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "bad": "True or 1 marks bad pixels",
        "cxi": "0 marks good pixels, anything else bad ones",
        "good": "True or 1 marks good pixels",
    }
)
# What to do with -infinity.
LOGARITHM = "that is the logarithm of 0: store counts, as 10**x or numpy.exp(x) gives them"


@dataclass(frozen=True)
class Cleaned:
    """Patterns that hold counts only, and what was done for it.

    Attributes
    ----------
    patterns : (M, H, W) as they were, or a copy.
    good : (H, W) bool, True at good pixels; None when all are.
    findings : what was masked and clipped.
    clipped : negative numbers were set to 0, which amplitudes never have.
    undone : they were logarithms of counts, or divided by a number, and are counts now.
    """

    patterns: NDArray[Any]
    good: Mask | None
    findings: tuple[Finding, ...] = ()
    clipped: bool = False
    undone: bool = False


@dataclass(frozen=True)
class Repair:
    """What is to be done to patterns when they are read: patterns and pixels without counts,
    clipping, and numbers that were stored in another way than as counts."""

    bad: Mask | None = None
    clip: bool = False
    undo: Stored | None = None

    def apply(self, patterns: NDArray[Any], numbers: NDArray[np.int64]) -> NDArray[Any]:
        """The repaired patterns (m, H, W) of these numbers; in place, where they are wide enough
        for counts."""
        if patterns.dtype.kind != "u":
            patterns[lost(patterns, self.bad)] = 0
        if self.bad is not None and self.bad.any():
            columns = patterns[:, self.bad]
            columns[impossible(columns)] = 0
            patterns[:, self.bad] = columns
        if self.clip:
            np.maximum(patterns, 0, out=patterns)
        if self.undo is not None:
            counts = self.undo(patterns, self.bad, numbers)
            if patterns.dtype.itemsize < 4:
                return counts.astype(np.float32)
            patterns[...] = counts
        return patterns

    def undoing(self, few: NDArray[Any], kinds: tuple[str, ...]) -> Repair:
        """The repair that gives counts where ``few`` patterns show that they were stored in one of
        these ways."""
        return self if self.clip else replace(self, undo=how_stored(few, self.bad, kinds))


def clean(
    stored: NDArray[Any],
    where: str,
    good: Mask | None,
    *,
    clip_negative: bool = False,
    meaning: str = "bad",
    undo: tuple[str, ...] = (),
) -> Cleaned:
    """Patterns (M, H, W) of any real type without numbers that are no counts.

    ``good`` (H, W) is what the file says, ``meaning`` a key of ``MEANINGS``, for the message about
    a mask of the opposite meaning. ``undo`` names the ways in which counts may be stored, see
    :mod:`ptychopinn.io.rescaled`.

    Raises
    ------
    InputError
        For such numbers in single patterns, which the message names; for negative ones that are no
        noise; for a mask that marks what it should leave.
    """
    if stored.dtype.kind == "b" and stored.size:
        if stored.all():
            raise InputError(
                f"{where} must hold real numbers, received True everywhere, as in a mask; give "
                "photon counts."
            )
        return Cleaned(stored.astype(np.uint8), good, (one_bit_finding(stored),))
    if stored.dtype.kind not in "iuf" or stored.ndim != 3 or not stored.size:
        return Cleaned(stored, good)
    gone = lost(stored, None if good is None or good.shape != stored.shape[1:] else ~good)
    if 2 * gone.sum() > len(gone):
        gone[:] = False  # most of them: then the numbers mean something else
    rest = stored[~gone] if gone.any() else stored
    few = rest[sampled(rest)]
    repair, findings = look(rest, few, where, good, clip_negative=clip_negative, meaning=meaning)
    repair = repair.undoing(few, undo)
    if gone.any():
        findings = (lost_finding(stored[gone][:100], np.flatnonzero(gone)), *findings)
    if repair.bad is not None or repair.clip or repair.undo or gone.any():
        patterns = stored.copy()
        patterns[gone] = 0
        wide = np.float32 if repair.undo and stored.dtype.itemsize < 4 else stored.dtype
        done = patterns.astype(wide, copy=False)
        for part in batches(patterns, 8):
            done[part] = repair.apply(patterns[part], np.arange(part.start, part.stop))
        patterns = done
    else:
        patterns = stored
    bad = np.zeros(stored.shape[1:], bool) if repair.bad is None else repair.bad
    if patterns.dtype.kind == "f":
        refuse_gaps(patterns, where)
    if repair.undo is not None:
        findings = (*findings, repair.undo.finding(float(patterns.max())))
    undone = repair.undo is not None
    return Cleaned(patterns, ~bad if bad.any() else good, findings, repair.clip, undone)


def sampled(patterns: PatternArray) -> NDArray[np.int64]:
    """Numbers of the patterns that are looked at first, spread over the scan."""
    m, *frame = patterns.shape
    size = max(1, int(np.prod(frame)) * patterns.dtype.itemsize)
    return sample_indices(m, max(4, min(SAMPLE, SAMPLE_BYTES // size)))


def look(
    patterns: PatternArray,
    few: NDArray[Any],
    where: str,
    good: Mask | None,
    *,
    clip_negative: bool,
    meaning: str,
    lowest: float | None = None,
    highest: float | None = None,
) -> tuple[Repair, tuple[Finding, ...]]:
    """What must be done to patterns (M, H, W), found on ``few`` of them and checked on all.

    The repair's bad pixels are those of the file and those without counts; None when neither is.
    ``lowest`` and ``highest`` are the smallest and the largest number of all, where they are known.
    """
    bad = np.zeros(few.shape[1:], bool) if good is None or good.shape != few.shape[1:] else ~good
    findings = []
    refuse_wrapped(few, ~bad, where)
    if lowest is None or lowest < 0:
        refuse_floored(few[:, ~bad], where)
    empty, names = _sentinels(patterns, few, bad, where)
    if empty.any():
        number = int(empty.sum())
        findings.append(
            Finding(
                SENTINELS,
                "mended",
                f"masked {number} of {empty.size} pixels, which hold {listed(names, 80)} in nearly "
                "all patterns: that stands for no measurement",
                {"pixels": number, "values": names},
            )
        )
    check_mask(few, bad, where, meaning)
    bad = bad | empty
    if highest is None or highest >= WIDEST[0]:
        struck, found = _in_some(patterns, bad, where)
        bad, findings = bad | struck, [*findings, *found]
    below = lowest is None or lowest < 0
    clip = negative(patterns, few, bad, where, clip_negative) if below else None
    if clip:
        findings.append(clip)
    return Repair(bad if bad.any() else None, bool(clip)), tuple(findings)


def _sentinels(
    patterns: PatternArray, few: NDArray[Any], bad: Mask, where: str
) -> tuple[Mask, list[str]]:
    """Pixels (H, W) that are not masked and hold one impossible number in nearly all patterns.

    Also these numbers, at most four, as texts.
    """
    empty = np.zeros(bad.shape, bool)
    suspect = sum((impossible(pattern) for pattern in few), np.zeros(bad.shape, np.int64))
    rows, columns = np.nonzero((suspect >= SUSPECT * len(few)) & ~bad)
    if not len(rows):
        return empty, []
    whole = np.concatenate([patterns[part][:, rows, columns] for part in batches(patterns, 8)])
    strange = impossible(whole)
    first = np.take_along_axis(whole, strange.argmax(axis=0)[None], axis=0)[0]
    same = strange & ((whole == first) | (no_number(whole) & no_number(first)))
    chosen = same.mean(axis=0) >= NEARLY_ALL
    for value in np.unique(first[chosen & ~no_number(first)]):
        # A gap's number is found in the gap; one that occurs all over is a shift of the counts.
        of_value = chosen & (first == value)
        elsewhere = ~bad
        elsewhere[rows[of_value], columns[of_value]] = False
        if value < 0 and (few[:, elsewhere] == value).sum() > 0.1 * of_value.sum() * len(few):
            chosen &= ~of_value
    usable = int((~bad).sum())
    if chosen.sum() > usable / 2:
        value = text_of_number(first[chosen][0])
        none = value in ("NaN", "infinity", "-infinity")
        rule = "finite numbers" if none else "photon counts >= 0"
        remedy = "check what the numbers are"
        if value == "-infinity":
            remedy = LOGARITHM
        raise InputError(
            f"{where} must hold {rule}, received {value} in nearly all patterns at "
            f"{int(chosen.sum())} of {usable} pixels, which are too many for gaps of a detector; "
            f"{remedy}."
        )
    empty[rows[chosen], columns[chosen]] = True
    return empty, list(dict.fromkeys(text_of_number(value) for value in first[chosen][:10_000]))[:4]


def _in_some(patterns: PatternArray, bad: Mask, where: str) -> tuple[Mask, list[Finding]]:
    """Pixels (H, W) that are not bad and hold a number of no counter in some patterns, and what is
    said about them."""
    struck, numbers, values = np.zeros(bad.shape, bool), [], []
    for part in batches(patterns, 8):
        block = patterns[part]
        found = beyond_counters(block) & ~bad
        if found.any():
            struck |= found.any(axis=0)
            numbers += (np.flatnonzero(found.any(axis=(1, 2))) + (part.start or 0)).tolist()
            values += [text_of_number(value) for value in np.unique(block[found])]
    count, usable = int(struck.sum()), int((~bad).sum())
    if not count:
        return struck, []
    values = list(dict.fromkeys(values))
    hold = f"hold {listed(values, 80)} in {named_patterns(numbers)}"
    if count > MOST_STRUCK * usable:
        raise InputError(
            f"{where} must hold photon counts, received {count} of {usable} pixels that {hold}: "
            "that stands for no measurement, and too many are left without any to mask them; leave "
            "these patterns out with the option frames."
        )
    words = f"masked {count} of {bad.size} pixels, which {hold}: that stands for no measurement"
    details = {"pixels": count, "values": values, "patterns": numbers[:50]}
    return struck, [Finding(SENTINELS, "mended", words, details)]


def check_mask(few: NDArray[Any], bad: Mask, where: str, meaning: str) -> None:
    """Raise InputError for a mask that marks the pixels with the counts.

    A beamstop, or a saturated centre that is masked, is a minority of the pixels.
    """
    part = float(bad.mean())
    if part == 1:
        raise InputError(
            f"the mask of {where} must leave the pixels that were measured, received one that "
            f"marks all {bad.size} pixels as bad; here {MEANINGS[meaning]}: invert it, or leave it "
            "out when no pixel is bad."
        )
    if part <= OPPOSITE_SMALL:
        return
    total = hidden = 0.0
    for pattern in few:
        counts = np.where(impossible(pattern), 0, pattern).astype(np.float64)
        total += float(counts.sum())
        hidden += float(counts[bad].sum())
    share = hidden / total if total > 0 else 0.0
    if seems_opposite(part, share):
        raise InputError(
            f"the mask of {where} must leave the pixels that were measured, received one that "
            f"masks {int(bad.sum())} of {bad.size} pixels, which hold {100 * share:.1f} % of the "
            f"counts, as if its meaning were the opposite; here {MEANINGS[meaning]}: invert it."
        )


def seems_opposite(part: float, share: float) -> bool:
    """Whether a mask that marks this part of the pixels as bad, which hold this share of the
    counts, has the opposite meaning."""
    return (part > OPPOSITE_PART and share > 0.5) or (
        part > OPPOSITE_SMALL and share > 1 - NO_COUNTS
    )


def refuse_gaps(patterns: PatternArray, where: str) -> None:
    """Raise InputError for NaN and infinity that are left, in single patterns."""
    found: list[int] = []
    number = below = above = 0
    largest = 0.0
    for part in batches(patterns, 8):
        block = patterns[part]
        gaps = ~np.isfinite(block)
        largest = max(largest, float(np.where(gaps, 0, block).max(initial=0)))
        each = gaps.sum(axis=(1, 2))
        if each.any():
            below += int(np.isneginf(block).sum())
            above += int(np.isposinf(block).sum())
        found += (np.flatnonzero(each) + (part.start or 0)).tolist()
        number += int(each.sum())
    if not number:
        return
    remedy = (
        "leave these patterns out, or mark such pixels as bad in the mask and store 0 there"
        if below < number
        else LOGARITHM
    )
    kind = "NaN or infinity" if below < number else "-infinity"
    if above == number:
        kind, remedy = "infinity", half_overflowed(largest) or remedy
    raise InputError(
        f"{where} must hold finite numbers (finite photon counts), received "
        f"{kind} {number} time(s) in "
        f"{named_patterns(found)}, at pixels that hold numbers in the others; {remedy}."
    )
