"""A probe that was given too narrow or too wide, and was refined from there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.normalization import prepare
from ptychopinn.evaluation.verdict import AS_IT_IS, WIDTH
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.workflows import alternatives, refinement
from ptychopinn.workflows.other_widths import FACTORS, other_widths, scaled_probes


def simulated() -> pp.Scan:
    return pp.simulate(N=32, patterns=81, step_px=3.0, photons=1e5, object="lines", seed=5)


def test_a_probe_of_half_the_width_is_told_although_it_was_refined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None of the other trials, which take long, shows it."""
    monkeypatch.setattr(alternatives, "tried", lambda *given: [(AS_IT_IS, 0.006)])
    monkeypatch.setattr(refinement, "in_right_geometry", lambda scan, *given: scan)
    scan = simulated()
    narrow = dict(scaled_probes(scan.probe))[0.5]
    # Factors of the beam make up for a part of what it leaves.
    config = pp.RefineConfig(passes=25, refine_probe=True)
    found = pp.refine(replace(scan, probe=narrow, object=None), None, config, backend="numpy")
    assert found.fit is not None and found.fit.cause is not None
    assert (found.fit.verdict, found.fit.likely) == ("doubtful", "probe")
    assert f"with {WIDTH}2 times as wide, refined" in found.fit.cause


def test_the_right_width_leaves_least() -> None:
    scan = simulated()
    wide = dict(scaled_probes(scan.probe))[2.0]
    found = other_widths(NumpyOps(), replace(scan, probe=wide, object=None))
    assert len(found) == len(FACTORS)
    words, least = min(found, key=lambda item: item[1])
    assert words == f"{WIDTH}0.5 times as wide, refined" and least < prepare(scan).expected_misfit


def test_widths_keep_the_power() -> None:
    probe = simulated().probe
    power = (np.abs(probe) ** 2).sum()
    y = np.arange(32) - 16

    def width(waves: np.ndarray) -> float:
        light = (np.abs(waves) ** 2).sum(axis=(0, 2))
        return float(np.sqrt((light * y**2).sum() / light.sum()))

    narrow = next(scaled for factor, scaled in scaled_probes(probe) if factor == 0.5)
    np.testing.assert_allclose((np.abs(narrow) ** 2).sum(), power, rtol=1e-5)
    assert 0.45 < width(narrow) / width(probe) < 0.6
