"""A half or a quarter of the detector that is not where the rest puts it is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.workflows.displaced_part import PARTS, asked_for, displaced_behind, displaced_part

N, HALF = 32, 16


@pytest.fixture(scope="module")
def scan() -> Scan:
    return replace(
        pp.simulate(object="natural", N=N, patterns=81, photons=1e6, step_px=3.0, seed=4),
        object=None,
    )


def displaced(scan: Scan, part: tuple[slice, slice], by: tuple[int, int]) -> Scan:
    """What a part of the detector shows, moved by pixels (y, x) that are not negative; the part
    leaves dark pixels behind that are masked."""
    counts, good = np.array(scan.diffraction), np.ones((N, N), bool)
    inside = np.zeros((N, N), bool)
    inside[part] = True
    came = np.roll(inside, by, (0, 1)) & inside
    came[: by[0]], came[:, : by[1]] = came[: by[0]] & (by[0] == 0), came[:, : by[1]] & (by[1] == 0)
    moved = np.roll(counts, by, (1, 2))
    counts[:, inside] = moved[:, inside]
    good[inside & ~came] = False
    return replace(scan, diffraction=np.where(good, counts, 0), mask=good)


def refined(scan: Scan, free: bool = False, no_mend: str | list[str] = "all") -> Reconstruction:
    config = pp.RefineConfig(passes=16, refine_probe=free)
    return pp.refine(scan, None, config, backend="numpy", no_mend=no_mend)


@pytest.mark.parametrize(
    ("part", "by", "words"),
    [
        ((slice(None), slice(HALF, None)), (1, 0), "the right half, 1 px down"),
        ((slice(HALF, None), slice(None)), (2, 0), "the lower half, 2 px down"),
        (
            (slice(HALF, None), slice(HALF, None)),
            (1, 1),
            "the lower right quarter, 1 px down and 1 px to the right",
        ),
    ],
    ids=["along itself", "outward", "a quarter"],
)
def test_the_part_and_its_way_are_named(
    scan: Scan, part: tuple[slice, slice], by: tuple[int, int], words: str
) -> None:
    moved = displaced(scan, part, by)
    found = displaced_part(NumpyOps(), moved, refined(moved), False)
    assert found is not None and found.words == words


def test_the_verdict_names_it_behind_a_refined_probe(scan: Scan) -> None:
    moved = displaced(scan, (slice(None), slice(HALF, None)), (0, 2))
    fit = refined(moved, True, no_mend=["orientation"]).fit
    assert fit is not None and fit.verdict == "doubtful"
    assert fit.likely == "displaced-part"
    assert fit.cause is not None and "the right half, 2 px to the right" in fit.cause


def test_the_verdict_names_it_where_a_refined_probe_leaves_little_more_than_noise() -> None:
    scan = pp.simulate(object="natural", N=N, patterns=90, photons=1e5, step_px=3.0, seed=36)
    moved = displaced(replace(scan, object=None), (slice(None), slice(HALF, None)), (1, 0))
    fit = refined(moved, True, no_mend=["orientation"]).fit
    assert fit is not None and fit.residual < 1.2 * fit.expected
    assert fit.verdict == "doubtful" and fit.cause is not None
    assert "the right half, 1 px down" in fit.cause


@pytest.mark.parametrize("diameter", [0.3, 0.6])
def test_a_wrong_probe_that_was_refined_is_no_displaced_part(diameter: float) -> None:
    known: dict[str, Any] = {"N": N, "patterns": 81, "photons": 1e6, "step_px": 3.0, "seed": 22}
    scan = replace(pp.simulate(**known), object=None)
    wrong = replace(scan, probe=pp.simulate(**known, diameter=diameter).probe)
    assert displaced_behind(NumpyOps(), wrong, refined(wrong, True)) is None


@pytest.mark.parametrize("free", [False, True])
def test_a_detector_in_one_piece_is_not_asked_about(scan: Scan, free: bool) -> None:
    assert not asked_for(scan, refined(scan, free))


def test_what_is_put_back_is_what_was_there(scan: Scan) -> None:
    part = next(one for one in PARTS if one.words == "the right half")
    moved = displaced(scan, (slice(None), slice(HALF, None)), (1, 2))
    back = part.put_back(moved, (-1, -2))
    good = back.good_pixels
    assert good[:, :HALF].all() and good[: N - 1, HALF : N - 2].all()
    assert np.array_equal(
        np.asarray(back.diffraction)[:, good], np.asarray(scan.diffraction)[:, good]
    )
