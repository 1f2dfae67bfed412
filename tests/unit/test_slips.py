"""Several slips of frames in one scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.checks.replay import mended_like
from ptychopinn.checks.slips import slip, slips
from ptychopinn.data.findings import left_out
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps


def test_several_slips_are_mended_one_after_the_other() -> None:
    scan = pp.simulate(
        N=32, object="leaves", scan="fermat", patterns=196, step_px=4, photons=1e5, seed=5
    )
    # Two frames are lost, and much later one comes twice.
    numbers = np.insert(np.delete(np.arange(scan.M), [60, 61]), 135, 136)
    given = replace(
        scan, object=None, diffraction=scan.diffraction[numbers],
        positions_px=scan.positions_px[: len(numbers)],
    )  # fmt: skip
    found = slips(NumpyOps(), given)
    assert [one.level for one in found] == ["mended", "mended"]
    assert [one.details["slipped"] for one in found] == [2, -1]
    assert "2 frames were lost" in found[0].message and "came twice" in found[1].message
    back = mended_like(given, found)
    kept = np.setdiff1d(np.arange(given.M), left_out(found))
    wrong = np.abs(back.positions_px - scan.positions_px[numbers[kept]]).max(axis=1) > 1e-9
    assert len(kept) == back.M >= given.M - 3
    # But for some beside the slips, of 136 that were wrong.
    assert wrong.sum() <= 5


def test_training_sees_a_frame_that_was_lost_far_from_the_middle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("torch", reason="trains with PyTorch")
    pytest.importorskip("lightning", reason="trains with Lightning")
    scan = pp.simulate(
        N=32, object="leaves", patterns=196, step_px=3, jitter_px=0.5, photons=1e5, seed=5
    )
    given = replace(
        scan, object=None, diffraction=np.delete(np.asarray(scan.diffraction), 18, axis=0),
        positions_px=scan.positions_px[:-1],
    )  # fmt: skip
    config = pp.Config(
        model={"architecture": "cnn", "n_filters_scale": 0.5},
        data={"n_groups": 8},
        training={"epochs": 1},
    )
    pp.train(given, config, backend="pytorch")
    assert "a frame was lost there" in caplog.text


def test_a_frame_that_came_twice_is_where_its_copy_is() -> None:
    """The same counts tell it more exactly than patterns, and both copies have been left out."""
    scan = pp.simulate(
        N=32, object="leaves", scan="fermat", patterns=144, step_px=4, photons=1e5, seed=5
    )
    counts = np.asarray(scan.diffraction[:])
    counts = np.insert(counts, 70, counts[70], axis=0)[: scan.M]
    looked = examine(replace(scan, object=None, diffraction=counts)).scan
    assert looked.M == scan.M - 2
    (found,) = slips(NumpyOps(), looked)
    assert (found.level, found.details["slipped"]) == ("mended", -1)
    assert "from about number 72 on" in found.message
    assert "leave pattern 71 out of the patterns" in found.message
    back = mended_like(looked, [found])
    # That behind them has lost its position with the second copy.
    right = np.r_[:70, 72 : scan.M - 1]
    np.testing.assert_array_equal(back.diffraction[:], scan.diffraction[right])
    np.testing.assert_allclose(back.positions_px, scan.positions_px[right])


def test_an_even_raster_that_is_not_finished_after_a_few_passes_has_no_slip() -> None:
    """Along its rows a shift by one frame hardly matters."""
    true = pp.simulate(
        object="grf", N=64, patterns=144, step_px=5.0, jitter_px=0.0, photons=1e5, seed=7
    )
    # Steps of 0.1 nm in pixels of 20 pm, as `prepare` makes them.
    places = np.stack(np.indices((12, 12)), axis=-1).reshape(-1, 2) * 0.1 * (1e-9 / 2e-11)
    scan = Scan.from_arrays(np.asarray(true.diffraction), places, true.probe)
    assert slip(NumpyOps(), scan) is None
