"""HDF5 across several files: one rule for external links, virtual datasets and external storage.

All three are followed where they lead to a file in the folder of the opened file, or beneath it,
and refused everywhere else. HDF5 itself would look in other folders too, and would read zeros where
a source of a virtual dataset is missing; here that is an error that names the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import h5py
from h5py import h5d, h5l, h5o, h5p, h5s

from ptychopinn.errors import InputError, brief, listed
from ptychopinn.io.filters import check_filters
from ptychopinn.io.heaps import check_heaps
from ptychopinn.io.reading import guarded, kind_of

LARGEST_HOPS = 16
LARGEST_MAPPINGS = 100_000
MANY_CHUNKS, SMALL_CHUNK = 100_000, 1024
# How much a chunk may be larger than its numbers: noise grows when it is compressed.
PACKED, PACKED_MORE = 2, 4096

# Where a file says "block number k of this name", with the percent sign written twice for itself.
_BLOCK = re.compile(r"%([%b])")


class Tree:
    """An HDF5 file and the files of its folder that it leads to, open for reading.

    ``again`` says that they were looked through before, which takes long for large ones.
    """

    def __init__(self, path: Path, again: bool = False) -> None:
        self.path = path
        self._again = again
        self._root = path.resolve()
        self._open: dict[Path, h5py.File] = {}
        self._looked_through: set[tuple[Path, str]] = set()

    def root(self) -> h5py.File:
        """The file itself."""
        return self._file(self._root)

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()

    def find(self, name: str) -> Any:
        """The group, dataset or type of this name, links followed; None when there is none.

        Raises
        ------
        InputError
            For a link that leads out of the folder, to a missing file, or in a circle.
        """
        return self._find(self._root, name, 0)

    def stored_bytes(self, dataset: h5py.Dataset) -> int:
        """How much is stored of a dataset, in this file and the others that it is made of.

        Raises
        ------
        InputError
            When a part of it lies outside the folder, is missing, or is covered by no source, or
            is compressed in a way that nobody here knows.
        """
        path = Path(dataset.file.filename).resolve()
        return self._stored(path, dataset, 0)

    def _file(self, path: Path) -> h5py.File:
        if path not in self._open:
            with guarded(path):
                if not self._again:
                    check_heaps(path)
                # Filters of detectors, bitshuffle with LZ4 among them; importing it makes HDF5
                # know them.
                import hdf5plugin  # noqa: F401

                self._open[path] = h5py.File(path, "r")
        return self._open[path]

    def _find(self, path: Path, name: str, hops: int) -> Any:
        file = self._file(path)
        return self._walk(path, file, [part for part in name.split("/") if part], hops)

    def _walk(self, path: Path, start: Any, parts: list[str], hops: int) -> Any:
        if hops > LARGEST_HOPS:
            self._refuse(f"'{'/'.join(parts)}' is reached by links that lead in a circle")
        item = start
        for k, part in enumerate(parts):
            if part == ".":
                continue
            key = part.encode("utf-8", "surrogateescape")
            if not isinstance(item, h5py.Group) or not item.id.links.exists(key):
                return None
            rest = parts[k + 1 :]
            kind = item.id.links.get_info(key).type
            if kind == h5l.TYPE_HARD:
                item = _opened(item, key, path)
                continue
            if kind == h5l.TYPE_SOFT:
                target = _text(item.id.links.get_val(key))
                base = self._file(path) if target.startswith("/") else item
                return self._walk(path, base, [*_split(target), *rest], hops + 1)
            if kind != h5l.TYPE_EXTERNAL:
                self._refuse(f"'{brief(part)}' is a link of an unknown kind")
            other, inside = (_text(value) for value in item.id.links.get_val(key))
            found = self._beside(path, other, f"'{brief(part)}' is a link")
            return self._walk(found, self._file(found), [*_split(inside), *rest], hops + 1)
        return item

    def _beside(self, path: Path, name: str, what: str) -> Path:
        """The file ``name`` as it is meant in the file ``path``."""
        meant = path.parent / name
        if Path(name).is_absolute() and kind_of(meant) == "nothing":
            # Files that were moved together keep the absolute names of their old folder.
            meant = path.parent / Path(name).name
        resolved = meant.resolve()
        if not resolved.is_relative_to(self._root.parent):
            self._refuse(f"{what} to '{brief(name)}', which is outside its folder")
        if kind_of(resolved) != "file":
            self._refuse(f"{what} to '{brief(name)}', which does not exist", f"put '{meant}' there")
        return resolved

    def _refuse(self, reason: str, remedy: str = "copy the data into the file") -> NoReturn:
        raise InputError(
            f"a file that is complete with the others of its folder was expected, received "
            f"'{self.path}' in which {reason}; {remedy}."
        )

    def _stored(self, path: Path, dataset: h5py.Dataset, hops: int) -> int:
        if hops > LARGEST_HOPS:
            self._refuse(f"'{brief(dataset.name)}' is made of itself")
        check_filters(dataset)
        if dataset.is_virtual:
            return self._virtual(path, dataset, hops)
        if dataset.external:
            if hops:
                # HDF5 would look for these files in the folder where the program was started.
                self._refuse(f"a source of a virtual dataset, in '{path}', has its data elsewhere")
            return self._external(path, dataset)
        if dataset.chunks and not self._again:
            self._check_chunks(path, dataset)
        size, chunk = dataset.size or 0, prod(dataset.chunks or dataset.shape or ())
        if size > MANY_CHUNKS * chunk and chunk * dataset.dtype.itemsize < SMALL_CHUNK:
            # HDF5 takes hundreds of bytes for each.
            self._refuse(
                f"'{brief(dataset.name)}' is cut into {size // chunk} chunks", "write it again"
            )
        return min(int(dataset.id.get_storage_size()), path.stat().st_size)

    def _check_chunks(self, path: Path, dataset: h5py.Dataset) -> None:
        """Compressed chunks are not larger than what is in them, but for unpacking to anything."""
        if (path, dataset.name) in self._looked_through:
            return
        largest = PACKED * prod(dataset.chunks) * dataset.dtype.itemsize + PACKED_MORE
        found = dataset.id.chunk_iter(lambda chunk: chunk.size if chunk.size > largest else None)
        if found is not None:
            self._refuse(
                f"'{brief(dataset.name)}' has a chunk of {found} bytes where there is room for "
                f"{largest // PACKED}",
                "write it again",
            )
        self._looked_through.add((path, dataset.name))

    def _external(self, path: Path, dataset: h5py.Dataset) -> int:
        stored = 0
        for name, offset, size in dataset.external:
            what = f"the data of '{brief(dataset.name)}' are said to be in a file: they lead"
            there = self._beside(path, name, what).stat().st_size
            stored += max(0, min(size, there - offset))
        if stored < dataset.size * dataset.dtype.itemsize:
            self._refuse(f"'{brief(dataset.name)}' is stored in other files, which are too short")
        return stored

    def _virtual(self, path: Path, dataset: h5py.Dataset, hops: int) -> int:
        what = f"'{brief(dataset.name)}' is a virtual dataset, it leads"
        shape, stored = dataset.shape, 0
        maps = dataset.virtual_sources()
        if len(maps) > LARGEST_MAPPINGS:
            self._refuse(f"'{brief(dataset.name)}' is made of {len(maps)} parts")
        covered = h5s.create_simple(shape)
        covered.select_none()
        seen: set[tuple[Path, str]] = set()
        for part in maps:
            blocks, points = self._cover(covered, part.vspace, shape)
            numbered = _BLOCK.search(part.file_name + part.dset_name) is not None
            for file_name, name in _sources(part, blocks if numbered else None):
                source = path if file_name == "." else self._beside(path, file_name, what)
                found = self._find(source, name, hops + 1)
                if not isinstance(found, h5py.Dataset):
                    there = listed(self._file(source))
                    self._refuse(
                        f"{what} to a dataset '{brief(name)}' that '{source}' does not hold, which "
                        f"has {there}",
                        "write the virtual dataset again with the name that it has there, or copy "
                        "the data into the file",
                    )
                self._check_source(part, found, points, what)
                if (source, name) not in seen:
                    seen.add((source, name))
                    stored += self._stored(source, found, hops + 1)
            if numbered:
                self._refuse_gap(path, part.file_name, blocks, what)
        if covered.get_select_npoints() != prod(shape):
            self._refuse(f"'{brief(dataset.name)}' is a virtual dataset whose parts leave gaps")
        return stored

    def _cover(self, covered: Any, part: Any, shape: tuple[int, ...]) -> tuple[int, int]:
        """Add what a part fills to ``covered``.

        Returns how many blocks these are along its open axis, and the elements of one of them.
        """
        if part.get_select_type() == h5s.SEL_ALL:
            covered.select_all()
            return 1, prod(shape)
        if not part.is_regular_hyperslab():
            for first, last in part.get_select_hyper_blocklist():
                size = tuple(int(z - a + 1) for a, z in zip(first, last, strict=True))
                covered.select_hyperslab(
                    tuple(map(int, first)), (1,) * len(size), block=size, op=h5s.SELECT_OR
                )
            return 1, part.get_select_npoints()
        start, stride, count, block = (list(map(int, v)) for v in part.get_regular_hyperslab())
        blocks = points = 1
        for axis, length in enumerate(shape):
            room = max(0, length - start[axis])
            if block[axis] > length:  # without end
                block[axis] = room
            if count[axis] > length:
                count[axis] = blocks = -(-room // stride[axis])
                points *= block[axis]
            else:
                points *= count[axis] * block[axis]
        if points * blocks:
            covered.select_hyperslab(
                tuple(start), tuple(count), tuple(stride), tuple(block), op=h5s.SELECT_OR
            )
        return blocks, points

    def _check_source(self, part: Any, found: h5py.Dataset, points: int, what: str) -> None:
        """From a source that is smaller than what is taken, HDF5 reads zeros or foreign bytes."""
        have, needed = found.shape or (), _end(part.src_space)
        if needed is None:
            short = prod(have) < points
        else:
            short = len(have) != len(needed) or any(
                h < n for h, n in zip(have, needed, strict=True)
            )
        if short:
            self._refuse(
                f"{what} to '{brief(found.name)}' of shape {have}, from which more is taken"
            )

    def _refuse_gap(self, path: Path, pattern: str, blocks: int, what: str) -> None:
        """HDF5 stops at the first missing file: one with a later number tells of it."""
        name = Path(pattern).name
        if "%b" not in name:
            return
        number = re.compile(re.escape(name).replace("%%", "%").replace("%b", r"(\d+)"))
        folder = (path.parent / pattern).parent
        for entry in folder.iterdir():
            match = number.fullmatch(entry.name)
            if match and int(match[1]) >= blocks:
                self._refuse(
                    f"{what} to files of which '{brief(_numbered(name, blocks))}' is missing and "
                    f"'{entry.name}' is there",
                    "put it there",
                )


def _opened(group: h5py.Group, key: bytes, path: Path) -> Any:
    """The item that a hard link names; data in other files are looked for beside ``path``."""
    if h5o.get_info(group.id, key).type != h5o.TYPE_DATASET:
        return group[key]
    access = h5p.create(h5p.DATASET_ACCESS)
    folder = str(path.parent).encode("utf-8", "surrogateescape")
    access.set_efile_prefix(folder)
    access.set_virtual_prefix(folder)
    return h5py.Dataset(h5d.open(group.id, key, access))


def _end(space: Any) -> tuple[int, ...] | None:
    """The shape that a selection needs; None where it takes everything, or is open at its end."""
    if space.get_select_type() != h5s.SEL_HYPERSLABS:
        return None
    if not space.is_regular_hyperslab():
        return tuple(int(v) + 1 for v in space.get_select_hyper_blocklist()[:, 1].max(axis=0))
    ends = [a + (c - 1) * s + b for a, s, c, b in zip(*space.get_regular_hyperslab(), strict=True)]
    return None if max(ends) >= h5s.UNLIMITED else tuple(map(int, ends))


def _sources(part: Any, blocks: int | None) -> Iterator[tuple[str, str]]:
    """File and dataset of a mapping; of each block where the names are numbered."""
    if blocks is None:
        yield _numbered(part.file_name, 0), _numbered(part.dset_name, 0)
        return
    for k in range(blocks):
        yield _numbered(part.file_name, k), _numbered(part.dset_name, k)


def _numbered(name: str, k: int) -> str:
    return _BLOCK.sub(lambda match: "%" if match[1] == "%" else str(k), name)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _split(name: str) -> list[str]:
    return [part for part in name.split("/") if part]
