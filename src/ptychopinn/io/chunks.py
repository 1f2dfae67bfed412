"""Where the patterns of a dataset lie in its file, so that they are read without HDF5.

HDF5 takes a lock, a search and a selection for each pattern; for patterns that are read again and
again, in any order, that is longer than unpacking them. Here the places are looked up once, bytes
that lie near each other come in one go, and unpacking leaves other threads of Python alone.

Whole frames in chunks of one or more patterns are understood, plain or with the filters deflate,
shuffle and, behind deflate, Fletcher-32: the Adler-32 inside of deflate takes its place. For
anything else, and whenever something is not as it should be, HDF5 reads, and says what is wrong.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5t, h5z
from numpy.typing import NDArray

# Bytes between two chunks that are read along rather than left out, and of a single reading.
NEAR, RUN = 32 << 10, 8 << 20
_DEFLATED = (
    (h5z.FILTER_DEFLATE,),
    (h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE),
    (h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32),
    (h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32),
)
_CHECKSUM_BYTES = 4


class OtherwiseError(Exception):
    """The bytes are not what was looked up."""


@dataclass(frozen=True, eq=False)
class Chunks:
    """Where the chunks of a dataset (M, H, W) lie.

    Attributes
    ----------
    path, stamp : the file, and what tells that it is still the same.
    dtype, frame : of a pattern as it is stored, (H, W).
    each : patterns in a chunk.
    offsets, sizes : in bytes, of each chunk.
    filters : that its bytes went through; none for plain ones.
    """

    path: Path
    stamp: tuple[int, ...]
    dtype: np.dtype[Any]
    frame: tuple[int, int]
    each: int
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    filters: tuple[int, ...]

    def read(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """The patterns of these numbers, rising ones, (m, H, W) in the stored byte order.

        Raises
        ------
        OtherwiseError, OSError, zlib.error
            When the file is not as it was.
        """
        chunks, of = np.unique(numbers // self.each, return_inverse=True)
        size = self.each * prod(self.frame) * self.dtype.itemsize
        bytes_of = np.empty((len(chunks), size), np.uint8)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            if _stamp(descriptor) != self.stamp:
                raise OtherwiseError
            for k, packed in self._packed(descriptor, chunks):
                bytes_of[k] = np.frombuffer(self._unpacked(packed, size), np.uint8)
        finally:
            os.close(descriptor)
        if h5z.FILTER_SHUFFLE in self.filters and self.dtype.itemsize > 1:
            apart = bytes_of.reshape(len(chunks), self.dtype.itemsize, -1)
            bytes_of = np.ascontiguousarray(apart.swapaxes(1, 2))
        whole = bytes_of.reshape(-1).view(self.dtype).reshape(-1, *self.frame)
        wanted = of * self.each + numbers % self.each
        return whole if len(wanted) == len(whole) else whole[wanted]

    def _packed(self, descriptor: int, chunks: NDArray[np.int64]) -> Any:
        """Each chunk's place among the ``chunks``, and its bytes, in the order of the file."""
        order = np.argsort(self.offsets[chunks], kind="stable")
        begins = self.offsets[chunks][order]
        ends = begins + self.sizes[chunks][order]
        at = 0
        while at < len(order):
            stop = at + 1
            while (
                stop < len(order)
                and begins[stop] - ends[stop - 1] <= NEAR
                and ends[stop] - begins[at] <= RUN
            ):
                stop += 1
            start, end = int(begins[at]), int(ends[at:stop].max())
            content = memoryview(os.pread(descriptor, end - start, start))
            if len(content) < end - start:
                raise OtherwiseError
            for k in range(at, stop):
                yield int(order[k]), content[int(begins[k]) - start : int(ends[k]) - start]
            at = stop

    def _unpacked(self, packed: memoryview, size: int) -> Any:
        if self.filters:
            if self.filters[-1] == h5z.FILTER_FLETCHER32:
                packed = packed[:-_CHECKSUM_BYTES]
            worker = zlib.decompressobj()
            # One byte more shows what unpacks to too much.
            content = worker.decompress(packed, size + 1)
            if not worker.eof or len(content) != size:
                raise OtherwiseError
            return content
        if len(packed) != size:
            raise OtherwiseError
        return packed


def chunks_of(dataset: h5py.Dataset) -> Chunks | None:
    """Where the patterns of a dataset lie; None where only HDF5 can read them."""
    stored = dataset.id.get_type()
    plain = dataset.ndim == 3 and dataset.dtype.kind in "iuf" and 0 not in dataset.shape
    if not plain or dataset.is_virtual or dataset.external or dataset.file.driver != "sec2":
        return None
    if not stored.equal(h5t.py_create(dataset.dtype)):
        return None
    created = dataset.id.get_create_plist()
    filters = tuple(created.get_filter(k)[0] for k in range(created.get_nfilters()))
    frame, m = dataset.shape[1:], dataset.shape[0]
    each = 1
    if created.get_layout() == h5d.CONTIGUOUS:
        offset = dataset.id.get_offset()
        if offset is None or filters:
            return None
        length = prod(frame) * dataset.dtype.itemsize
        offsets, sizes = offset + length * np.arange(m), np.full(m, length)
    elif created.get_layout() == h5d.CHUNKED and dataset.chunks[1:] == frame:
        each = dataset.chunks[0]
        if filters and filters not in _DEFLATED:
            return None
        found = _looked_up(dataset, -(-m // each))
        if found is None:
            return None
        offsets, sizes = found
    else:
        return None
    path = Path(dataset.file.filename)
    first = np.asarray(dataset[:1])
    # Whether places are counted from a block of another program, versions of HDF5 do not agree.
    for base in {0, dataset.file.userblock_size}:
        try:
            chunks = Chunks(
                path.resolve(), _stamp(path), dataset.dtype, frame, each, offsets + base, sizes,
                filters,
            )  # fmt: skip
            if np.array_equal(chunks.read(np.zeros(1, np.int64)), first, equal_nan=True):
                return chunks
        except (OtherwiseError, OSError, zlib.error):
            continue
    return None


def _looked_up(dataset: h5py.Dataset, count: int) -> tuple[NDArray[np.int64], ...] | None:
    """Offset and size in bytes of each chunk along the first axis; None unless all are there, and
    all went through all filters."""
    offsets, sizes = np.full(count, -1), np.zeros(count, np.int64)
    each, skipped = dataset.chunks[0], []

    def note(chunk: Any) -> None:
        k = chunk.chunk_offset[0] // each
        offsets[k], sizes[k] = chunk.byte_offset, chunk.size
        if chunk.filter_mask:
            skipped.append(k)

    dataset.id.chunk_iter(note)
    return None if skipped or (offsets < 0).any() else (offsets, sizes)


def _stamp(file: int | Path) -> tuple[int, ...]:
    found = file.stat() if isinstance(file, Path) else os.fstat(file)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
