"""Single patterns are left out by their numbers, with their positions."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.raw_files import PIXEL, Raw

import ptychopinn as pp
from ptychopinn import prepare
from ptychopinn.cli import run
from ptychopinn.sources.leaving_out import left_out_of, numbers_in, without


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return Raw(tmp_path_factory.mktemp("raw"))


@pytest.mark.parametrize("frames", [slice(None), slice(3, 40), slice(5, None, 3), slice(-7, None)])
@pytest.mark.parametrize("text", ["", "33", "0,39", "33, 4 ,10:14,12:20", "0:38"])
def test_what_is_left_is_what_was_not_named(frames: slice, text: str) -> None:
    named = numbers_in(left_out_of(text))
    left = numbers_in(without(range(40)[frames], left_out_of(text)))
    assert left.tolist() == np.setdiff1d(np.arange(40)[frames], named).tolist()


def prepared(raw: Raw, path: Path, **options: str) -> pp.Scan:
    return prepare(path, **{"probe": str(raw.native), "pixel_size_m": PIXEL, **options})


def test_patterns_go_with_their_positions(raw: Raw, tmp_path: Path) -> None:
    kept = np.delete(np.arange(8, 40), [12, 20, 21])
    path = tmp_path / "scan.h5"
    options = ["--frames", "8:", "--leave-out", "20,28:30"]
    how = ["--probe", str(raw.native), "--pixel-size-m", str(PIXEL)]
    assert run(["prepare", str(raw.keys()), "-o", str(path), *options, *how]) == 0
    scan = pp.load_scan(path)
    np.testing.assert_array_equal(scan.diffraction[:], raw.counts[kept])
    np.testing.assert_allclose(
        scan.positions_px - scan.positions_px[0],
        (raw.scan.positions_px - raw.scan.positions_px[8])[kept],
        atol=1e-4,
    )
    assert scan.provenance["recipe"]["leave_out"] == "20,28:30"
    again = prepared(raw, raw.keys(), recipe=scan.provenance["recipe"], leave_out="")
    assert again.M == 32


def test_it_takes_of_patterns_or_positions_those_that_are_more(raw: Raw, tmp_path: Path) -> None:
    """A frame without a position, and a position without a frame, in mid-scan."""
    for name, frames, places in (
        ("frame", np.insert(raw.counts, 17, 0, axis=0), (raw.y, raw.x)),
        ("place", raw.counts, (np.insert(raw.y, 17, 1.0), np.insert(raw.x, 17, 1.0))),
    ):
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file["frames"], file["y_m"], file["x_m"] = frames, *places
        scan = prepared(raw, path, leave_out="17")
        np.testing.assert_array_equal(scan.diffraction[:], raw.counts)
        apart = scan.positions_px - raw.scan.positions_px
        assert np.ptp(apart, axis=0).max() < 1e-4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("40", "with number 40 where the last of 40 patterns has number 39"),
        ("0:40", "at least one pattern must be left, received leave_out=0:40"),
        ("-1", "it must be numbers of patterns from 0 on"),
        ("5:5", "it must have ranges A:B with B above A"),
        ("5:", "it must be numbers of patterns"),
        ("1e3", "it must be numbers of patterns"),
        ("1," * 3000 + "1", "it must be numbers of patterns"),
    ],
)
def test_numbers_that_are_none(text: str, words: str, raw: Raw) -> None:
    with pytest.raises(pp.InputError, match=words):
        prepared(raw, raw.keys(), leave_out=text)
