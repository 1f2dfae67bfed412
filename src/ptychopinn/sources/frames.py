"""Patterns where they lie: read by numbers and a window, never as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.hdf5 import REAL, Reader, reading
from ptychopinn.io.reading import damaged, guarded
from ptychopinn.machine.memory import check_memory

Window = tuple[slice, slice]


class Frames(Protocol):
    """Stored patterns (M, H, W), real numbers of any type."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """Patterns with these numbers, in rising order, of each the window (rows, columns)."""


def runs(indices: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Neighbours among the numbers: where each run begins in the answer, and what it reads."""
    starts = np.flatnonzero(np.diff(indices, prepend=-2) != 1)
    for start, stop in zip(starts, np.append(starts[1:], len(indices)), strict=True):
        yield int(start), slice(int(indices[start]), int(indices[stop - 1]) + 1)


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in the byte order of this machine."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class ArrayFrames:
    """Patterns in memory; leading axes of a scan count as one."""

    array: NDArray[Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        *lead, height, width = self.array.shape
        return prod(lead), height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`Frames`."""
        return native(self.array.reshape(self.shape)[indices][:, window[0], window[1]])


@dataclass(frozen=True)
class StoredFrames:
    """Patterns in an array that can be sliced: a dataset of HDF5 or Zarr.

    ``stored`` is its shape (..., H, W), or (..., W, H) when ``swapped``, as MATLAB writes it, or
    (H, W, ...) when the scan comes ``last``, and (W, H, ...) when both are so. Numbers that are
    ``fill`` stand for no measurement, and are read as the largest integer or NaN.
    """

    path: Path
    key: str
    stored: tuple[int, ...]
    dtype: np.dtype[Any]
    swapped: bool = False
    last: bool = False
    fill: float | None = None

    @property
    def lead(self) -> tuple[int, ...]:
        """The axes of the scan."""
        return self.stored[2:] if self.last else self.stored[:-2]

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width = self.stored[:2] if self.last else self.stored[-2:]
        count = prod(self.lead)
        return (count, width, height) if self.swapped else (count, height, width)

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`Frames`."""
        with reading(self.path, again=True) as file:
            return self._read(file.dataset(self.key, REAL), indices, window)

    def _read(self, array: Any, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        if array.shape != self.stored:
            raise InputError(
                f"'{self.key}' in '{self.path}' must stay as it was when it was opened, received "
                "another shape; begin again when nobody writes the file."
            )
        first, second = window[::-1] if self.swapped else window
        parts = []
        for _, run in runs(indices):
            for corner, last in self._rows(run):
                if self.last:
                    block = np.asarray(array[(first, second, *corner, last)])
                    parts.append(np.moveaxis(block, -1, 0))
                    continue
                parts.append(np.asarray(array[(*corner, last, first, second)]))
        block = native(np.concatenate(parts) if len(parts) > 1 else parts[0])
        if self.fill is not None:
            none = np.nan if block.dtype.kind == "f" else np.iinfo(block.dtype).max
            block = np.where(block == self.fill, block.dtype.type(none), block)
        return np.swapaxes(block, 1, 2) if self.swapped else block

    def _rows(self, run: slice) -> Iterator[tuple[tuple[int, ...], slice]]:
        """A run of patterns as places on all leading axes but the last, and a run on that."""
        lead = self.lead
        if len(lead) == 1:
            yield (), run
            return
        at = run.start
        while at < run.stop:
            *corner, column = (int(v) for v in np.unravel_index(at, lead))
            length = min(run.stop - at, lead[-1] - column)
            yield tuple(corner), slice(column, column + length)
            at += length


def frames_in(file: Reader, key: str, swapped: bool = False) -> StoredFrames:
    """The patterns under a key of an open HDF5 file.

    Raises
    ------
    InputError
        When there are none, or they are declared only.
    """
    stored = file.stored(key, REAL)
    file.check_unpacked(key)
    check_frames(stored.shape, stored.dtype, f"'{key}' in '{file.path}'")
    fill = file.fill_of(key) if stored.dtype.itemsize > 1 else None
    return StoredFrames(file.path, key, stored.shape, stored.dtype, swapped, fill=fill)


@dataclass(frozen=True)
class RawFrames:
    """Patterns one after the other in a file of plain numbers.

    ``stride`` is the distance of two patterns in bytes, ``offset`` that of the first; ``stored``
    is the shape of the array, where it is one.
    """

    path: Path
    offset: int
    stride: int
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    stored: tuple[int, ...] = ()

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`Frames`."""
        _, height, width = self.shape
        rows = range(*window[0].indices(height))
        first = rows.start * width * self.dtype.itemsize
        count = len(rows) * width
        columns = len(range(*window[1].indices(width)))
        block = np.empty((len(indices), len(rows), columns), self.dtype.newbyteorder("="))
        with guarded(self.path), self.path.open("rb") as file:
            for k, index in enumerate(indices):
                file.seek(self.offset + int(index) * self.stride + first)
                content = file.read(count * self.dtype.itemsize)
                if len(content) < count * self.dtype.itemsize:
                    raise damaged(self.path, f"pattern {index} is not there")
                frame = np.frombuffer(content, self.dtype).reshape(len(rows), width)
                block[k] = frame[:, window[1]]
        return block


@dataclass(frozen=True)
class JoinedFrames:
    """The patterns of several sources, one after the other."""

    parts: Sequence[Frames]

    @property
    def shape(self) -> tuple[int, int, int]:
        _, height, width = self.parts[0].shape
        return sum(part.shape[0] for part in self.parts), height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(part.dtype for part in self.parts))

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`Frames`."""
        blocks, begin = [], 0
        for part in self.parts:
            end = begin + part.shape[0]
            low, high = np.searchsorted(indices, (begin, end))
            if high > low:
                block = part.read(indices[low:high] - begin, window)
                blocks.append(block.astype(self.dtype, copy=False))
            begin = end
        return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


@dataclass(frozen=True)
class ChangedFrames:
    """Patterns of a source that are changed when they are read; shape and type stay."""

    source: Frames

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype


@dataclass(frozen=True)
class RolledFrames(ChangedFrames):
    """Patterns that are rolled by (y, x) pixels, so that each is read whole."""

    by: tuple[int, int]

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`Frames`."""
        _, height, width = self.shape
        whole = self.source.read(indices, (slice(0, height), slice(0, width)))
        return np.roll(whole, self.by, (1, 2))[:, window[0], window[1]]


@dataclass(frozen=True)
class ZeroedFrames(ChangedFrames):
    """Patterns of which those with the numbers ``gone``, (n,) in rising order, are 0."""

    gone: NDArray[np.int64]

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`Frames`."""
        block = self.source.read(indices, window)
        lost = np.isin(indices, self.gone)
        return np.where(lost[:, None, None], block.dtype.type(0), block) if lost.any() else block


@dataclass(frozen=True)
class ReorderedFrames(ChangedFrames):
    """Patterns of which number k is that of the source with the number ``order[k]``, (M,)."""

    order: NDArray[np.int64]

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`Frames`."""
        numbers = self.order[indices]
        rising = np.argsort(numbers)
        found = self.source.read(numbers[rising], window)
        block = np.empty_like(found)
        block[rising] = found
        return block


def stored_axes(frames: Frames) -> tuple[int, ...]:
    """The shape of the array in which patterns are stored."""
    if isinstance(frames, ArrayFrames):
        return frames.array.shape
    if isinstance(frames, StoredFrames):
        return frames.stored
    return (isinstance(frames, RawFrames) and frames.stored) or frames.shape


def axes_last(frames: Frames) -> Frames | None:
    """The patterns of an array (H, W, ...) that was taken for one of (..., H, W).

    None where they are in several arrays. In MATLAB, whose files have all axes in reverse, these
    are arrays (M, H, W); of more axes the order of the patterns would be the other way round.
    """
    if isinstance(frames, StoredFrames):
        return None if frames.swapped and len(frames.stored) > 3 else replace(frames, last=True)
    if isinstance(frames, ArrayFrames):
        array = frames.array
    elif isinstance(frames, RawFrames) and frames.stored:
        # Every pattern is spread over the whole file.
        whole = prod(frames.stored) * frames.dtype.itemsize
        check_memory(whole, f"'{frames.path}'", "write the patterns one after the other")
        with guarded(frames.path):
            values = np.fromfile(
                frames.path, frames.dtype, prod(frames.stored), offset=frames.offset
            )
        if len(values) < prod(frames.stored):
            raise damaged(frames.path, "its end is not there")
        array = values.reshape(frames.stored)
    else:
        return None
    return ArrayFrames(np.moveaxis(array.reshape(*array.shape[:2], -1), -1, 0))


def joined(parts: Sequence[Frames], names: Sequence[str]) -> Frames:
    """Several sources as one.

    Raises
    ------
    InputError
        When their patterns are not of one size.
    """
    if len(parts) == 1:
        return parts[0]
    for part, name in zip(parts, names, strict=True):
        if part.shape[1:] != parts[0].shape[1:]:
            raise InputError(
                f"all sources must hold patterns of one size, received "
                f"{parts[0].shape[1]} x {parts[0].shape[2]} in '{names[0]}' and "
                f"{part.shape[1]} x {part.shape[2]} in '{name}'; leave one of them out."
            )
    return JoinedFrames(tuple(parts))


def check_frames(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Raise InputError unless an array holds real patterns (..., H, W)."""
    if len(shape) < 3 or 0 in shape or dtype.kind not in "biuf":
        raise InputError(
            f"patterns must be real numbers with the axes (..., row, column), received {dtype} of "
            f"shape {shape} from {where}; name another array with the option patterns."
        )
