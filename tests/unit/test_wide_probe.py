"""A probe whose far field is wider than the patterns is wrong, whatever makes up for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.scan import Scan
from ptychopinn.workflows.wide_probe import wider_beam

N = 32


def scan_of(photons: float = 1e5) -> Scan:
    return pp.simulate(N=N, patterns=49, step_px=3.0, photons=photons, object="leaves", seed=2)


def with_coarser_pixels(scan: Scan) -> Scan:
    """The probe as with pixels of twice the size, in the middle of its array."""
    probe, quarter = np.zeros_like(scan.probe), N // 4
    middle = slice(quarter, quarter + N // 2)
    probe[:, middle, middle] = scan.probe[:, ::2, ::2]
    power = np.sqrt((abs(scan.probe) ** 2).sum() / (abs(probe) ** 2).sum())
    return replace(scan, probe=probe * np.float32(power))


def test_a_probe_of_coarser_pixels_is_named_and_no_other_axes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scan = replace(with_coarser_pixels(scan_of()), object=None)
    found = pp.reconstruct(scan, refine="never", backend="numpy", no_mend="position-unit")
    assert found.fit is not None and found.fit.cause is not None
    assert found.fit.likely == "probe"
    assert "its far field is 1.9 times as wide as the mean pattern" in found.fit.cause
    assert not any("scan axes" in record.message for record in caplog.records)


@pytest.mark.parametrize("photons", [1e2, 1e5])
@pytest.mark.parametrize("change", ["none", "defocus", "conjugate"])
def test_a_probe_of_the_right_width_is_not_wider(change: str, photons: float) -> None:
    scan = scan_of(photons)
    other = pp.simulate(N=N, patterns=4, defocus=-0.35, seed=2).probe
    probe = {"none": scan.probe, "defocus": other, "conjugate": scan.probe.conj()}[change]
    wrong = replace(scan, probe=probe, object=None)
    config = pp.RefineConfig(passes=3)
    assert wider_beam(pp.refine(wrong, None, config, backend="numpy", no_mend="all")) == []
