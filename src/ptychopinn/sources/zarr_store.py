"""Zarr stores, version 2 and 3: an array, or a group with arrays by their keys."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice, product
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.units import spelled
from ptychopinn.errors import InputError, MissingDependencyError, listed
from ptychopinn.io.axis_names import unit_in_name
from ptychopinn.io.guess import guess
from ptychopinn.io.listing import DEEPEST, MOST_ITEMS, Item
from ptychopinn.io.reading import SMALL, check_declared, guarded, kind_of, parse_json, parsing
from ptychopinn.io.unpacking import check_unpacked
from ptychopinn.machine.memory import check_memory
from ptychopinn.sources.base import ScanPoints, Source
from ptychopinn.sources.experiment_numbers import unit_of_axes
from ptychopinn.sources.frames import StoredFrames, Window, check_frames

NAME = "zarr"
DESCRIPTION = "Zarr store (a folder)"

# Groups that are looked into, which takes milliseconds each.
MOST_GROUPS = 500
DESCRIPTIONS, LARGEST_DESCRIPTION = (".zarray", "zarr.json"), 16 << 20
MARKS = (".zarray", ".zgroup", "zarr.json")


@dataclass(frozen=True)
class ZarrFrames(StoredFrames):
    """Patterns in an array of a store."""

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`ptychopinn.sources.frames.Frames`."""
        with parsing(self.path):
            return self._read(_array(self.path, self.key), indices, window)


def matches(path: Path) -> bool:
    """Whether the folder is a store."""
    return path.is_dir() and any((path / mark).is_file() for mark in MARKS)


def _refuse_code(path: Path, key: str) -> None:
    """Raise InputError for an array whose reading could execute code."""
    inside = path.joinpath(*filter(None, key.split("/")))
    for entry in (path / ".zmetadata", *(d / n for d in (path, inside) for n in DESCRIPTIONS)):
        if not entry.is_file():
            continue
        with guarded(entry) as size:
            content = parse_json(entry.read_bytes()) if size <= LARGEST_DESCRIPTION else "pickle"
        if "pickle" in _words(content):
            raise InputError(
                f"plain arrays were expected, received '{entry}', which describes Python objects "
                "that could execute code when read; store numbers."
            )


def _words(content: Any) -> set[str]:
    """All texts in a description, in small letters, without what stands before a last dot."""
    if isinstance(content, dict):
        return set().union(*(_words(value) for value in content.values()), set())
    if isinstance(content, list):
        return set().union(*(_words(value) for value in content), set())
    return {content.lower().rsplit(".", 1)[-1]} if isinstance(content, str) else set()


def _opened(path: Path, limit: int = 0) -> Any:
    """The store; no chunk may unpack to more than ``limit`` bytes."""
    try:
        import zarr
        from zarr.storage import LocalStore
    except ImportError as error:
        raise MissingDependencyError(
            f"the package zarr is needed to read '{path}', received none; install it with "
            "pip install 'ptychopinn[zarr]'."
        ) from error

    def small(file: Path, found: Any) -> Any:
        if found is not None:
            check_unpacked(found.to_bytes(), None, limit, file)
        return found

    class Careful(LocalStore):
        """Reads no pipes, for ever, and no bytes that unpack to anything."""

        async def get(self, key: str, *arguments: Any, **options: Any) -> Any:
            kind_of(self.root / key)
            return small(self.root / key, await super().get(key, *arguments, **options))

        def get_sync(self, key: str, *arguments: Any, **options: Any) -> Any:
            kind_of(self.root / key)
            return small(self.root / key, super().get_sync(key, *arguments, **options))

    return zarr.open(Careful(path, read_only=True), mode="r")


def _array(path: Path, key: str) -> Any:
    _refuse_code(path, key)
    store = _opened(path)
    found = store if not key and hasattr(store, "shape") else None
    if found is None and not hasattr(store, "shape") and key in store:
        found = store[key]
    if found is None or not hasattr(found, "shape"):
        there = listed(item.key for item in items_of_store(path))
        raise InputError(
            f"the array '{key}' was expected in '{path}', received {there}; name another one."
        )
    # Whole shards are read, where the array has them.
    chunk = getattr(found, "shards", None) or found.chunks
    limit = 2 * prod(chunk) * np.dtype(found.dtype).itemsize
    store = _opened(path, limit)
    return store[key] if key else store


def items_of_store(path: Path) -> list[Item]:
    """The arrays of a store, all but those of very many.

    Raises
    ------
    InputError
        When it is damaged.
    """
    with parsing(path), warnings.catch_warnings():
        # Files of others may lie beside the arrays.
        warnings.filterwarnings("ignore", "Object at .* is not recognized", UserWarning)
        store = _opened(path)
        if hasattr(store, "shape"):
            return [Item("", tuple(store.shape), np.dtype(store.dtype), _unit(store))]
        found = list(islice(_walk(store, path, "", (path.resolve(),), count()), MOST_ITEMS))
    return sorted(found, key=lambda item: item.key)


def _walk(
    group: Any, folder: Path, name: str, above: tuple[Path, ...], visits: Iterator[int]
) -> Iterator[Item]:
    for key, array in group.arrays():
        shape, dtype = tuple(array.shape), np.dtype(array.dtype)
        yield Item(f"{name}{key}", shape, dtype, _unit(array))
    deep = len(above) > DEEPEST or next(visits) >= MOST_GROUPS
    for key, inner in () if deep else group.groups():
        # Links between folders may lead in circles.
        place = (folder / key).resolve()
        if place not in above:
            yield from _walk(inner, folder / key, f"{name}{key}/", (*above, place), visits)


def _unit(array: Any) -> str:
    value = array.attrs.get("units", "")
    return value if isinstance(value, str) else ""


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at a store."""
    items = items_of_store(path)
    found = guess(items)
    key = patterns if patterns is not None else found.patterns
    if key is None:
        raise InputError(
            f"diffraction patterns were expected in '{path}', received "
            f"{listed(map(str, items))}; name them with the option patterns."
        )
    array = _array(path, key)
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    where = f"'{key}' in '{path}'"
    check_frames(shape, dtype, where)
    _check_stored(path, key, array, where)
    return Source(
        kind=NAME,
        path=path,
        patterns=ZarrFrames(path, key, shape, dtype),
        points=_points(path, found.positions, items),
        grid=(shape[0], shape[1]) if len(shape) == 4 else None,
        notes={"patterns": key},
    )


def _points(path: Path, keys: tuple[str, ...], items: list[Item]) -> ScanPoints | None:
    """Positions whose names say which is y and which is x."""
    if len(keys) != 2:
        return None
    y, x = (array_in(path, key).ravel() for key in keys)
    if y.dtype.kind not in "iuf" or x.dtype.kind not in "iuf" or len(y) != len(x):
        return None
    known = {item.key: spelled(item.unit) or unit_in_name(item.key) for item in items}
    unit = unit_of_axes([known[key] for key in keys])
    where = f"'{keys[0]}' and '{keys[1]}' in '{path}'"
    return ScanPoints(np.stack([y, x], axis=1).astype(np.float64), unit, where)


def written_chunks(path: Path, key: str) -> tuple[tuple[int, ...], set[tuple[int, ...]]]:
    """The shape of a chunk as it is stored, and the numbers of those that are there."""
    array = _array(path, key)
    chunk = tuple(getattr(array, "shards", None) or array.chunks)
    inside = path.joinpath(*filter(None, key.split("/")))
    there = {str(entry.relative_to(inside)) for entry in inside.rglob("*") if entry.is_file()}
    grid = (range(ceil(n / c)) for n, c in zip(array.shape, chunk, strict=True))
    encode = array.metadata.encode_chunk_key
    return chunk, {number for number in product(*grid) if encode(number) in there}


def array_in(path: Path, key: str | None) -> NDArray[Any]:
    """An array of a store, read whole."""
    if not matches(path):
        raise InputError(
            f"an array was expected in a file, or in a folder that is a Zarr store, received the "
            f"folder '{path}', which is none; name a file."
        )
    with parsing(path):
        array = _array(path, key or "")
        where = f"'{key}' in '{path}'"
        _check_stored(path, key or "", array, where)
        check_memory(array.nbytes, where, "name another array")
        return np.asarray(array[...])


def _check_stored(path: Path, key: str, array: Any, where: str) -> None:
    """Raise InputError for an array that is declared only."""
    if array.nbytes <= SMALL:
        return
    inside = path.joinpath(*filter(None, key.split("/")))
    stored = sum(entry.stat().st_size for entry in inside.rglob("*") if entry.is_file())
    check_declared(array.nbytes, stored, where)
