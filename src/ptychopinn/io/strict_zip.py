"""Strict zip archives: a fixed set of members, reproducible bytes, hard limits when reading.

Both the model bundle and the training checkpoint are such archives. A file from outside is read
without ever being extracted: nothing is written, no name in it is used as a path, and no number
in it decides how much memory is taken.
"""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

from ptychopinn.errors import InputError, PtychoPINNError, brief, shown
from ptychopinn.io.atomic import atomic_path
from ptychopinn.io.reading import guarded, parse_json

FIXED_TIME = (1980, 1, 1, 0, 0, 0)
LARGEST_RATIO = 1000
LARGEST_DIRECTORY = 64 * 1024
# A member beyond this size must not be compressed more than a tenth of that: JSON of empty lists
# packs well, and takes many times its size when it is parsed.
LARGE_MEMBER = 8 << 20
# Names and shapes of about ten thousand tensors.
LARGEST_HEADER = 1 << 20

_END = struct.Struct("<4sHHHHIIH")
_ZIP64_LOCATOR_SIZE = 20
_ENCRYPTED = 0x1


class Damaged(PtychoPINNError):
    """What is wrong with an archive, as a phrase that follows 'received'."""


def write_archive(
    path: Path,
    members: Mapping[str, bytes],
    limits: Mapping[str, int],
    what: str,
    force: bool = True,
) -> None:
    """Write ``members`` in their order as an uncompressed zip, atomically.

    Equal members give equal bytes: times and attributes are constants, and storing without
    compression keeps the result independent of the version of zlib.

    Raises
    ------
    InputError
        When a member is above its limit in bytes, the file cannot be written, or, unless ``force``
        is set, it exists.
    """
    for name, content in members.items():
        if len(content) > limits[name]:
            raise InputError(
                f"{what} must keep {name} within {limits[name]} bytes, received {len(content)}; "
                "use a smaller model."
            )
    with (
        atomic_path(path, force) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=False) as archive,
    ):
        for name, content in members.items():
            info = zipfile.ZipInfo(name, FIXED_TIME)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)


def read_archive(path: Path, limits: Mapping[str, int], what: str) -> dict[str, bytes]:
    """The members of a zip that must hold exactly the names of ``limits``.

    ``limits`` gives the largest size of each member in bytes, after decompression.

    Raises
    ------
    InputError
        When the file is anything else: not a zip, truncated, with a missing, foreign, repeated,
        encrypted, linked, damaged or too large member, or with bytes outside the archive.
    """
    try:
        with guarded(path), path.open("rb") as stream:
            _check_frame(stream, sum(limits.values()))
            with zipfile.ZipFile(stream) as archive:
                infos = _check_names(archive, limits)
                return {name: _read_member(archive, infos[name], limits[name]) for name in limits}
    except Damaged as error:
        refuse(what, path, limits, str(error))


def refuse(what: str, path: Path, names: Mapping[str, int], reason: str) -> NoReturn:
    """Raise the InputError of everything that reads such an archive."""
    raise InputError(
        f"{what} must hold exactly {', '.join(names)}, received {brief(reason)} in '{path}'; "
        "use a complete and unchanged file written by this program."
    )


def read_capped(stream: IO[bytes], limit: int, name: str) -> bytes:
    """Everything in ``stream``, or Damaged when there are more than ``limit`` bytes."""
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise Damaged(f"a member {name} larger than {limit} bytes")
    return content


def check_tensors(content: bytes) -> None:
    """The header of a safetensors blob: names are unique, no other keys, not more than a model has.

    Layout: an unsigned 64-bit length (little-endian), the header as JSON, the data.

    Raises
    ------
    ValueError
        When the header is anything else.
    """
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content) - 8:
        raise ValueError("the header is cut off")
    if size > LARGEST_HEADER:
        raise ValueError(f"a header of {size} bytes")
    header = parse_json(content[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("the header is not a mapping")
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the header entry {shown(name)} is not a tensor")


def _check_frame(stream: IO[bytes], limit: int) -> None:
    """The file starts with a member, ends with the directory's end record, and is not too large.

    This leaves no room for a comment, for bytes before or after the archive, and for the ZIP64
    records, which could announce a directory of any size.
    """
    size = stream.seek(0, 2)
    if size > limit + LARGEST_DIRECTORY:
        raise Damaged(f"a file of {size} bytes")
    if size < _END.size:
        raise Damaged(f"a file of {size} bytes that is not a zip")
    tail_size = min(size, _END.size + _ZIP64_LOCATOR_SIZE)
    stream.seek(-tail_size, 2)
    tail = stream.read(tail_size)
    signature, _, _, _, _, directory, _, comment = _END.unpack(tail[-_END.size :])
    if signature != b"PK\x05\x06" or comment:
        raise Damaged("a file that is not a zip or is cut off")
    if directory > LARGEST_DIRECTORY or tail.startswith(b"PK\x06\x07"):
        raise Damaged("a foreign zip (ZIP64, or with a large directory)")
    stream.seek(0)


def _check_names(archive: zipfile.ZipFile, limits: Mapping[str, int]) -> dict[str, zipfile.ZipInfo]:
    infos: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        # The original name, because zipfile cuts names at a null byte.
        name = info.orig_filename
        if name not in limits:
            raise Damaged(f"the foreign member {shown(name)}")
        if name in infos:
            raise Damaged(f"the member {name} twice")
        infos[name] = info
    for name in limits:
        if name not in infos:
            raise Damaged(f"no member {name}")
    if min(info.header_offset for info in infos.values()) != 0:
        raise Damaged("bytes before the first member")
    return infos


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    name, declared = info.filename, info.file_size
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise Damaged(f"a member {name} that is a link or not a plain file")
    if info.flag_bits & _ENCRYPTED:
        raise Damaged(f"an encrypted member {name}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Damaged(f"a member {name} with compression method {info.compress_type}")
    if declared > limit:
        raise Damaged(f"a member {name} of {declared} bytes, the limit being {limit}")
    if declared > LARGEST_RATIO * max(info.compress_size, 1):
        raise Damaged(f"a member {name} compressed more than {LARGEST_RATIO} times")
    if declared > LARGE_MEMBER and 10 * declared > LARGEST_RATIO * info.compress_size:
        raise Damaged(f"a member {name} of {declared} bytes packed into {info.compress_size}")
    # zipfile stops at the declared size, whatever follows; lift that to see the actual size.
    info.file_size = limit + 2
    with archive.open(info) as member:
        content = read_capped(member, limit, name)
    if len(content) != declared:
        raise Damaged(f"a member {name} of {len(content)} bytes where {declared} are declared")
    return content
