"""Files of other kinds, told by their first bytes, where no reader knows them."""

from __future__ import annotations

from pathlib import Path

from ptychopinn.io.reading import guarded, kind_of

UNPACK = "unpack it first"
FETCH = "fetch the file itself"
# First bytes, what they are of, and what to do.
_KINDS = (
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"PK\x03\x04", "a ZIP archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"version https://git-lfs", "a pointer of Git LFS", FETCH + " with git lfs pull"),
    (b"\x80\x04\x95", "a pickle of Python, which could execute code when read", ""),
    (b"\x80\x05\x95", "a pickle of Python, which could execute code when read", ""),
    (b"\x89PNG", "a PNG picture", ""),
    (b"\xff\xd8\xff", "a JPEG picture", ""),
    (b"%PDF", "a PDF document", ""),
    (b"SIMPLE  =", "a FITS file", ""),
    (b"CDF\x01", "a NetCDF file of version 3", ""),
    (b"CDF\x02", "a NetCDF file of version 3", ""),
)
_STORE = "store the patterns in an HDF5 or NPZ file"


def what_it_is(path: Path) -> tuple[str, str] | None:
    """What a file is, and what to do with it; None where that is not known."""
    if kind_of(path) != "file":
        return None
    with guarded(path), path.open("rb") as file:
        head = file.read(512)
    if head[257:262] == b"ustar":
        return "a tar archive", UNPACK
    for first, name, remedy in _KINDS:
        if head.startswith(first):
            return name, remedy or _STORE
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a page of a web server", FETCH
    if head and not head.strip(b"\t\n\r\x0c" + bytes(range(32, 127))):
        return "text", _STORE + ", or give it as the positions of one"
    return None
