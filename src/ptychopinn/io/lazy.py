"""Patterns that stay in their file, and are read when they are asked for."""

from __future__ import annotations

import threading
from math import prod
from pathlib import Path
from typing import Any
from zlib import error as UnpackingError

import numpy as np
from h5py import h5s
from numpy.typing import NDArray

from ptychopinn.data.scan import PatternArray, check_counts
from ptychopinn.errors import InputError
from ptychopinn.io.chunks import Chunks, OtherwiseError, chunks_of
from ptychopinn.io.detector import Repair
from ptychopinn.io.hdf5 import REAL, Reader, reading
from ptychopinn.io.layout import (
    SLICES,
    as_patterns,
    counts_last,
    frame_first,
    is_cube,
    one_channel,
)
from ptychopinn.io.missing_chunks import refuse_missing_parts
from ptychopinn.machine.memory import part_of_free

# Patterns that are read again and again stay in memory where they take this part of what is free,
# and are taken to be read again once this many were read for each that there is.
HELD_PART, KEPT_FROM = 1 / 64, 1.5
# Patterns of other formats are read at once up to this size.
WHOLE_BYTES = 64 << 20

Rows = NDArray[np.int64]


class Stored:
    """Where patterns lie: a dataset (..., H, W), or (..., W, H) when ``swapped``, as MATLAB writes
    it. Leading axes are read row by row.

    The file is open only during a reading, so that the object can be pickled, and used in worker
    processes and threads.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        stored: tuple[int, ...],
        dtype: np.dtype[Any],
        swapped: bool = False,
        chunks: Chunks | None = None,
    ) -> None:
        # A worker process may have another working directory.
        self.path, self.key = path.resolve(), key
        self.stored, self.dtype, self.swapped = stored, dtype, swapped
        self._chunks = chunks

    @property
    def shape(self) -> tuple[int, int, int]:
        """(M, H, W) of the patterns."""
        height, width = self.stored[-2:][:: -1 if self.swapped else 1]
        return prod(self.stored[:-2]), height, width

    def read(self, numbers: Rows) -> NDArray[Any]:
        """The patterns of these numbers, rising ones, in the byte order of the machine.

        Raises
        ------
        InputError
            When the file has changed or is damaged.
        """
        if not len(numbers):
            return np.empty((0, *self.shape[1:]), self.dtype.newbyteorder("="))
        patterns = self._without_hdf5(numbers)
        if patterns is None:
            # It was looked through when it was opened.
            with reading(self.path, again=True) as file:
                patterns = self._by_hdf5(file, numbers)
        return np.ascontiguousarray(patterns.swapaxes(1, 2)) if self.swapped else patterns

    def _without_hdf5(self, numbers: Rows) -> NDArray[Any] | None:
        if self._chunks is None:
            return None
        try:
            found = self._chunks.read(numbers)
        except (OtherwiseError, OSError, UnpackingError):
            # HDF5 says what it is, or reads what is there now.
            self._chunks = None
            return None
        return found.astype(found.dtype.newbyteorder("="), copy=False)

    def _by_hdf5(self, file: Reader, numbers: Rows) -> NDArray[Any]:
        item = file.dataset(self.key)
        if item.shape != self.stored or item.dtype != self.dtype:
            raise InputError(
                f"'{self.path}' must stay as it was when it was opened, received another "
                "content; load the scan again."
            )
        *lead, height, width = self.stored
        native = self.dtype.newbyteorder("=")
        patterns = np.empty((len(numbers), height, width), dtype=native)
        space = item.id.get_space()
        # HDF5 reads a run of neighbours in one go; selecting single points is far slower.
        breaks = np.diff(numbers, prepend=-2) != 1
        breaks |= numbers % lead[-1] == 0
        starts = np.flatnonzero(breaks)
        stops = np.append(starts, len(numbers))[1:]
        for start, stop in zip(starts, stops, strict=True):
            corner = np.unravel_index(int(numbers[start]), lead)
            count = (*(1,) * (len(lead) - 1), int(stop - start), height, width)
            space.select_hyperslab((*map(int, corner), 0, 0), count)
            item.id.read(h5s.create_simple(count), space, patterns[start:stop].reshape(count))
        return patterns


class LazyPatterns:
    """Patterns (M, N, N) on disk; indexing the first axis reads just those from the file.

    A slice, an integer, a boolean array or an integer array in any order and with repeats is
    accepted, further indices apply to what was read. Of the stored patterns only ``rows`` belong to
    it. Those that are ``empty`` (M,) are read as zeros, what ``repair`` says is done to the others,
    and they become numbers of ``dtype``, whole ones without loss. What is read again and again
    stays in memory, where all patterns take a small part of what is free.

    Attributes
    ----------
    known_total : the sum (N, N) of all patterns, for whoever needs it; None until somebody has
        added them up.

    Raises
    ------
    InputError
        On reading, when the file has changed or holds values that are not counts.
    """

    def __init__(
        self,
        stored: Stored,
        rows: Rows | None = None,
        repair: Repair | None = None,
        dtype: np.dtype[Any] | None = None,
        empty: NDArray[np.bool_] | None = None,
    ) -> None:
        self.stored, self.repair, self._empty = stored, repair, empty
        self._rows = rows
        self._dtype = stored.dtype.newbyteorder("=") if dtype is None else dtype
        self._shape = stored.shape if rows is None else (len(rows), *stored.shape[1:])
        self._forget()
        self.known_total: NDArray[np.float64] | None = None

    def _forget(self) -> None:
        self._held: NDArray[Any] | None = None
        self._room: bool | None = None
        self._there = np.zeros(len(self), bool)
        self._count = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_held", "_there", "_count", "_room", "_lock")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def as_counts(
        self, repair: Repair, dtype: np.dtype[Any], empty: NDArray[np.bool_] | None = None
    ) -> LazyPatterns:
        """The same patterns with this repair, type, and those (M,) that hold nothing set to 0."""
        return LazyPatterns(self.stored, self._rows, repair, dtype, empty)

    def taken(self, rows: Rows) -> LazyPatterns:
        """The patterns of these numbers, in this order."""
        if len(rows) == len(self) and (rows == np.arange(len(self))).all():
            return self
        chosen = rows if self._rows is None else self._rows[rows]
        empty = None if self._empty is None else self._empty[rows]
        return LazyPatterns(self.stored, chosen, self.repair, self._dtype, empty)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def ndim(self) -> int:
        return len(self._shape)

    def __len__(self) -> int:
        return self._shape[0]

    def __repr__(self) -> str:
        return f"LazyPatterns('{self.stored.path}', shape={self._shape}, dtype={self._dtype})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("patterns on disk cannot become an array without a copy")
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if first is Ellipsis or first is None:
            raise IndexError("index the first axis with a slice or integers")
        # NumPy itself says what the index means, and refuses what it would refuse for an array.
        chosen = np.arange(len(self))[first]
        patterns = self._counts(np.atleast_1d(chosen).ravel())
        patterns = patterns.reshape(*chosen.shape, *self._shape[1:])
        return patterns[(slice(None),) * chosen.ndim + rest] if rest else patterns

    def _counts(self, indices: Rows) -> NDArray[Any]:
        there = self._there[indices]
        if self._held is not None and there.all():
            return self._held[indices]
        missing = np.unique(indices[~there])
        found = self._read(missing)
        self._keep(missing, found)
        if not there.any():
            in_order = len(missing) == len(indices) and _rises(indices)
            return found if in_order else found[np.searchsorted(missing, indices)]
        assert self._held is not None
        patterns = self._held[indices]
        patterns[~there] = found[np.searchsorted(missing, indices[~there])]
        return patterns

    def _keep(self, numbers: Rows, patterns: NDArray[Any]) -> None:
        """Keep what was read, if it is going to be read again and there is room for all."""
        with self._lock:
            self._count += len(numbers)
            if self._count <= KEPT_FROM * len(self):
                return
            if self._room is None:
                size = prod(self._shape) * self._dtype.itemsize
                self._room = size <= part_of_free(HELD_PART)
            if self._room:
                if self._held is None:
                    self._held = np.empty(self._shape, self._dtype)
                self._held[numbers] = patterns
                # Last, because another thread may ask meanwhile.
                self._there[numbers] = True

    def _read(self, unique: Rows) -> NDArray[Any]:
        """The patterns of these numbers, rising ones, as counts."""
        patterns = self.as_stored(unique)
        if self._empty is not None:
            patterns[self._empty[unique]] = 0
        if self.repair is not None:
            patterns = self.repair.apply(patterns, unique)
        where = f"'{self.stored.key}' in '{self.stored.path}'"
        check_counts(patterns, where)
        if patterns.dtype == self._dtype:
            return patterns
        counts = patterns.astype(self._dtype)
        if self._dtype.kind == "u" and (counts != patterns).any():
            raise InputError(
                f"{where} must stay as it was when it was opened, received numbers that are no "
                f"counts of {self._dtype}; load the scan again."
            )
        return counts

    def as_stored(self, numbers: Rows) -> NDArray[Any]:
        """The patterns of these numbers, rising ones, as the file holds them; an own array."""
        if self._rows is None:
            return _own(self.stored.read(numbers))
        rows, inverse = np.unique(self._rows[numbers], return_inverse=True)
        patterns = self.stored.read(rows)
        return _own(
            patterns if len(rows) == len(numbers) and _rises(inverse) else patterns[inverse]
        )


def _rises(numbers: Rows) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _own(patterns: NDArray[Any]) -> NDArray[Any]:
    return patterns if patterns.flags.writeable else patterns.copy()


def patterns_of(
    file: Reader, name: str, places: int, *, lazily: bool
) -> NDArray[Any] | LazyPatterns:
    """The patterns (n, H, W) of a dataset, whose axes may be any that ``layout.as_patterns`` knows.

    They stay on disk when that is asked for (``lazily``) and they take more than ``WHOLE_BYTES``;
    where the scan is the last axis, other than in MATLAB's files, reading one pattern means reading
    all, and they come into memory too.

    Raises
    ------
    InputError
        When there is none, it holds no real numbers, is declared only, or lit parts of patterns
        were never written.
    """
    item = file.dataset(name, REAL)
    file.check_unpacked(name)
    swapped = file.is_of_matlab(name)
    last = _frame_last(item.shape, places, swapped)
    if is_cube(item.shape, places):
        few = np.asarray(item[:: max(1, places // SLICES)])
        last = swapped == counts_last(few.T if swapped else few)
    patterns: NDArray[Any] | LazyPatterns
    large = prod(item.shape) * item.dtype.itemsize > WHOLE_BYTES
    if lazily and last and large and item.dtype.kind != "b":
        file.stored(name, "iuf")
        stored = Stored(file.path, name, item.shape, item.dtype, swapped, chunks_of(item))
        patterns = LazyPatterns(stored)
    else:
        patterns = as_patterns(file.array(name, REAL), places, f"'{name}' in '{file.path}'")
    if last:
        refuse_missing_parts(item, patterns, swapped=swapped)
    return patterns


def _frame_last(stored: tuple[int, ...], places: int, swapped: bool) -> bool:
    """Whether the last two axes of a dataset are those of a pattern, as ``layout.as_patterns``
    understands it, which sees the axes of MATLAB in reverse."""
    shape = stored[::-1] if swapped else stored
    if len(shape) == 3:
        return swapped == frame_first(shape, places)
    last = not one_channel(shape) and not frame_first(shape, places)
    return len(shape) > 3 and not swapped and last


def taken(patterns: PatternArray, rows: Rows) -> Any:
    """The patterns of these numbers; those on disk stay there."""
    return patterns.taken(rows) if isinstance(patterns, LazyPatterns) else patterns[rows]
