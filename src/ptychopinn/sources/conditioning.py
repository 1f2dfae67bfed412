"""Stored numbers to photon counts on the pixels of a pattern, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding, refused
from ptychopinn.data.orientation import Orientation
from ptychopinn.data.scan import LARGEST_COUNTS
from ptychopinn.data.wrapped import WrapTally
from ptychopinn.errors import InputError
from ptychopinn.io.base import BATCH_BYTES
from ptychopinn.io.no_counts import NEARLY_ALL, beyond_counters, half_overflowed, impossible, lost
from ptychopinn.io.signed import refuse_spoilt, refuse_wrapped
from ptychopinn.sources.cutting import Cut
from ptychopinn.sources.frames import Frames

# What detectors with 32 bits write where there is no pixel, also when it was copied into floats.
NO_PIXEL = float(2**32 - 1)
SQUARES_BELOW = 1e5
# Pixels that lack a measurement in some frames, and hold more of the light in others, are no gaps.
LOST_LIGHT = 0.15
WRAPPED: Literal["wrapped-counts"] = "wrapped-counts"


@dataclass
class Look:
    """What a sample of the stored frames shows.

    Attributes
    ----------
    mean : (H, W) mean of the values, 0 at pixels without any.
    hidden : (H, W) the same at pixels that were said to be bad.
    missing : (H, W), pixels that hold no measurement in at least one frame that holds any.
    lowest, largest : of the others.
    whole, near_whole : whether all values, or all their squares, are whole numbers.
    told : whether some squares are so large that they need not be near to one.
    """

    mean: NDArray[np.float64]
    hidden: NDArray[np.float64]
    missing: NDArray[np.bool_]
    lowest: float = 0.0
    largest: float = 0.0
    whole: bool = True
    near_whole: bool = True
    told: bool = False

    @property
    def squares_whole(self) -> bool:
        """Whether all squares are whole numbers, which small ones alone do not tell."""
        return self.near_whole and self.told

    def rolled(self, by: tuple[int, int]) -> Look:
        """The look at frames that are rolled by (y, x) pixels."""
        return replace(
            self,
            mean=np.roll(self.mean, by, (0, 1)),
            hidden=np.roll(self.hidden, by, (0, 1)),
            missing=np.roll(self.missing, by, (0, 1)),
        )


def no_measurement(block: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a detector says that it has no value: the largest integer, NaN, infinity."""
    if block.dtype.kind == "f":
        # Half precision does not reach it.
        top = block == NO_PIXEL if block.dtype.itemsize > 2 else False
        return ~np.isfinite(block) | top | beyond_counters(block)
    if block.dtype.kind == "b" or block.dtype.itemsize < 2:
        return np.zeros(block.shape, bool)
    found: NDArray[np.bool_] = block == np.iinfo(block.dtype).max
    if block.dtype.itemsize == 8:
        found |= (block == int(NO_PIXEL)) | beyond_counters(block)
    return found


def chunks(indices: NDArray[np.int64], frame_bytes: int) -> Iterator[slice]:
    """Slices of ``indices`` whose frames take about 32 MiB each."""
    size = max(1, BATCH_BYTES // max(1, frame_bytes))
    for start in range(0, len(indices), size):
        yield slice(start, min(start + size, len(indices)))


def look_at(frames: Frames, indices: NDArray[np.int64], bad: NDArray[np.bool_]) -> Look:
    """Look at some frames; pixels of ``bad`` (H, W) do not count, nor do frames without any value.

    Pixels below zero in all of them are missing: so integer detectors mark gaps. So are those that
    hold one number that stands for no count in nearly all.
    """
    _, height, width = frames.shape
    whole = (slice(0, height), slice(0, width))
    nothing = np.zeros((height, width))
    look = Look(nothing, nothing.copy(), np.zeros((height, width), bool))
    negative = np.ones((height, width), bool)
    lowest, counted = np.zeros((height, width)), np.zeros((height, width), np.int64)
    marks = _Marks(np.zeros((height, width), frames.dtype), np.zeros((height, width), np.int64))
    floats, seen, infinite = frames.dtype.kind == "f", 0, False
    for part in chunks(indices, height * width * max(4, frames.dtype.itemsize)):
        block = frames.read(indices[part], whole)
        if block.dtype.kind != "b":
            block = block[~lost(block, bad)]
        if not len(block):
            continue
        refuse_wrapped(block, ~bad, "patterns")
        seen += len(block)
        missing = no_measurement(block)
        missing |= bad
        values = np.where(missing, np.zeros((), block.dtype), block)
        check_possible(values, indices[part])
        look.missing |= missing.any(axis=0)
        look.mean += values.sum(axis=0, dtype=np.float64)
        counted += len(block) - missing.sum(axis=0)
        look.largest = max(look.largest, float(values.max()))
        if values.dtype.kind in "fi":
            negative &= ((values < 0) | missing).all(axis=0)
            lowest = np.minimum(lowest, values.min(axis=0))
        if floats:
            infinite = infinite or bool(np.isposinf(block[:, ~bad]).any())
            _look_at_fractions(look, values.astype(np.float64))
        if block.dtype.kind != "b":
            marks.count(block)
            masked = block[:, bad]
            look.hidden[bad] += np.where(impossible(masked), 0, masked).sum(axis=0) / len(indices)
    if not seen:
        return look
    look.mean /= np.maximum(counted, 1)
    _refuse_lost_light(look, infinite)
    look.missing |= negative & (lowest < 0)
    marked = marks.times >= NEARLY_ALL * seen
    # Of the light of a beam that saturates every time nothing is known either.
    if 2 * np.count_nonzero(marked & ~bad) < np.count_nonzero(~bad):
        look.missing |= marked
    look.missing &= ~bad
    look.mean = np.where(look.missing, 0.0, look.mean)
    look.lowest = float(lowest[~look.missing].min(initial=0.0))
    return look


def _refuse_lost_light(look: Look, infinite: bool) -> None:
    """Raise InputError where pixels without a measurement in some frames hold much of the light in
    the others: most often these are readings that were too large, and no gaps."""
    light = np.maximum(look.mean, 0)
    share = float(light[look.missing].sum() / max(light.sum(), 1e-300))
    if share <= LOST_LIGHT:
        return
    number, what = int(look.missing.sum()), "NaN or the largest number of their type"
    remedy = (
        "store the largest reading where one was too large, which is then taken as saturated, or "
        "leave such patterns out with the option leave_out"
    )
    if infinite:
        what, remedy = "infinity", half_overflowed(look.largest) or remedy
    raise InputError(
        f"patterns must hold finite counts where the light falls, received {what} in some patterns "
        f"at {number} of {look.missing.size} pixels, which hold {share:.0%} of the light in the "
        f"others; {remedy}."
    )


def check_possible(block: NDArray[Any], numbers: NDArray[np.int64]) -> None:
    """Raise InputError for patterns (k, h, w) with these ``numbers`` of more counts than there are.

    A single damaged number would be lost, or all others, where they are written.
    """
    if not block.size or float(block.max()) <= LARGEST_COUNTS / block[0].size:
        return
    with np.errstate(over="ignore"):
        sums = block.sum(axis=(1, 2), dtype=np.float64)
    k = int(sums.argmax())
    if sums[k] > LARGEST_COUNTS:
        raise InputError(
            f"patterns must hold at most 2^53 counts each, received {sums[k]:.4g} in pattern "
            f"{int(numbers[k])}, of which {float(block[k].max()):.4g} in one pixel; leave it out "
            "with the option leave_out, or mark bad pixels with the option mask."
        )


@dataclass
class _Marks:
    """The first impossible number of each pixel (H, W), and how many frames hold it."""

    first: NDArray[Any]
    times: NDArray[np.int64]

    def count(self, block: NDArray[Any]) -> None:
        for frame in block:
            strange = impossible(frame)
            new = strange & (self.times == 0)
            self.first[new] = frame[new]
            self.times += strange & (frame == self.first)


def _look_at_fractions(look: Look, values: NDArray[np.float64]) -> None:
    look.whole = look.whole and bool((values == np.rint(values)).all())
    if look.near_whole:
        small = values[np.abs(values) < np.sqrt(SQUARES_BELOW)] ** 2
        look.told = look.told or bool((small > 0.5).any())
        off = np.abs(small - np.rint(small))
        look.near_whole = bool((off <= 1e-4 + 3e-7 * small).all())


@dataclass
class Conditioned:
    """Patterns of a source as counts (M, N, N), read block by block.

    Attributes
    ----------
    frames, indices : where they lie, and which of them are taken.
    orientation, cut : which stored pixels they are made of.
    bad : (H, W) bad stored pixels; those that a frame shows to be without measurement are added.
    dark, flat : (H, W), subtracted and divided by.
    amplitude : whether the stored numbers are sqrt(counts).
    clip : whether values below zero become zero.
    watch : whether counts that began again at 0 are looked for, which nobody sees afterwards.
    sum, lost : of the patterns read last, their sum, and how many hold no value and became 0.
    """

    frames: Frames
    indices: NDArray[np.int64]
    orientation: Orientation
    cut: Cut
    bad: NDArray[np.bool_]
    dark: NDArray[np.float64] | None = None
    flat: NDArray[np.float64] | None = None
    amplitude: bool = False
    clip: bool = False
    watch: bool = False
    sum: NDArray[np.float64] = field(init=False)
    lost: int = field(init=False, default=0)
    _tally: WrapTally | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.window = self.orientation.stored_window(
            self.cut.rows, self.cut.columns, (self.bad.shape[0], self.bad.shape[1])
        )
        self.sum = np.zeros((self.cut.n, self.cut.n))

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.indices), self.cut.n, self.cut.n

    def blocks(self, indices: NDArray[np.int64] | None = None) -> Iterator[Any]:
        """Pairs of a slice of the patterns and their counts (k, N, N); ``sum`` adds them up.

        Raises
        ------
        InputError
            For impossible counts, and at the end for those that began again at 0.
        """
        wanted = self.indices if indices is None else indices
        self.sum, self.lost = np.zeros((self.cut.n, self.cut.n)), 0
        self._tally = WrapTally(self.bad[self.window].shape) if self.watch else None
        for part in chunks(wanted, self._frame_bytes()):
            block = self.counts(self.frames.read(wanted[part], self.window))
            check_possible(block, wanted[part])
            self.sum += block.sum(axis=0, dtype=np.float64)
            yield part, block
        self.refuse_wrapped(self._tally)

    def refuse_wrapped(self, tally: WrapTally | None) -> None:
        """Raise InputError where readings that were added began again at 0."""
        found = None if tally is None else tally.found(~self.bad[self.window])
        if found is not None:
            raise InputError(refused(Finding(WRAPPED, "fault", found.message)))

    def steps(self) -> int:
        """How many blocks :meth:`blocks` goes through."""
        return sum(1 for _ in chunks(self.indices, self._frame_bytes()))

    def _frame_bytes(self) -> int:
        """What a frame takes in memory while it is worked on."""
        edge = self.cut.n * self.cut.binning
        _, height, width = self.frames.shape
        # Compressed frames are unpacked as a whole, whatever the window.
        pixels = max(edge**2, height * width // 4)
        busy = 8 if self.cut.binning > 1 or self.dark is not None or self.amplitude else 4
        return pixels * max(busy, self.frames.dtype.itemsize)

    def counts(self, block: NDArray[Any]) -> NDArray[Any]:
        """Counts (k, N, N) of stored frames (k, h, w), which are those of the window.

        Raises
        ------
        InputError
            For values below zero that nobody allowed to clip.
        """
        bad = self.bad[self.window]
        if block.dtype.kind != "b" and (gone := lost(block, bad)).any():
            block = np.where(gone[:, None, None], np.zeros((), block.dtype), block)
            self.lost += int(gone.sum())
        missing = no_measurement(block)
        if missing.any():
            bad = bad | missing.any(axis=0)
            self.bad[self.window] = bad
        if bad.any():
            block = np.where(missing | bad, 0, block)
        if self._tally is not None:
            self._tally.add(block, ~bad)
        if block.dtype.kind == "b":
            block = block.astype(np.uint8)
        clipped_unasked = not self.clip or self.dark is not None
        if clipped_unasked and block.dtype.kind == "i" and block.size and block.min() < 0:
            refuse_spoilt(block, ~bad, "patterns")
        if self.dark is not None or self.flat is not None:
            values = block.astype(np.float64)
            if self.dark is not None:
                values -= self.dark[self.window]
            if self.flat is not None:
                values /= np.where(bad, 1.0, self.flat[self.window])
            block = np.where(bad, 0.0, values)
        if block.dtype.kind in "if" and block.size and block.min() < 0:
            if not self.clip:
                raise InputError(
                    f"patterns must hold values >= 0, received {block.min():.6g}; give "
                    "clip_negative=True to set such values to 0, or dark=... to subtract the "
                    "offset."
                )
            block = np.maximum(block, 0)
        if self.amplitude:
            with np.errstate(over="ignore"):
                block = block.astype(np.float64) ** 2
        return self.cut.pick(self.orientation.of_frames(block))

    def mask(self) -> NDArray[np.bool_]:
        """(N, N), True at good pixels, by what is known so far."""
        return ~self.cut.bad(self.orientation.of_frames(self.bad[self.window]))


class Wider(Exception):
    """Patterns do not fit into the numbers that were chosen for them; ``dtype`` holds them."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self.dtype = np.dtype(dtype)


def fitted(block: NDArray[Any], dtype: np.dtype[Any], squares: bool) -> NDArray[Any]:
    """Counts as ``dtype``, without loss for whole numbers; ``squares`` are rounded if nearly whole.

    Raises
    ------
    Wider
        When they do not fit.
    """
    if dtype.kind == "f":
        return block.astype(dtype)
    if block.dtype.kind == "f":
        near = np.rint(block)
        tolerance = 1e-4 + 3e-7 * block if squares else 0.0
        if (np.abs(block - near) > tolerance).any():
            raise Wider("f4")
        block = near
    if block.size and float(block.max()) > np.iinfo(dtype).max:
        raise Wider("u4" if dtype.itemsize < 4 and float(block.max()) < 2**32 else "f4")
    return block.astype(dtype)
