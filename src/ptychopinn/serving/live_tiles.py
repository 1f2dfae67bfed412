"""What a job shows of its work, as messages to viewers.

Each part is one by itself, and the canvas is cut into tiles, so that only what changed is sent, and
is packed once for all viewers.
"""

from __future__ import annotations

import json
import math
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Pixels along a side of a tile; jobs whose messages are kept.
TILE, KEPT = 256, 8
FORMAT, VERSION = "ptychopinn-live", 1

# By name of a part: what changes with its content, and the message.
Messages = dict[str, tuple[int, bytes]]


class LiveTiles:
    """The messages of the jobs that somebody watches."""

    def __init__(self) -> None:
        self._shown: OrderedDict[int, _Shown] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, number: int, path: Path) -> Messages:
        """Those of a job that writes ``path``; none when there is no such file.

        A message is the number of the job and the length of what follows (4 bytes each,
        big-endian), JSON about the part, and its levels, packed (zlib). Those of a tile are
        differences from the pixel on the left, modulo 256; before the first of a row is a 0.
        """
        with self._lock:
            shown = self._shown.setdefault(number, _Shown(number))
            self._shown.move_to_end(number)
            while len(self._shown) > KEPT:
                self._shown.popitem(last=False)
            shown.look(path)
            return shown.messages


class _Shown:
    def __init__(self, number: int) -> None:
        self.messages: Messages = {}
        self._number, self._at = number, 0

    def look(self, path: Path) -> None:
        try:
            at = path.stat().st_mtime_ns
            if at == self._at:
                return
            content = path.read_bytes()
        except FileNotFoundError:
            self.messages = {}
            return
        self._at = at
        found: Messages = {}
        for name, about, levels in _pieces(content):
            version = zlib.crc32(levels, zlib.crc32(json.dumps(about).encode()))
            before = self.messages.get(name)
            same = before is not None and before[0] == version
            found[name] = before if same and before else (version, self._packed(about, levels))
        self.messages = found

    def _packed(self, about: dict[str, Any], levels: bytes) -> bytes:
        head = json.dumps(about).encode()
        numbers = self._number.to_bytes(4, "big") + len(head).to_bytes(4, "big")
        # Differences lie near 0, so their frequencies say most. To look for what comes again as
        # well would take twice as long, and noise does not come again.
        packing = zlib.compressobj(1, strategy=zlib.Z_RLE)
        return numbers + head + packing.compress(levels) + packing.flush()


def _pieces(content: bytes) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """The parts of a file of :mod:`ptychopinn.report.live_picture`: name, what is said, levels; of
    another version none."""
    end = content.index(b"\n")
    head = json.loads(content[:end])
    if (head["format"], head["version"]) != (FORMAT, VERSION):
        return
    at = end + 1
    for part in head["parts"]:
        length = math.prod(part["shape"])
        levels = memoryview(content)[at : at + length]
        at += length
        if part["kind"] != "canvas":
            yield part["kind"], part, bytes(levels)
            continue
        canvas = np.frombuffer(levels, np.uint8).reshape(part["shape"])
        for y in range(0, canvas.shape[0], TILE):
            for x in range(0, canvas.shape[1], TILE):
                tile = canvas[y : y + TILE, x : x + TILE]
                about = {**part, "kind": "tile", "at": [y, x], "size": [*tile.shape]}
                yield f"tile {y} {x}", about, np.diff(tile, axis=1, prepend=np.uint8(0)).tobytes()
