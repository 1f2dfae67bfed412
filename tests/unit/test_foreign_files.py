"""Files that are no scans are called what they are, and links that lead nowhere are named."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.errors import InputError
from ptychopinn.io import load_scan
from ptychopinn.workflows.prepare import prepare
from scan_files import Content, write


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("scan.h5"))
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("scan.h5", b"any")
    return file.getvalue()


CONTENTS = {
    "gzip": (gzip.compress(b"any"), "a gzip archive; unpack it first"),
    "bzip2": (bz2.compress(b"any"), "unpack it first"),
    "tar": (tarred(), "a tar archive; unpack it first"),
    "zip": (zipped(), "a ZIP archive; unpack it first"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS; fetch"),
    "pickle": (pickle.dumps({"a": [1, 2]}, 4), "a pickle of Python, which could execute code"),
    "page": (b"\n<!DOCTYPE html><html>404</html>", "a page of a web server; fetch"),
    "text": (b"1 2\n3 4\n", "but text; store the patterns"),
    "picture": (b"\x89PNG\r\n\x1a\n", "a PNG picture; store the patterns"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_a_file_is(kind: str, tmp_path: Path) -> None:
    content, words = CONTENTS[kind]
    path = tmp_path / "scan.h5"
    path.write_bytes(content)
    for read in (load_scan, prepare):
        with pytest.raises(InputError) as refused:
            read(path)
        assert words in str(refused.value)


def test_other_files_than_npz_compressed_with_bzip2(tmp_path: Path) -> None:
    """Of NPZ that is read; NPY was called a damaged ZIP."""
    content = io.BytesIO()
    np.save(content, np.ones((4, 32, 32)))
    path = tmp_path / "patterns.npy.bz2"
    path.write_bytes(bz2.compress(content.getvalue()))
    with pytest.raises(InputError, match="compressed with bzip2; unpack it first"):
        prepare(path, patterns=str(path))


def test_what_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    path.write_bytes(bytes(range(200, 256)))
    with pytest.raises(InputError, match="which is none of them; convert it first"):
        load_scan(path)


@pytest.mark.parametrize("link", ["soft", "soft to soft", "external"])
def test_links_that_lead_nowhere(link: str, tmp_path: Path) -> None:
    path = write("cxi", tmp_path, Content())
    with h5py.File(tmp_path / "there.h5", "w") as file:
        file["any"] = 1
    with h5py.File(path, "r+") as file:
        detector = file["entry_1/instrument_1/detector_1"]
        del detector["data"]
        target = h5py.SoftLink("/nowhere/at/all")
        if link == "external":
            target = h5py.ExternalLink("there.h5", "/nowhere/at/all")
        detector["data"] = target
        if link == "soft to soft":
            file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
    for read in (load_scan, prepare):
        with pytest.raises(InputError, match=r"a link to '.*/nowhere/at/all', which does not"):
            read(path)
