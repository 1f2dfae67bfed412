"""A detector that went on counting from frame to frame is an error that says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.io import save_scan


@pytest.fixture(scope="module")
def counts() -> tuple[pp.Scan, Any]:
    scan = pp.simulate(object="lines", N=32, patterns=60, photons=3e3, seed=8)
    return scan, np.asarray(scan.diffraction).astype(np.int64)


@pytest.mark.parametrize("reset", [60, 15, 3])
def test_frames_that_hold_all_before_them_are_an_error(counts: Any, reset: int) -> None:
    scan, own = counts
    added = np.concatenate([np.cumsum(own[k : k + reset], 0) for k in range(0, 60, reset)])
    found = examine(replace(scan, diffraction=added.astype(np.uint32)))
    faults = [one for one in found.findings if one.level == "fault"]
    assert [one.name for one in faults] == ["running-sums"]
    assert faults[0].details["resets"] == 60 // reset - 1
    assert "subtract from each frame" in faults[0].message
    with pytest.raises(pp.InputError, match="went on counting"):
        found.require()


@pytest.mark.parametrize("reset", [60, 20])
def test_a_stated_probe_is_not_blamed(counts: Any, reset: int, tmp_path: Path) -> None:
    """A file that says what its probe counts contradicts such frames, and an offset too."""
    scan, own = counts
    added = np.concatenate([np.cumsum(own[k : k + reset], 0) for k in range(0, 60, reset)])
    brighter = 200 * np.ones_like(own) + own
    for stored, words in (
        (added, "went on counting"),
        (brighter, r"200 or more in each reading, \d+% of all counts, .* offset of the detector"),
        (20 * own, "the probe must be in sqrt"),
    ):
        path = save_scan(
            replace(scan, diffraction=stored.astype(np.uint32)), tmp_path / "a.h5", force=True
        )
        with pytest.raises(pp.InputError, match=words):
            pp.load_scan(path)


def test_brighter_frames_are_none(counts: Any) -> None:
    scan, own = counts
    brighter = np.random.default_rng(0).poisson(own * np.linspace(1, 3, 60)[:, None, None])
    for kept in (own, brighter, np.sort(own, axis=0)[::-1]):
        found = examine(replace(scan, diffraction=kept.astype(np.uint32)))
        assert "running-sums" not in {one.name for one in found.findings}


def test_frames_without_beam_are_none() -> None:
    """After them every pixel counts more, or as little."""
    scan = pp.simulate(N=32, patterns=60, photons=500, amplitude=(0.99, 1.0), seed=8)
    own = np.asarray(scan.diffraction).copy()
    own[::6] = 0
    dim = np.asarray(scan.diffraction).copy()
    dim[::6] = np.random.default_rng(0).poisson(dim[::6] * 0.12)
    for kept in (own, dim):
        found = examine(replace(scan, diffraction=kept))
        assert "running-sums" not in {one.name for one in found.findings}
