"""HDF5's heaps of texts, looked at before HDF5 does: a damaged one makes it read for ever.

Texts of any length lie in global heaps (HDF5 file format specification 3.0, III.E). Each begins
with ``GCOL``, version 1 and its size, and holds objects one after the other, each with a header of
16 bytes that ends in its size. Number 0 is the free space, whose size counts its header.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from ptychopinn.io.reading import damaged

SIGNATURE, HEADER, ALIGNMENT = b"GCOL\x01\0\0\0", 16, 8
# Larger files are the patterns of somebody's experiment, and looking through them takes long.
LARGEST = 1 << 30


def check_heaps(path: Path) -> None:
    """Raise InputError when a global heap of the file leads nowhere."""
    size = path.stat().st_size
    if not 0 < size <= LARGEST:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(SIGNATURE)
        while at >= 0:
            if not _ends(content, at):
                raise damaged(path, "a heap of texts without an end")
            at = content.find(SIGNATURE, at + len(SIGNATURE))


def _ends(content: mmap.mmap, start: int) -> bool:
    """Whether the objects of the heap at ``start`` reach its end."""
    end = start + int.from_bytes(content[start + 8 : start + HEADER], "little")
    at = start + HEADER
    while at + HEADER <= min(end, len(content)):
        number = int.from_bytes(content[at : at + 2], "little")
        size = int.from_bytes(content[at + 8 : at + HEADER], "little")
        step = size if number == 0 else HEADER + -(-size // ALIGNMENT) * ALIGNMENT
        if step < HEADER:
            return False
        at += step
    return True
