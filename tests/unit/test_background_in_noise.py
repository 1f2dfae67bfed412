"""A few counts in every pixel, which the residual does not show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.workflows.weak_background import weak_background


@pytest.fixture(scope="module")
def expected() -> pp.Scan:
    return pp.simulate(
        N=32, patterns=100, step_px=3.0, photons=1e5, object="siemens", modes=2, seed=371,
        defocus=-0.45, poisson=False,
    )  # fmt: skip


def drawn(scan: pp.Scan, share: float) -> pp.Scan:
    """With a background of this share of all counts."""
    mean = np.asarray(scan.diffraction)
    counts = np.random.default_rng(0).poisson(mean + share * mean.mean())
    return replace(scan, diffraction=counts.astype(np.uint32), object=None)


def test_a_weak_background_is_told_within_the_noise_and_followed(expected: pp.Scan) -> None:
    scan, config = drawn(expected, 0.01), pp.RefineConfig(passes=20)
    found = pp.reconstruct(scan, refine="never", backend="numpy")
    assert found.fit is not None and found.fit.excess < 0.1 * found.fit.expected
    assert (found.fit.verdict, found.fit.likely) == ("doubtful", "background")
    assert found.fit.cause is not None and "likelier" in found.fit.cause
    # What the sentence says to do helps.
    further = pp.refine(scan, found, config, backend="numpy")
    assert further.fit is not None and further.fit.verdict == "good"
    before, after = (pp.evaluate(one, truth=expected).metrics for one in (found, further))
    assert after["phase_psnr_db"] > before["phase_psnr_db"] + 4


def test_a_scan_without_one_is_not_tried(
    expected: pp.Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = drawn(expected, 0.0)
    found = pp.refine(scan, None, pp.RefineConfig(passes=20), backend="numpy", no_mend="all")
    monkeypatch.setattr("ptychopinn.workflows.weak_background.PhysicsSolver", None)
    assert weak_background(NumpyOps(), replace(scan, probe=found.probe), found) is None
