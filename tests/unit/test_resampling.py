"""A probe goes with the window of the detector that its patterns are cut to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.physics.forward import vacuum_pattern
from ptychopinn.physics.resampling import resampled_probe
from raw_files import PIXEL, Raw


@pytest.fixture(scope="module")
def probe() -> Any:
    return pp.simulate(N=64, patterns=4, modes=2, seed=1).probe


@pytest.mark.parametrize("edge", [32, 48, 64, 96])
def test_its_pattern_is_that_of_the_window(probe: Any, edge: int) -> None:
    before, after = vacuum_pattern(probe), vacuum_pattern(resampled_probe(probe, edge, edge))
    common = min(edge, 64)
    a, b = (p.shape[-1] // 2 - common // 2 for p in (before, after))
    np.testing.assert_allclose(
        after[b : b + common, b : b + common], before[a : a + common, a : a + common],
        rtol=1e-4, atol=1e-5 * before.max(),
    )  # fmt: skip
    assert after.sum() == pytest.approx(after[b : b + common, b : b + common].sum(), rel=1e-5)


def test_binned_pixels_see_the_middle_of_the_field(probe: Any) -> None:
    binned = resampled_probe(probe, 64, 32)
    np.testing.assert_array_equal(binned, probe[:, 16:48, 16:48])


def test_a_probe_of_the_stored_patterns_is_cut_with_them(tmp_path: Path) -> None:
    raw = Raw(tmp_path)
    wide = pp.simulate(N=64, patterns=40, seed=5, pixel_size_m=PIXEL)
    path = tmp_path / "wide.npz"
    y, x = wide.positions_px.T
    np.savez(path, diff3d=np.asarray(wide.diffraction), xcoords=x, ycoords=y,
             probeGuess=wide.probe)  # fmt: skip
    scan = pp.prepare(path, crop=32)
    # Half of the detector: pixels of the object are twice as large, and so are those of positions.
    np.testing.assert_allclose(scan.positions_px, wide.positions_px / 2)
    given = pp.prepare(path, crop=32, positions=f"{path}:ycoords,xcoords", unit="px")
    np.testing.assert_allclose(given.positions_px, wide.positions_px)
    expected = resampled_probe(wide.probe, 32, 32)
    ratio = np.vdot(expected, scan.probe) / np.vdot(expected, expected)
    np.testing.assert_allclose(
        scan.probe, ratio * expected, atol=1e-4 * np.abs(ratio * expected).max()
    )
    with pytest.raises(pp.InputError, match=r"must have 48 x 48 .* received 32 x 32"):
        pp.prepare(path, crop=48, probe=str(raw.native))
