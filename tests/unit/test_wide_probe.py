"""A probe whose far field is wider than the patterns is wrong, whatever makes up for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.ops.selector import choose
from ptychopinn.workflows.before_axes import before_axes
from ptychopinn.workflows.scan_axes import estimate_axes
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


def test_a_probe_of_coarser_pixels_is_named_and_no_other_axes() -> None:
    scan = replace(with_coarser_pixels(scan_of()), object=None)
    config = pp.RefineConfig(passes=3)
    made = pp.refine(scan, None, config, backend="numpy", no_mend="all")
    assert made.fit is not None
    found = made.fit.judged(before_axes(NumpyOps(), scan, made))
    assert found.likely == "probe" and found.cause is not None
    assert "its far field is 1.9 times as wide as the mean pattern" in found.cause
    same_scan, same = estimate_axes(scan, made, *choose("numpy", None))
    assert same_scan is scan and same is made


@pytest.mark.parametrize("photons", [1e2, 1e5])
@pytest.mark.parametrize("change", ["none", "defocus", "conjugate"])
def test_a_probe_of_the_right_width_is_not_wider(change: str, photons: float) -> None:
    scan = scan_of(photons)
    other = pp.simulate(N=N, patterns=4, defocus=-0.35, seed=2).probe
    probe = {"none": scan.probe, "defocus": other, "conjugate": scan.probe.conj()}[change]
    wrong = replace(scan, probe=probe, object=None)
    config = pp.RefineConfig(passes=3)
    assert wider_beam(pp.refine(wrong, None, config, backend="numpy", no_mend="all")) == []
