"""A record as it was stored, made usable: axes, pairs, units and pixels without counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.data.scan import N_MAX, PatternArray, check_counts
from ptychopinn.errors import InputError
from ptychopinn.io.base import ReadOptions
from ptychopinn.io.counts import counts_from_array
from ptychopinn.io.detector import clean
from ptychopinn.io.examined import examined
from ptychopinn.io.layout import modes_first
from ptychopinn.io.lazy import LazyPatterns, taken
from ptychopinn.io.pairing import chosen, cut_short
from ptychopinn.io.quantities import METRES, check_numbers
from ptychopinn.io.record import Patterns, Product, Record, object_pixel_of, pixel_known
from ptychopinn.io.rescaled import ways_to_undo

# Positions that extend over more object pixels than this are in another unit than they say.
LARGEST_SPAN, SMALLEST_STEP = 1e5, 0.5
UNPAIRED, INTERPOLATED = "unpaired-patterns", "interpolated-positions"
CONTRADICTION = "pixel-contradiction"
# Programs round, and take the distance along the beam or along the normal of the detector.
AGREEING = 0.1
# What to do with counts that look like their roots.
AMPLITUDES = "if they are, pass units='amplitude'"


def usable(record: Record, options: ReadOptions, path: Path) -> Record:
    """The record with probe modes first, patterns chosen and paired, and counts in all pixels.

    What was mended is added to its findings. Doing it twice changes nothing.

    Raises
    ------
    InputError
        When numbers cannot be what they are said to be, see the modules of the single steps.
    """
    where = f"'{path}'"
    product, patterns = record.product, record.patterns
    pixel = product.object_pixel_m if pixel_known(product) else None
    detector = None if patterns is None else patterns.detector_pixel_m
    check_numbers(product.metadata, pixel, None if pixel is None else detector, where)
    if patterns is None:
        return record
    if product.probe is not None:
        product = replace(product, probe=modes_first(product.probe, patterns.counts.shape[-1]))
    if pixel is not None:
        _check_span(product.positions_m, pixel, where)
    patterns, product, cut = _chosen(patterns, product, record.in_order, options.frames, where)
    counts, good, found = _counts(record, patterns, options, f"the patterns in {where}")
    bad = patterns.bad_pixels if good is None else ~good
    found = (*cut, *found, *_contradiction(record, pixel, detector))
    return replace(
        record,
        patterns=replace(patterns, counts=counts, bad_pixels=bad),
        product=product,
        # Of a record that was made usable before they are known.
        findings=record.findings + tuple(one for one in found if one not in record.findings),
    )


def _counts(
    record: Record, patterns: Patterns, options: ReadOptions, where: str
) -> tuple[PatternArray, NDArray[np.bool_] | None, tuple[Finding, ...]]:
    """Patterns that hold counts only, the good pixels (None: all), and what was mended."""
    good = ~patterns.bad_pixels if patterns.bad_pixels.any() else None
    clip, meaning = options.clip_negative, record.mask_meaning
    undo = ways_to_undo(options.units)
    if isinstance(patterns.counts, LazyPatterns):
        return examined(
            patterns.counts, where, good, clip_negative=clip, meaning=meaning,
            remedy=AMPLITUDES, undo=undo,
        )  # fmt: skip
    stored = np.asarray(patterns.counts)
    cleaned = clean(stored, where, good, clip_negative=clip, meaning=meaning, undo=undo)
    counts = cleaned.patterns
    if options.units == "amplitude":
        counts = counts_from_array(counts, where, "amplitude")
    check_counts(counts, where)
    return counts, cleaned.good, cleaned.findings


def _contradiction(
    record: Record, pixel: tuple[float, float] | None, detector: tuple[float, float] | None
) -> tuple[Finding, ...]:
    """What to say where the numbers of the experiment do not give the pixel of the object."""
    metadata, patterns = record.product.metadata, record.patterns
    if pixel is None or detector is None or patterns is None:
        return ()
    follows = object_pixel_of(detector, patterns.counts.shape[-1], metadata)
    if follows is None or abs(follows[1] / pixel[1] - 1) <= AGREEING:
        return ()
    words = (
        f"the object pixel is said to be {pixel[1]:.4g} m, but energy, distance and the pixel of "
        f"the detector give {follows[1]:.4g} m: one of these numbers is wrong; the first is taken"
    )
    details = {"pixel_size_m": pixel[1], "follows_m": follows[1]}
    return (Finding(CONTRADICTION, "doubt", words, details),)


def _chosen(
    patterns: Patterns, product: Product, in_order: bool, frames: slice | None, where: str
) -> tuple[Patterns, Product, tuple[Finding, ...]]:
    """The patterns that the option frames chooses, and their positions where order pairs them; and
    what is said about it."""
    m, q = len(patterns.counts), len(product.positions_m)
    counted = _counted(patterns.indexes) and _counted(product.indexes)
    in_order = in_order or (counted and frames is not None)
    if in_order:
        rows, places = chosen(
            m, q, frames, where, read=patterns.counts.__getitem__, values=product.positions_m
        )
    elif frames is None:
        return patterns, product, ()
    else:
        # Positions have their own numbers: those without pattern are left out when pairing.
        rows, places = np.arange(m)[frames], np.arange(q)
        if not len(rows):
            chosen(m, m, frames, where)
    if len(rows) < m:
        patterns = replace(
            patterns,
            counts=taken(patterns.counts, rows),
            indexes=np.arange(len(rows)) if in_order else patterns.indexes[rows],
            photon_counts=_rows(patterns.photon_counts, rows),
        )
    if len(places) < q:
        product = replace(
            product,
            indexes=np.arange(len(places)),
            positions_m=product.positions_m[places],
            opr_weights=_rows(product.opr_weights, places),
            photon_counts=_rows(product.photon_counts, places),
        )
    return patterns, product, cut_short(frames, max(m, q) if in_order else m)


def _counted(indexes: NDArray[np.int64]) -> bool:
    """Whether numbers say no more than the order."""
    return bool((indexes == np.arange(len(indexes))).all())


def _rows(values: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if values is None else values[rows]


def _check_span(positions_m: NDArray[np.float64], pixel: tuple[float, float], where: str) -> None:
    """Raise InputError for positions that extend over more pixels than any scan."""
    if len(positions_m) < 2:
        return
    # A single position far away is another fault; the scan names it.
    low, high = np.quantile(positions_m, [0.05, 0.95], axis=0)
    span = float((high - low).max())
    if span <= LARGEST_SPAN * min(pixel):
        return
    # From one position to the next it is less than a pattern.
    step = float(np.median(np.abs(np.diff(positions_m, axis=0)).max(axis=1))) / min(pixel)
    near = [u for u, size in METRES.items() if SMALLEST_STEP <= step * size <= N_MAX]
    looks = f"they look like {near[0]}: state that in the attribute units" if near else ""
    raise InputError(
        f"the positions in {where} must be in metres, received a span of {span:.4g} m, which is "
        f"{span / min(pixel):.3g} object pixels of {min(pixel):.3g} m; "
        f"{looks or 'correct their unit or the pixel size'}."
    )


def pairing_findings(changes: dict[str, int], patterns: int) -> tuple[Finding, ...]:
    """What pairing by indexes left out or made up; ``changes`` as ``record_scan.paired`` counts."""
    found = []
    left = changes.get("patterns_without_position", 0)
    if left:
        found.append(
            Finding(
                UNPAIRED,
                "doubt",
                f"left out {left} of {patterns} patterns, whose numbers are before the first or "
                "after the last position; where others are too many, say so with the option "
                f"frames, as in frames='{left}:'",
                {"patterns": left},
            )
        )
    between = changes.get("positions_interpolated", 0)
    if between:
        found.append(
            Finding(
                INTERPOLATED,
                "doubt",
                f"{between} of {patterns} patterns have no position of their own; theirs are "
                "interpolated between the neighbours, check that both files are of one scan",
                {"patterns": between},
            )
        )
    return tuple(found)
