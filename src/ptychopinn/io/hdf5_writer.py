"""The one way in which this program writes HDF5: no error is lost, and every number is checksummed.

HDF5 meets a full disk with an error on closing, which h5py cannot pass on, and may crash later. It
therefore never sees one here: it writes through a Python object that remembers the first error and
swallows the rest, and the file is refused when it is complete. For the same reason a signal waits
until HDF5 is left.

The structure of a file of format 1.10 carries its own checksums. The arrays get an Adler-32 (from
the deflate filter) and a Fletcher-32; single numbers and attributes lie inside the checksummed
structure, beside their group. Nothing in the file depends on the time at which it was written.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5f, h5fd, h5g, h5p, h5s, h5t
from numpy.typing import DTypeLike

from ptychopinn.io.atomic import CannotWrite, atomic_path

# With more attributes than this HDF5 keeps them apart, where large ones are not summed up; and
# beside its group none can be larger than 64 KiB.
MOST_ATTRIBUTES, LARGEST_ATTRIBUTE = 100, 60_000


class NewFile:
    """An HDF5 file that is being written; names are paths inside it, missing groups are made."""

    def __init__(self, path: Path, file: h5py.File, sink: _Sink, signals: _Signals) -> None:
        self._path, self._file, self._sink, self._signals = path, file, sink, signals

    def put(self, name: str, data: Any) -> None:
        """Store an array, a number or a text."""
        self.check()
        parent, last = self._parent(name)
        if isinstance(data, str):
            parent.create_dataset(last, data=data)
            return
        values = np.asarray(data)
        if values.ndim == 0:
            plan = h5p.create(h5p.DATASET_CREATE)
            plan.set_layout(h5d.COMPACT)
            plan.set_obj_track_times(False)
            kind = h5t.py_create(values.dtype, logical=True)
            stored = h5d.create(parent.id, last.encode(), kind, h5s.create(h5s.SCALAR), plan)
            stored.write(h5s.ALL, h5s.ALL, values)
        elif not values.size:
            parent.create_dataset(last, data=values)
        else:
            parent.create_dataset(last, data=values, **_packing(compressed=True))
        self.check()

    def reserve(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> h5py.Dataset:
        """An array to be filled part by part, one chunk per entry of its first axis."""
        parent, last = self._parent(name)
        # Counts are small whole numbers with many zeros and compress well; noise-free floats do
        # not, and there may be very many.
        packing = _packing(compressed=np.dtype(dtype).kind in "iu")
        chunks = (1, *shape[1:])
        return parent.create_dataset(last, shape=shape, dtype=dtype, chunks=chunks, **packing)

    def attributes(self, name: str, values: Mapping[str, Any]) -> None:
        """Attributes of an item; "/" is the file."""
        (self._file if name == "/" else self._group(name)).attrs.update(values)

    def link(self, name: str, target: str) -> None:
        """A second name for an item of this file."""
        parent, last = self._parent(name)
        parent[last] = h5py.SoftLink(target)

    def check(self) -> None:
        """Raise InputError as soon as something could not be written; let signals through."""
        error = self._sink.error
        if error is not None:
            raise CannotWrite(self._path, error.strerror or str(error)) from error
        self._signals.deliver()

    def _parent(self, name: str) -> tuple[h5py.Group, str]:
        group, _, last = name.strip("/").rpartition("/")
        return self._group(group), last

    def _group(self, name: str) -> Any:
        """The item; groups on the way are made, without the time at which that happens."""
        item: Any = self._file
        for part in filter(None, name.split("/")):
            if part not in item:
                plan = h5p.create(h5p.GROUP_CREATE)
                plan.set_obj_track_times(False)
                plan.set_attr_phase_change(MOST_ATTRIBUTES, 0)
                h5g.create(item.id, part.encode(), gcpl=plan)
            item = item[part]
        return item


def _packing(*, compressed: bool) -> dict[str, Any]:
    # Sums do not see that equal parts have changed places; compressed data has few equal parts.
    level = 1 if compressed else 0
    return {
        "compression": "gzip",
        "compression_opts": level,
        "shuffle": compressed,
        "fletcher32": True,
    }


class _Sink:
    """A file for HDF5 that never fails; ``error`` is the first one it met."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._position = descriptor, 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        if start is None:
            start = os.fstat(self._descriptor).st_size
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        content = b""
        with self._kept():
            content = os.pread(self._descriptor, len(buffer), self._position)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def write(self, buffer: Any) -> int:
        content, done = memoryview(buffer), 0
        with self._kept():
            while self.error is None and done < len(content):
                done += os.pwrite(self._descriptor, content[done:], self._position + done)
        self._position += len(content)
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        with self._kept():
            os.ftruncate(self._descriptor, size)
        return size

    def flush(self) -> None:
        """Nothing is held back."""

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error


class _Signals:
    """Holds back, inside the block, the signals that would run Python code in the midst of HDF5."""

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._held: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> _Signals:
        # Only the main thread runs handlers, and only it may change them.
        if threading.current_thread() is threading.main_thread():
            for number in signal.valid_signals():
                handler = signal.getsignal(number)
                if callable(handler) and not isinstance(handler, signal.Handlers):
                    self._handlers[number] = handler
                    signal.signal(number, self._hold)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self.deliver()

    def _hold(self, number: int, frame: FrameType | None) -> None:
        self._held.append((number, frame))

    def deliver(self) -> None:
        """Call the handlers of what has come; they may raise."""
        while self._held:
            number, frame = self._held.pop(0)
            self._handlers[number](number, frame)


@contextmanager
def filling(path: Path) -> Iterator[NewFile]:
    """Write HDF5 into the temporary file ``path`` of :func:`ptychopinn.io.atomic.atomic_paths`.

    Raises
    ------
    InputError
        When a part of it could not be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    sink = _Sink(descriptor)
    new: NewFile | None = None
    try:
        with _Signals() as signals, h5py.File(_create(path, sink)) as file:
            new = NewFile(path, file, sink, signals)
            yield new
            file.flush()
        new.check()
    except (OSError, RuntimeError, ValueError, KeyError):
        # HDF5 may stumble over what was lost; the reason is what comes first.
        if new is not None:
            new.check()
        raise
    finally:
        os.close(descriptor)
    try:
        # Opening compares the checksums of the structure and the size.
        with h5py.File(path, "r", locking=False):
            pass
    except OSError as error:
        raise CannotWrite(path, f"another content than was written ({error})") from error


def _create(path: Path, sink: _Sink) -> Any:
    creation = h5p.create(h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    creation.set_attr_phase_change(MOST_ATTRIBUTES, 0)
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    access.set_fileobj_driver(h5fd.fileobj_driver, sink)
    return h5f.create(os.fsencode(path), h5f.ACC_TRUNC, creation, access)


@contextmanager
def writing(path: Path, force: bool = True) -> Iterator[NewFile]:
    """Write a file, which appears under its name only when the block succeeds and it is whole.

    Raises
    ------
    InputError
        When it cannot be written, or, unless ``force`` is set, exists meanwhile.
    """
    with atomic_path(path, force) as temporary, filling(temporary) as file:
        yield file
