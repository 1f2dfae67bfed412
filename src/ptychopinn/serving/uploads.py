"""Scans that come in through the browser, and those that are in the folder already."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Any

from ptychopinn.errors import InputError, shown
from ptychopinn.io.atomic import atomic_path
from ptychopinn.serving.access import too_large
from ptychopinn.serving.inside import Inside
from ptychopinn.serving.runs import DEPTH, MOST, RECORD, has_letters

FOLDER = "uploads"
# Endings of files that may be scans; the look at one tells.
ENDINGS = (".h5", ".hdf5", ".npz", ".mat", ".cxi", ".nxs", ".emd")
LONGEST, LISTED = 200, 2000


class TooLarge(InputError):
    """An upload longer than is allowed."""


def upload_name(name: str) -> str:
    """The name, when it is one of a plain file.

    Raises
    ------
    InputError
        For parts of a path, signs that cannot be printed, a dot or a dash at its head, names that
        are too long or mean something else on another system.
    """
    plain = unicodedata.normalize("NFC", name)
    if (
        not plain
        or plain != plain.strip()
        or plain[0] in ".-~"
        or plain[-1] == "."
        or len(plain.encode(errors="replace")) > LONGEST
        or any(sign in '/\\:*?"<>|' or not sign.isprintable() for sign in plain)
    ):
        raise InputError(
            f"the plain name of a file was expected, of at most {LONGEST} bytes, without a dot "
            "before it, signs that cannot be printed, and those of folders and patterns "
            f'(/ \\ : * ? " < > |), received {shown(name)}; rename the file.'
        )
    return plain


async def receive(stream: AsyncIterator[bytes], inside: Inside, name: str, most: int) -> Path:
    """Write what comes into a new file below ``uploads``; whole, or not at all.

    Raises
    ------
    InputError
        For a name that is none or is taken, a folder that leads elsewhere, no room.
    TooLarge
        When more than ``most`` bytes come.
    """
    import anyio

    target = inside.path(f"{FOLDER}/{upload_name(name)}")
    if target.exists():
        raise InputError(
            f"the name of a new file was expected, received {shown(name)}, which is there; rename "
            "the file, or use the one that is there."
        )
    target.parent.mkdir(exist_ok=True)
    length = 0
    with atomic_path(target, force=False) as temporary:
        async with await anyio.open_file(temporary, "wb") as file:
            async for block in stream:
                length += len(block)
                if length > most:
                    raise TooLarge(too_large(most))
                await file.write(block)
        if length == 0:
            raise InputError("a file with content was expected, received an empty one; look at it.")
    return target


def scans_in(inside: Inside) -> list[dict[str, Any]]:
    """Files that may be scans, the newest first: path, bytes, time. What runs wrote is left out."""
    found: list[dict[str, Any]] = []
    for place, folders, files in islice(os.walk(inside.folder), MOST):
        depth = len(Path(place).relative_to(inside.folder).parts)
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if depth < DEPTH else []
        if RECORD in files:
            continue
        for name in files:
            path = Path(place) / name
            if not name.lower().endswith(ENDINGS) or name.startswith(".") or not has_letters(path):
                continue
            try:
                about = path.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(about.st_mode):
                continue
            found.append(
                {"path": inside.name(path), "bytes": about.st_size, "changed": about.st_mtime}
            )
    return sorted(found, key=lambda scan: scan["changed"], reverse=True)[:LISTED]
