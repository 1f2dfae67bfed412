"""What the option frames asks for beyond what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ptychopinn as pp
from ptychopinn.data.findings import recorded_findings
from ptychopinn.io import load_scan
from ptychopinn.workflows.prepare import prepare
from scan_files import FORMATS, Content, M, load, write


def said(scan: pp.Scan) -> list[str]:
    return [one.message for one in recorded_findings(scan.provenance) if one.name == "frames-cut"]


def prepared(folder: Path, frames: str) -> pp.Scan:
    return prepare(write("npz", folder, Content()), frames=frames)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "arrays"] + ["prepare"])
def test_a_range_that_goes_beyond_the_patterns_is_said(kind: str, tmp_path: Path) -> None:
    def read(frames: str) -> pp.Scan:
        if kind == "prepare":
            return prepared(tmp_path, frames)
        return load(kind, tmp_path, Content(), frames=frames)

    scan = read("5:500")
    assert scan.M == M - 5
    (message,) = said(scan)
    assert "frames=5:500 names 495 patterns" in message
    assert f"{M - 5} of them are there" in message
    assert said(read("5:24")) == said(read("5:")) == said(read("::5")) == said(read("-3:")) == []


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ("24:30", "begins behind the last of 24 patterns, number 23"),
        ("5:5", "ends before it has begun, since pattern 5 itself is not taken"),
        ("20:3", "ends before it has begun"),
        (":-24", "ends before it has begun"),
    ],
)
def test_an_empty_range_is_refused_with_its_cause(frames: str, words: str, tmp_path: Path) -> None:
    reads: list[Any] = [
        lambda: load_scan(write("npz", tmp_path, Content()), frames=frames),
        lambda: prepared(tmp_path, frames),
    ]
    for read in reads:
        with pytest.raises(pp.InputError, match=words):
            read()


def test_a_range_from_the_end_that_begins_before_the_first(tmp_path: Path) -> None:
    scan = load("npz", tmp_path, Content(), frames="-100:")
    assert scan.M == M
    assert "names 100 patterns" in said(scan)[0]
