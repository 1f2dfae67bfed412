"""How far packed bytes unpack, found before a library takes the memory for all of it."""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from ptychopinn.io.reading import SMALL, damaged

BLOCK = 1 << 20
# Deflate cannot do better; of the others nobody knows.
DEFLATE_RATIO = 1032
_ZSTD = b"\x28\xb5\x2f\xfd"


def _deflate(content: bytes, bits: int) -> Iterator[bytes]:
    worker = zlib.decompressobj(bits)
    while content and not worker.eof:
        yield worker.decompress(content, BLOCK)
        content = worker.unconsumed_tail


def _in_turns(
    content: bytes, worker: bz2.BZ2Decompressor | lzma.LZMADecompressor
) -> Iterator[bytes]:
    while not worker.eof:
        part = worker.decompress(content, BLOCK)
        if not part and worker.needs_input:
            return
        content = b""
        yield part


_PARTS: Mapping[str, Callable[[bytes], Iterator[bytes]]] = MappingProxyType(
    {
        "zlib": lambda content: _deflate(content, zlib.MAX_WBITS),
        "gzip": lambda content: _deflate(content, zlib.MAX_WBITS | 16),
        "bz2": lambda content: _in_turns(content, bz2.BZ2Decompressor()),
        "lzma": lambda content: _in_turns(content, lzma.LZMADecompressor(memlimit=SMALL)),
    }
)
# What they begin with.
_MARKS: Mapping[str, re.Pattern[bytes]] = MappingProxyType(
    {
        "gzip": re.compile(rb"\x1f\x8b\x08"),
        "bz2": re.compile(rb"BZh[1-9]1AY&SY"),
        "lzma": re.compile(rb"\xfd7zXZ\0"),
        "zlib": re.compile(rb"\x78[\x01\x5e\x9c\xda]"),
    }
)
# Bytes that only look like one of them.
_NOT_PACKED = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


def check_unpacked(content: bytes, kind: str | None, limit: int, path: Path) -> None:
    """Raise InputError for packed bytes of the file ``path`` that unpack to more than ``limit``.

    ``kind`` is zlib or lzma; None where the bytes themselves tell, of these, gzip, bz2, blosc and
    Zstandard. ``limit`` is what they can hold at most; below ``reading.SMALL`` nothing is refused.
    """
    limit = max(limit, SMALL)
    if kind is None:
        said = _stated(content)
        if said is not None and said > limit:
            raise damaged(path, f"{len(content)} bytes that unpack to {said}")
        kind = next((kind for kind, mark in _MARKS.items() if mark.match(content)), None)
    if kind is None or (kind in ("zlib", "gzip") and len(content) * DEFLATE_RATIO <= limit):
        return
    unpacked = 0
    with suppress(*_NOT_PACKED):
        for part in _PARTS[kind](content):
            unpacked += len(part)
            if unpacked > limit:
                break
    if unpacked > limit:
        raise damaged(path, f"{len(content)} bytes that unpack to more than {unpacked}")


def _stated(content: bytes) -> int | None:
    """What blosc, or a frame of Zstandard (RFC 8878, 3.1.1.1), says that it unpacks to."""
    if content.startswith(_ZSTD) and len(content) > 4:
        descriptor = content[4]
        single, size_flag = bool(descriptor & 0x20), descriptor >> 6
        start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
        length = (1 if single else 0, 2, 4, 8)[size_flag]
        said = int.from_bytes(content[start : start + length], "little")
        return said + (256 if length == 2 else 0) if length else None
    if len(content) >= 16 and int.from_bytes(content[12:16], "little") == len(content):
        return int.from_bytes(content[4:8], "little")
    return None
