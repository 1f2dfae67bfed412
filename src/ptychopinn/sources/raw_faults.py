"""Faults of stored readings that nobody would see any more once they are corrected and binned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.byte_order import (
    Swapped,
    SwappedFloats,
    absurd_as_stored,
    opposite_order,
    whole_as_fractional,
)
from ptychopinn.data.findings import Finding
from ptychopinn.data.saturation import PileUp
from ptychopinn.data.wrapped import WrapTally
from ptychopinn.errors import InputError
from ptychopinn.io.no_counts import one_bit_finding
from ptychopinn.io.rescaled import LOGARITHMS, Stored, how_stored, refuse_floored, ways_to_undo
from ptychopinn.physics.readout import noise_by_steps
from ptychopinn.sources.conditioning import WRAPPED, Conditioned, chunks, no_measurement
from ptychopinn.sources.frames import ChangedFrames, Frames, Window
from ptychopinn.sources.recipe import Recipe

# Stored readings that are looked at for the order of their bytes, and for the size of a photon.
ORDER_READINGS, PHOTON_READINGS = 1 << 22, 1 << 20
# Patterns that tell how counts were stored: so many, and more of small ones up to so many pixels.
SCALE_FRAMES, SCALE_PIXELS = 16, 1 << 18
# So many times the brightest pixels are left out, where they are few, to find the level of others.
ALONE = 20
# A pixel without a count is dead where others on both sides, so near, had so many photons.
FARTHEST, DUE = 3, 30.0
# Dark frames that are larger than this share of the readings take away light, when what becomes
# negative is this share of the counts.
DARK_BELOW, DARK_LOST = 0.6, 0.02
# A flat field whose median is not within these factors of 1 is in the unit of its detector.
FLAT_WITHIN = 2.0


@dataclass(frozen=True)
class SwappedFrames(ChangedFrames):
    """Patterns whose bytes are put in the opposite order."""

    swap: Swapped | SwappedFloats

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`~ptychopinn.sources.frames.Frames`."""
        return self.swap(self.source.read(indices, window))


@dataclass(frozen=True)
class UndoneFrames(ChangedFrames):
    """Patterns that were stored in another way than as counts, as counts; ``bad`` is (H, W)."""

    stored: Stored
    bad: NDArray[np.bool_]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.promote_types(self.source.dtype, np.float32)

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`~ptychopinn.sources.frames.Frames`."""
        # A factor of each pattern is seen in all of it.
        block = self.source.read(indices, _whole(self.source))
        gaps = no_measurement(block)
        counts = self.stored(np.where(gaps, 0, block), self.bad, indices)
        return np.where(gaps, block, counts.astype(self.dtype))[:, window[0], window[1]]


def as_counts(
    frames: Frames, sample: NDArray[np.int64], bad: NDArray[np.bool_], recipe: Recipe
) -> tuple[Frames, tuple[Finding, ...]]:
    """The frames as counts, where a sample of them shows that they were stored in another way, or
    with their bytes swapped."""
    if frames.dtype.kind == "b":
        return frames, (one_bit_finding(frames.read(sample, _whole(frames)).astype(bool)),)
    if frames.dtype.kind != "f":
        return in_order(frames, sample, ~bad) if recipe.mends("swapped-bytes") else (frames, ())
    ways = ways_to_undo(recipe.units)
    if recipe.dark is not None:
        # A dark frame would be in the scale of the stored numbers.
        ways = tuple(way for way in ways if way in LOGARITHMS)
    enough = max(SCALE_FRAMES, SCALE_PIXELS // bad.size)
    numbers = sample[:: max(1, len(sample) // enough)]
    few = frames.read(numbers, _whole(frames))
    refuse_floored(few[:, ~bad], "patterns")
    few = np.where(no_measurement(few), 0, few)
    stored = how_stored(few, bad, ways)
    if stored is None:
        return frames, ()
    largest = float(stored(few, bad, numbers).max())
    return UndoneFrames(frames, stored, bad), (stored.finding(largest),)


def with_right_bytes(
    frames: Frames, sample: NDArray[np.int64], bad: NDArray[np.bool_]
) -> tuple[Frames, tuple[Finding, ...]]:
    """Fractional numbers with their bytes swapped back, before anybody takes them for numbers; of
    whole ones the rest of the look tells more."""
    if frames.dtype.kind != "f":
        return frames, ()
    few = sample[:: max(1, len(sample) * bad.size // ORDER_READINGS)]
    seen = frames.read(few, _whole(frames))[:, ~bad]
    largest = whole_as_fractional(seen)
    if largest is not None:
        raise InputError(
            "the patterns must be of the type that their file says, received fractional numbers of "
            f"{seen.dtype.itemsize} bytes that are all below 1e-30, as whole numbers (up to "
            f"{largest}) are when they are read so; write them anew as fractional numbers, or as "
            "whole ones in a format that states its type (NPY, HDF5, TIFF)."
        )
    absurd = absurd_as_stored(seen)
    if absurd is None:
        return frames, ()
    words = (
        f"the bytes of the patterns are in the opposite order: swapped, as {absurd}; write them "
        "anew in the order that the file states (little or big endian)."
    )
    return SwappedFrames(frames, SwappedFloats()), (Finding("swapped-bytes", "mended", words),)


def in_order(
    frames: Frames, sample: NDArray[np.int64], good: NDArray[np.bool_]
) -> tuple[Frames, tuple[Finding, ...]]:
    """The frames with their bytes swapped back, where some of them show that they are swapped."""
    if frames.dtype.kind != "u":
        return frames, ()
    few = sample[:: max(1, len(sample) * good.size // ORDER_READINGS)]
    found = opposite_order(frames.read(few, _whole(frames)), good)
    if found is None:
        return frames, ()
    said = Finding("swapped-bytes", "mended", found.message, found.details)
    return SwappedFrames(frames, Swapped(found.width)), (said,)


def flat_field(flat: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """A flat field (H, W) as factors about 1: one in counts would divide all of them away."""
    usable = flat[np.isfinite(flat) & (flat > 0)]
    middle = float(np.median(usable)) if usable.size else 1.0
    said: tuple[Finding, ...] = ()
    if usable.size < flat.size:
        bad = flat.size - usable.size
        words = (
            f"masked {bad} of {flat.size} pixels, where the flat field is 0, negative or no number."
        )
        said = (Finding("flat-field", "mended", words, {"pixels": bad}),)
    if 1 / FLAT_WITHIN <= middle <= FLAT_WITHIN:
        return flat, said
    message = (
        f"the flat field has a median of {middle:.6g}: it was divided by that, so that the "
        "patterns stay counts of photons."
    )
    return flat / middle, (*said, Finding("flat-field", "mended", message, {"median": middle}))


def hidden_faults(
    patterns: Conditioned, sample: NDArray[np.int64], recipe: Recipe
) -> tuple[NDArray[np.bool_], float | None, tuple[Finding, ...]]:
    """Of patterns whose counts are others than were read, or sums of several readings: dead pixels
    (H, W), from which prepared counts on readings may be saturated, and what is said about both.

    Raises
    ------
    InputError
        For counts that began again at 0 where the numbers that store them end.
    """
    dead = np.zeros(patterns.bad.shape, bool)
    corrected = patterns.dark is not None or patterns.flat is not None
    if patterns.amplitude or not (corrected or patterns.cut.binning > 1):
        return dead, None, ()
    if recipe.mends(WRAPPED) and patterns.frames.dtype.kind == "u":
        # The others are looked at while they are read, these at once.
        patterns.watch = True
        tally, good = WrapTally(patterns.bad[patterns.window].shape), ~patterns.bad[patterns.window]
        for part in chunks(sample, _bytes(patterns.frames)):
            tally.add(patterns.frames.read(sample[part], patterns.window), good)
        patterns.refuse_wrapped(tally)
    photon = _photon(patterns, sample)
    found: tuple[Finding, ...] = ()
    if patterns.cut.binning > 1 and recipe.mends("dead-pixels"):
        dead = _dead_within(patterns, sample, DUE * photon)
        found = (_dead_finding(dead),) if dead.any() else ()
    if not recipe.mends("saturated-pixels"):
        return dead, None, found
    level, said = _saturation(patterns, sample, photon)
    return dead, level, (*found, *said)


def _photon(patterns: Conditioned, sample: NDArray[np.int64]) -> float:
    """What one photon reads, or the noise of a reading where that is more; 1 where none tells."""
    good = ~patterns.bad[patterns.window]
    if not good.any():
        return 1.0
    some = sample[:: max(1, len(sample) * good.size // PHOTON_READINGS)]
    block = patterns.frames.read(some, patterns.window).astype(np.float32)
    noise = noise_by_steps(block, good)
    return 1.0 if noise is None else max(noise.photon, noise.readout)


def _dead_within(patterns: Conditioned, sample: NDArray[np.int64], due: float) -> NDArray[np.bool_]:
    """(H, W) pixels that never count between others that do: in a binned one it is not seen."""
    total = np.zeros(patterns.bad.shape)
    whole = _whole(patterns.frames)
    for part in chunks(sample, _bytes(patterns.frames)):
        block = patterns.frames.read(sample[part], whole)
        total += np.where(block > 0, block, 0).sum(axis=0, dtype=np.float64)
    silent = (total == 0) & ~patterns.bad
    lit = (total >= due) & ~patterns.bad
    dead = np.zeros(silent.shape, bool)
    for axis in (0, 1):
        dead |= _near(lit, axis, 1) & _near(lit, axis, -1)
    dead &= silent
    # Of a line that counts nowhere the ends are dead as well, where little light falls.
    nowhere = (total == 0) | patterns.bad
    for axis in (0, 1):
        dead |= np.expand_dims(nowhere.all(axis=axis) & dead.any(axis=axis), axis)
    return dead & ~patterns.bad


def _dead_finding(dead: NDArray[np.bool_]) -> Finding:
    places = np.argwhere(dead)
    some = ", ".join(f"({y}, {x})" for y, x in places[:6])
    more = f" and {len(places) - 6} more" if len(places) > 6 else ""
    message = (
        f"masked {len(places)} pixel{'s' if len(places) > 1 else ''} of the detector that never "
        f"count between others that do, before they were binned: at (y, x) = {some}{more}."
    )
    details = {"count": len(places), "pixels": places[:50].tolist()}
    return Finding("dead-pixels", "mended", message, details)


def _saturation(
    patterns: Conditioned, sample: NDArray[np.int64], photon: float
) -> tuple[float | None, tuple[Finding, ...]]:
    """Saturated readings are equal as they are stored, and all different when a dark frame was
    subtracted, a flat field divided by, or pixels were added up."""
    frames, window = patterns.frames, patterns.window
    good = ~patterns.bad[window]
    if not good.any():
        return None, ()
    parts = [sample[part] for part in chunks(sample, _bytes(frames))]
    largest = np.zeros(good.shape)
    for part in parts:
        np.maximum(largest, frames.read(part, window).max(axis=0), out=largest)
    for _ in range(ALONE):
        piled = PileUp(float(largest[good].max(initial=0.0)), photon, good)
        if piled.worth_counting(largest):
            break
        # A few pixels have more than all others: those are hot, or were struck.
        good = good & (largest <= piled.edge)
    else:
        return None, ()
    for part in parts:
        piled.add(frames.read(part, window))
    if not piled.clear:
        return None, ()
    # The dark frame lowers them, the flat field may: any reading from the least on may be one.
    lowest = np.inf
    blind = replace(patterns)
    for part in parts:
        block = frames.read(part, window)
        full = piled.full(block)
        struck = full.any(axis=(1, 2))
        if not struck.any():
            continue
        counts = blind.counts(block[struck])
        which = patterns.cut.pick(patterns.orientation.of_frames(full[struck].astype(np.uint8)))
        lowest = min(lowest, _least(counts[(which > 0) & blind.mask()]))
    if not np.isfinite(lowest) or lowest <= 0:
        return None, ()
    count = int(piled.pixels.sum())
    message = (
        f"readings of {count} pixels of the detector pile up at {piled.top:.6g}: they are taken as "
        f"saturated, and prepared counts from {lowest:.6g} on as lower bounds of what was there."
    )
    details = {"count": count, "readings": piled.readings, "counts": lowest}
    return lowest, (Finding("saturated-pixels", "mended", message, details),)


def _least(values: NDArray[Any]) -> float:
    return float(values.min()) if values.size else np.inf


def _near(lit: NDArray[np.bool_], axis: int, side: int) -> NDArray[np.bool_]:
    """Where a lit pixel is on this side along an axis, not far away."""
    found = np.zeros(lit.shape, bool)
    for away in range(1, FARTHEST + 1):
        moved = np.roll(lit, side * away, axis)
        edge = slice(0, away) if side > 0 else slice(-away, None)
        moved[(edge, slice(None)) if axis == 0 else (slice(None), edge)] = False
        found |= moved
    return found


def _whole(frames: Frames) -> Window:
    _, height, width = frames.shape
    return slice(0, height), slice(0, width)


def _bytes(frames: Frames) -> int:
    _, height, width = frames.shape
    return height * width * max(8, frames.dtype.itemsize)


def dark_frames(
    frames: Frames, sample: NDArray[np.int64], dark: NDArray[np.float64], bad: NDArray[np.bool_]
) -> tuple[Finding, ...]:
    """What is said about dark frames (H, W) that take away more than noise: readings without light
    are as often above them as below, and what is below is little."""
    few = sample[:: max(1, len(sample) // SCALE_FRAMES)]
    block = frames.read(few, _whole(frames))
    values = np.where(no_measurement(block), np.nan, block.astype(np.float64)) - dark
    values = values[:, ~bad]
    values = values[np.isfinite(values)]
    if not values.size:
        return ()
    below = float((values < 0).mean())
    lost = float(-values[values < 0].sum() / max(values[values > 0].sum(), 1e-300))
    if below <= DARK_BELOW or lost <= DARK_LOST:
        return ()
    words = (
        f"the dark frames are larger than {below:.0%} of the readings, and what is below zero, "
        f"which becomes 0, is {lost:.0%} of the counts that are left: check that they are of the "
        "same exposure and gain, and no patterns"
    )
    return (Finding("dark-frames", "doubt", words, {"below": below, "lost": lost}),)
