"""Seeded damage: of the bytes of any file, and of what stands in files of a known kind."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Generator = np.random.Generator

VALUES: tuple[Any, ...] = (
    np.nan,
    np.inf,
    -np.inf,
    1e300,
    -1e300,
    5e-324,
    1e19,
    0,
    -1,
    2**31,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    True,
    "",
    "text",
    b"\xff\xfe",
    "ä\n\x1b",
    [],
    [1.0, 2.0],
    [[1.0], [2.0]],
)
DTYPES = ["u1", "i1", "u2", ">u2", "u4", "i8", "u8", "f2", "f4", ">f8", "c8", "c16", "S3", "?"]
TOKENS = (
    *("NaN", "Infinity", "-1", "1e999", "9" * 6000, "null", "true", "[]", "{}", '""', "1e308"),
    *("[" * 3000, "{" * 500, "&a", "*a", "!!int x", "!!timestamp x", "2001-99-99", "\0", "\\ud800"),
    *("x" * 70_000, "\n", "- ", ": ", "<<: ", "? ", "|", "'", '"', "\t", "%", "0x", "1:1:1:1", "~"),
)


def damage(path: Path, random: Generator) -> str:
    """Damage the file in one way, and say whether that was of its "bytes" or of its "content"."""
    special = _special(path)
    if special is not None and random.random() < 0.5:
        # What cannot be stored leaves the file half changed, which is as good.
        with (
            suppress(OSError, ValueError, TypeError, RuntimeError, KeyError, OverflowError),
            warnings.catch_warnings(action="ignore"),
        ):
            special(path, random)
        return "content"
    content = bytearray(path.read_bytes())
    for _ in range(int(random.integers(1, 4))):
        _bytes(content, random)
    path.write_bytes(content)
    return "bytes"


def _special(path: Path) -> Callable[[Path, Generator], None] | None:
    if path.suffix in (".h5", ".hdf5", ".cxi", ".nxs", ".ptyd", ".ptyr", ".emd"):
        return _hdf5
    if path.name.endswith((".npz", ".zip", ".ckpt")):
        return _archive
    if path.suffix == ".npy":
        return _npy
    texts = (".json", ".yaml", ".csv", ".txt")
    return _text if path.suffix in texts or path.name in (".zgroup", ".zarray") else None


def _bytes(content: bytearray, random: Generator) -> None:
    size = len(content)
    if not size:
        return
    at = int(random.integers(size))
    # Headers are a small part of a file, and the more interesting one.
    at = at if random.random() < 0.5 else at % 2048 % size
    length = int(2 ** random.uniform(0, 9))
    match int(random.integers(7)):
        case 0 | 1:
            content[at] ^= 1 << int(random.integers(8))
        case 2:
            content[at : at + length] = random.bytes(length)
        case 3:
            del content[at:]
        case 4:
            del content[at : at + length]
        case 5:
            other = int(random.integers(size))
            content[at : at + length] = content[other : other + length]
        case _:
            filling = bytes([int(random.choice([0, 1, 0x7F, 0x80, 0xFF]))])
            content[at : at + 8] = filling * len(content[at : at + 8])


def _pick(random: Generator, choices: Any) -> Any:
    return choices[int(random.integers(len(choices)))]


def _array(array: np.ndarray, random: Generator) -> np.ndarray:
    """An array in place of another one."""
    match int(random.integers(8)):
        case 0:
            return array.astype(_pick(random, DTYPES))
        case 1:
            return array.T
        case 2:
            return array[..., :-1] if array.ndim else array.reshape(1)
        case 3:
            return array.reshape(-1)
        case 4:
            return array[None] if array.ndim < 8 else array
        case 5:
            return np.zeros(tuple(random.integers(0, 4, int(random.integers(0, 5)))), array.dtype)
        case 6:
            return np.asarray(_pick(random, VALUES))
    changed = array.copy()
    if changed.size and changed.dtype.kind in "iufc":
        spot = int(random.integers(changed.size))
        value = _pick(random, VALUES[:13])
        if changed.dtype.kind in "iu":
            limits = np.iinfo(changed.dtype)
            value = limits.max if random.random() < 0.5 else limits.min
        with np.errstate(all="ignore"):
            changed.flat[spot] = np.asarray(value).astype(changed.dtype)
    return changed


def _hdf5(path: Path, random: Generator) -> None:
    with h5py.File(path, "r+") as file:
        items = ["/"]
        file.visit(items.append)
        name = _pick(random, items)
        item = file[name]
        if len(item.attrs) and random.random() < 0.5:
            key, value = _pick(random, list(item.attrs)), _pick(random, VALUES)
            del item.attrs[key]
            if random.random() < 0.9:
                item.attrs[key] = h5py.Empty("f8") if random.random() < 0.1 else _storable(value)
            return
        if name == "/":
            return
        array = np.asarray(item[()] if isinstance(item, h5py.Dataset) else np.zeros(3))
        attributes = dict(item.attrs)
        del file[name]
        match int(random.integers(9)):
            case 0:
                return
            case 1:
                file.create_dataset(name, dtype="f8")
            case 2:
                shape = tuple(int(2 ** random.uniform(0, 45)) for _ in range(max(1, array.ndim)))
                file.create_dataset(name, shape, array.dtype, chunks=(1,) * len(shape))
            case 3:
                file[name] = h5py.SoftLink(_pick(random, [*items, "/nowhere", name]))
            case 4:
                other = _pick(random, ["/etc/passwd", "nothing.h5", path.name])
                file[name] = h5py.ExternalLink(other, _pick(random, items))
            case 5:
                layout = h5py.VirtualLayout(array.shape or (1,), array.dtype)
                source = _pick(random, ["nothing.h5", ".", "part%b.h5"])
                layout[:] = h5py.VirtualSource(source, _pick(random, items), array.shape or (1,))
                file.create_virtual_dataset(name, layout)
            case 6:
                file.create_group(name)
            case _:
                file[name] = _storable(_array(np.asarray(array), random))
        if isinstance(file.get(name), h5py.Dataset):
            file[name].attrs.update(attributes)


def _storable(value: Any) -> Any:
    array = np.asarray(value)
    return str(value) if array.dtype.kind == "U" else value


def _archive(path: Path, random: Generator) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = _pick(random, list(members))
    content = members[name]
    if name.endswith(".npy"):
        content = _of_npy(content, random)
    elif name.endswith(".json"):
        content = _json(content, random)
    else:
        size = int.from_bytes(content[:8], "little")
        header = _json(content[8 : 8 + size], random)
        content = len(header).to_bytes(8, "little") + header + content[8 + size :]
    members[name] = content
    if random.random() < 0.1:
        del members[name]
    packing = zipfile.ZIP_DEFLATED if random.random() < 0.3 else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", packing) as archive:
        for key, value in members.items():
            archive.writestr(key, value)


def _npy(path: Path, random: Generator) -> None:
    path.write_bytes(_of_npy(path.read_bytes(), random))


def _of_npy(content: bytes, random: Generator) -> bytes:
    if random.random() < 0.5:
        return content[:8] + _tokens(content[8:200], random) + content[200:]
    stream = io.BytesIO()
    np.save(stream, _array(np.load(io.BytesIO(content)), random), allow_pickle=False)
    return stream.getvalue()


def _json(content: bytes, random: Generator) -> bytes:
    if random.random() < 0.5:
        return _tokens(content, random)
    tree = json.loads(content)
    place, key = tree, None
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        parent, key = place, _pick(random, list(keys))
        place = parent[key]
        if random.random() < 0.3:
            break
    if key is not None:
        value = _pick(random, [v for v in VALUES if not isinstance(v, bytes)])
        parent[key] = [{}] * 3 if random.random() < 0.1 else value
    return json.dumps(tree).encode()


def _text(path: Path, random: Generator) -> None:
    path.write_bytes(_tokens(path.read_bytes(), random))


def _tokens(content: bytes, random: Generator) -> bytes:
    """Text with a word of trouble put in, or in the place of something."""
    token = str(_pick(random, TOKENS)).encode()
    at = int(random.integers(len(content) + 1))
    return content[:at] + token + content[at + int(random.choice([0, 1, 4, 10])) :]
