"""Files that are no scans are called what they are, and links that lead nowhere are named."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import h5py
import pytest

from ptychopinn.errors import InputError
from ptychopinn.io import load_scan
from ptychopinn.workflows.prepare import prepare
from scan_files import Content, write

CONTENTS = {
    "gzip": (gzip.compress(b"any"), "a gzip archive; unpack it first"),
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
