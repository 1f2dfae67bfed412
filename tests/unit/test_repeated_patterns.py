"""Patterns that were written more than once: with too many of them, and in the place of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.io import load_scan
from ptychopinn.workflows.prepare import prepare
from scan_files import Content, M, counts_of, positions_of, write


def again(counts: np.ndarray, seed: int) -> np.ndarray:
    """The same light, measured once more."""
    return np.random.default_rng(seed).poisson(counts).astype(np.uint16)


def different() -> np.ndarray:
    """(M, N, N) counts of which each pattern is unlike the one before."""
    counts = counts_of()
    shifts = np.random.default_rng(3).integers(-4, 5, (M, 2))
    return np.stack([np.roll(c, s, (0, 1)) for c, s in zip(counts, shifts, strict=True)])


def in_a_row(*passes: np.ndarray) -> np.ndarray:
    return np.stack(passes, axis=1).reshape(-1, *passes[0].shape[1:])


C = different()
WAYS = {
    "twice": (np.repeat(C, 2, 0), "2 times in a row, the same to the last digit", "::2"),
    "three": (in_a_row(C, again(C, 1), again(C, 2)), "as if 3 were taken at each place", "::3"),
    "passes": (np.concatenate([C, C]), f"are the same as the first {M}", f":{M}"),
    "measured": (np.concatenate([C, again(C, 1)]), f"are like the first {M}", f":{M}"),
}


@pytest.mark.parametrize("kind", ["npz", "cxi", "tike"])
@pytest.mark.parametrize("way", WAYS)
def test_a_multiple_of_the_positions(kind: str, way: str, tmp_path: Path) -> None:
    counts, words, frames = WAYS[way]
    path = write(kind, tmp_path, Content(counts=counts))
    with pytest.raises(pp.InputError) as refused:
        load_scan(path)
    assert words in str(refused.value) and f"frames='{frames}'" in str(refused.value)
    np.testing.assert_array_equal(load_scan(path, frames=frames).diffraction[:], C)
    if kind == "npz":
        with pytest.raises(pp.InputError) as refused:
            prepare(path)
        assert words in str(refused.value)
        np.testing.assert_array_equal(prepare(path, frames=frames).diffraction[:], C)


@pytest.mark.parametrize(
    ("positions", "words", "frames"),
    [
        (np.repeat(positions_of(), 2, 0), "each position is there 2 times in a row", "::2"),
        (np.tile(positions_of(), (2, 1)), f"the positions from {M} on are the same", f":{M}"),
    ],
)
def test_a_multiple_of_the_patterns(
    positions: np.ndarray, words: str, frames: str, tmp_path: Path
) -> None:
    path = write("npz", tmp_path, Content(positions=positions))
    for read in (load_scan, prepare):
        with pytest.raises(pp.InputError, match=words):
            read(path)
    scan = load_scan(path, frames=frames)
    np.testing.assert_allclose(np.ptp(scan.positions_px, 0), np.ptp(positions_of(), 0))


def test_a_multiple_that_nothing_explains(tmp_path: Path) -> None:
    counts = np.concatenate([C, C[::-1, ::-1]])
    with pytest.raises(pp.InputError) as refused:
        load_scan(write("npz", tmp_path, Content(counts=counts)))
    for frames in (f":{M}", f"{M}:", "::2"):
        assert f"frames='{frames}'" in str(refused.value)


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(object="leaves", N=32, patterns=100, photons=2e4, seed=2)


def found(scan: pp.Scan, **changes: Any) -> Any:
    return examine(replace(scan, object=None, **changes))


def test_a_scan_whose_patterns_are_there_twice(scan: pp.Scan) -> None:
    counts = np.repeat(np.asarray(scan.diffraction[:]), 2, 0)[: scan.M]
    (said,) = found(scan, diffraction=counts).findings
    assert (said.name, said.level, said.details["pairs"]) == ("repeated-patterns", "fault", 50)
    assert "0 and 1; 2 and 3; 4 and 5" in said.message


def test_patterns_that_repeat_at_the_same_position_are_left_out(scan: pp.Scan) -> None:
    checked = found(
        scan,
        diffraction=np.repeat(np.asarray(scan.diffraction[:]), 2, 0),
        positions_px=np.repeat(scan.positions_px, 2, 0),
    )
    (said,) = checked.findings
    assert (said.name, said.level) == ("repeated-patterns", "mended")
    assert said.details["patterns"] == list(range(1, 200, 2))
    np.testing.assert_array_equal(checked.scan.diffraction[:], scan.diffraction[:])


def test_a_buffer_that_was_written_again(scan: pp.Scan) -> None:
    counts = np.array(scan.diffraction[:])
    counts[-8:] = counts[:8]
    checked = found(scan, diffraction=counts)
    (said,) = checked.findings
    assert (said.name, said.level) == ("repeated-patterns", "mended")
    assert said.details["patterns"] == [*range(8), *range(92, 100)]
    np.testing.assert_array_equal(checked.scan.positions_px, scan.positions_px[8:92])


@pytest.mark.parametrize("copies", [[(20, 21)], [(20, 21), (50, 49), (77, 78)], [(20, 60)]])
@pytest.mark.parametrize("kind", ["counted", "fractions", "computed"])
def test_single_patterns_that_were_written_over_others(
    kind: str, copies: list[tuple[int, int]], scan: pp.Scan
) -> None:
    """One frame of a buffer that was written twice spoils what is around it, and nobody sees it."""
    counts = np.asarray(scan.diffraction[:])
    if kind == "fractions":
        counts = counts / np.linspace(0.9, 1.1, 32, dtype=np.float32)
    if kind == "computed":
        counts = exact(scan)
    counts = counts.copy()
    for at, of in copies:
        counts[at] = counts[of]
    checked = found(scan, diffraction=counts)
    said = next(one for one in checked.findings if one.name == "repeated-patterns")
    assert (said.level, said.details["patterns"]) == ("mended", sorted({*np.ravel(copies)}))
    assert " and ".join(map(str, sorted(copies[0]))) in said.message
    assert len(checked.scan.diffraction) == scan.M - 2 * len(copies)


def exact(scan: pp.Scan) -> np.ndarray:
    """What the patterns of the scan would be without noise."""
    corners = np.round(scan.positions_px).astype(int) - 16
    assert scan.object is not None
    waves = np.stack([scan.object[y : y + 32, x : x + 32] for y, x in corners]) * scan.probe[0]
    fields = np.fft.fftshift(np.fft.fft2(waves, norm="ortho"), axes=(1, 2))
    return (np.abs(fields) ** 2).astype(np.float32)


def test_computed_patterns_of_the_beam_alone_are_the_same(scan: pp.Scan) -> None:
    counts = exact(scan)
    counts[[3, 40, 41, 70, 90, 99]] = exact(replace(scan, object=np.ones_like(scan.object)))[0]
    counts[[12, 66]] = 0.7 * counts[3]
    for patterns in (counts, np.rint(counts).astype(np.uint32)):
        names = [one.name for one in found(scan, diffraction=patterns).findings]
        assert "repeated-patterns" not in names


def test_what_is_the_same_by_chance_is_left_alone(scan: pp.Scan) -> None:
    counts = np.asarray(scan.diffraction[:])
    few = np.random.default_rng(0).binomial(counts, 2e-4).astype(np.uint16)
    beam = np.tile(np.rint(counts.mean(0)), (scan.M, 1, 1)).astype(np.float32)
    for patterns in (counts, few, beam):
        names = [one.name for one in found(scan, diffraction=patterns).findings]
        assert "repeated-patterns" not in names
