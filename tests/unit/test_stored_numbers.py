"""Counts that were spoilt when they were stored: swapped bytes and counters that began again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.checks.base import Look
from ptychopinn.data.scan import Scan
from ptychopinn.data.wrapped import WrapTally
from ptychopinn.io.detector import clean


def drawn(expected: Scan, brightest: float, seed: int = 1) -> NDArray[Any]:
    """Counts whose brightest expected one is this."""
    mean = np.asarray(expected.diffraction, np.float64)
    return np.random.default_rng(seed).poisson(mean * (brightest / mean.max()))


@pytest.fixture(scope="module", params=[("leaves", 32, 0.0), ("natural", 64, 0.4)])
def expected(request: pytest.FixtureRequest) -> Scan:
    kind, n, stop = request.param
    return pp.simulate(
        object=kind, N=n, patterns=64, step_px=n / 10, central_stop=stop, poisson=False, seed=2
    )


@pytest.mark.parametrize("dtype", ["u2", "u4"])
@pytest.mark.parametrize("brightest", [300, 3000, 60000])
def test_swapped_bytes_are_swapped_back(expected: Scan, brightest: float, dtype: str) -> None:
    counts = np.minimum(drawn(expected, brightest), 65535).astype(dtype)
    right = replace(expected, diffraction=counts)
    assert "swapped-bytes" not in [one.name for one in examine(right).findings]
    found = examine(replace(right, diffraction=counts.byteswap()))
    assert [one.name for one in found.findings][:1] == ["swapped-bytes"]
    assert found.findings[0].level == "mended"
    np.testing.assert_array_equal(found.scan.diffraction, counts)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("times", [1.5, 6, 40])
def test_counts_that_began_again_are_an_error(expected: Scan, bits: int, times: float) -> None:
    end = 2**bits
    counts = (drawn(expected, times * end) % end).astype(np.uint16)
    found = examine(replace(expected, diffraction=counts))
    (said,) = found.findings
    assert (said.name, said.level, said.details["end"]) == ("wrapped-counts", "fault", end)
    assert f"numbers of {bits} bits" in said.message
    with pytest.raises(pp.InputError, match="no_mend wrapped-counts"):
        found.require()


def test_a_few_patterns_that_began_again_are_seen() -> None:
    """None of them is among those that other checks look at."""
    scan = pp.simulate(object="leaves", N=32, patterns=64, poisson=False, step_px=3.2, seed=2)
    counts = np.tile(drawn(scan, 3900), (10, 1, 1)).astype(np.uint16)
    places = np.tile(scan.positions_px, (10, 1)) + np.arange(640)[:, None] * 1e-3
    many = replace(scan, diffraction=counts, positions_px=places, object=None)
    assert "wrapped-counts" not in [one.name for one in examine(many).findings]
    unseen = np.setdiff1d(np.arange(640), Look(many).numbers)[::40]
    assert 3 <= len(unseen) <= 8
    counts[unseen] = counts[unseen].astype(np.int64) * 3 % 4096
    (said,) = examine(many).findings
    assert (said.name, said.details["end"]) == ("wrapped-counts", 4096)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_it_is_judged_by_all_blocks_together(expected: Scan, bits: int) -> None:
    """One by one no pattern shows enough, and the brightest may come last."""
    counts = (drawn(expected, 1.5 * 2**bits) % 2**bits).astype(np.uint16)
    good = expected.good_pixels
    counts = counts[np.argsort(counts.max(axis=(1, 2)))]
    tallies = [WrapTally(good.shape) for _ in range(2)]
    tallies[0].add(counts, good)
    for pattern in counts:
        alone = WrapTally(good.shape)
        alone.add(pattern[None], good)
        tallies[1].add(pattern[None], good)
    first, second = (tally.found(good) for tally in tallies)
    assert first is not None and first == second and first.end == 2**bits


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_counts_that_end_just_below_are_left_alone(expected: Scan, bits: int) -> None:
    """And so they are where a pixel is dead, and where the brightest readings are saturated."""
    end = 2**bits
    counts = drawn(expected, 1.2 * end)
    below = (counts * ((end - 1) / counts.max())).astype(np.uint16)
    saturated = np.minimum(counts, end - 1).astype(np.uint16)
    dead = below.copy()
    y, x = np.unravel_index(int(below.sum(axis=0).argmax()), below.shape[1:])
    dead[:, y, x] = 0
    for patterns in (below, saturated, dead):
        names = [one.name for one in examine(replace(expected, diffraction=patterns)).findings]
        assert "wrapped-counts" not in names


def test_counts_that_go_on_below_zero_are_named() -> None:
    scan = pp.simulate(object="leaves", N=32, patterns=64, photons=3e6, seed=2)
    counts = np.asarray(scan.diffraction, np.int64)
    assert counts.max() > 40000
    for patterns, words in (
        (counts.astype("i2"), "int16, ends at 32767"),
        ((counts // 30).astype("i2").byteswap(), "bytes are in the opposite order"),
    ):
        assert patterns.min() < 0
        with pytest.raises(pp.InputError, match=words):
            clean(patterns, "data", None)
    # What is no counts at all keeps its own words.
    with pytest.raises(pp.InputError, match="no noise about zero"):
        clean((counts // 100 - 20).astype("i2"), "data", None)


@pytest.mark.parametrize("where", ["frames", "rows", "pixels"])
@pytest.mark.parametrize("bit", [12, 15])
def test_a_bit_that_is_no_part_of_the_counts_is_an_error(
    expected: Scan, where: str, bit: int
) -> None:
    counts = drawn(expected, 700).astype(np.uint16)
    marked = np.zeros(counts.shape, bool)
    if where == "frames":
        marked[::3] = True
    elif where == "rows":
        marked[:, 1::2] = True
    else:
        marked[:] = np.random.default_rng(0).random(counts.shape) < 0.02
    counts[marked] |= np.uint16(1 << bit)
    (said,) = examine(replace(expected, diffraction=counts)).findings
    assert (said.name, said.level, said.details["bit"]) == ("status-bit", "fault", bit)


@pytest.mark.parametrize("brightest", [300, 3000, 60000])
def test_hot_pixels_are_no_bits(expected: Scan, brightest: float) -> None:
    counts = drawn(expected, brightest).astype(np.uint32)
    counts[:, 3, 4] = counts[5, 6, 7] = 1 << 18
    assert "status-bit" not in [
        one.name for one in examine(replace(expected, diffraction=counts)).findings
    ]


@pytest.mark.parametrize(
    ("name", "coded"),
    [
        ("sqrt(counts)", lambda c: 100 * np.sqrt(c)),
        ("sqrt(counts)", lambda c: 65535 * np.sqrt(c / c.max())),
        ("sqrt(counts)", lambda c: 12.4 * np.sqrt(c)),
        ("log(counts + 1)", lambda c: 255 * np.log1p(c) / np.log1p(c.max())),
        ("log(counts + 1)", lambda c: 1000 * np.log10(c + 1)),
    ],
)  # fmt: skip
def test_roots_and_logarithms_made_whole_are_an_error(
    expected: Scan, name: str, coded: Any
) -> None:
    counts = drawn(expected, 900).astype(float)
    stored = np.rint(coded(counts)).astype(np.uint16)
    said = {one.name: one for one in examine(replace(expected, diffraction=stored)).findings}
    found = said["rounded-scale"]
    assert found.level == "fault" and found.details["scale"] == name
    # What it says brings the counts back.
    undo = found.message.split("np.rint(")[1].split(") gives them")[0]
    back = eval(undo, {"exp": np.exp, "x": stored.astype(float)})
    few = counts < 20
    np.testing.assert_array_equal(np.rint(back)[few], counts[few])


@pytest.mark.parametrize("factor", [1, 7, 37, 100])
@pytest.mark.parametrize("brightest", [4, 30, 900, 50000])
def test_counts_and_their_multiples_are_no_roots(
    expected: Scan, factor: int, brightest: float
) -> None:
    stored = (drawn(expected, brightest) * factor).astype(np.uint32)
    names = [one.name for one in examine(replace(expected, diffraction=stored)).findings]
    assert "rounded-scale" not in names


def test_squares_of_counts_are_named() -> None:
    scan = pp.simulate(object="leaves", N=32, patterns=36, photons=1e5, seed=4401)
    counts = np.asarray(scan.diffraction[:]).astype(np.uint32)
    named = [
        [one.details.get("scale") for one in examine(replace(scan, diffraction=given)).findings]
        for given in (counts**2, counts)
    ]
    assert "counts**2" in named[0] and "counts**2" not in named[1]
