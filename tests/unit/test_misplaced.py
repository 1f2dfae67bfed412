"""Patterns of few photons that do not belong to their positions, within the noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.scan import Scan
from ptychopinn.workflows.misplaced import misplaced

M = 110


@pytest.fixture(scope="module")
def scan() -> Scan:
    found = pp.simulate(
        N=32, patterns=M, step_px=3.0, photons=1e3, object="leaves", seed=4, phase=(-1, 1)
    )
    return replace(found, object=None)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
def test_patterns_that_are_likelier_elsewhere_are_named(scan: Scan, share: float) -> None:
    rng, order = np.random.default_rng(2), np.arange(M)
    chosen = np.sort(rng.choice(M, int(share * M), replace=False))
    order[chosen] = np.roll(chosen, 1)
    mixed = replace(scan, diffraction=np.asarray(scan.diffraction)[order])
    fit = pp.refine(mixed, None, pp.RefineConfig(passes=12), backend="numpy").fit
    assert fit is not None and fit.excess < 0.1 * fit.expected
    if share < 0.05:
        # Two of a hundred do not spoil a picture of so few photons.
        assert (fit.verdict, fit.likely) == ("good", None)
        return
    assert (fit.verdict, fit.likely) == ("doubtful", "patterns")
    assert fit.cause is not None and "likelier at the positions of others" in fit.cause
    told = fit.cause.split(": ")[1].split(" are")[0].split(" and")[0]
    assert {int(number) for number in told.split(", ")} <= set(chosen.tolist())


def test_readings_that_are_saturated_tell_no_place(scan: Scan) -> None:
    """What was counted beyond the largest reading is unknown, wherever the pattern belongs."""
    clipped = np.minimum(np.asarray(scan.diffraction), 4)
    cut = replace(scan, diffraction=clipped, saturation=4.0)
    result = pp.refine(cut, None, pp.RefineConfig(passes=12), backend="numpy")
    assert misplaced(replace(cut, positions_px=result.positions_px), result) is None


@pytest.mark.parametrize("fault", ["none", "some elsewhere", "positions", "offset", "exposures"])
def test_beyond_noise_only_patterns_that_belong_elsewhere_are_explained_there(fault: str) -> None:
    """Of many photons they look like a beam that changes, or pull the scan axes."""
    scan = pp.simulate(N=32, patterns=M, step_px=3.0, photons=1e5, object="leaves", seed=4)
    scan, order, chosen = replace(scan, object=None), np.arange(M), np.arange(5, M, 20)
    if fault == "some elsewhere":
        order[chosen] = np.roll(chosen, 2)
    if fault == "offset":
        order = np.roll(order, 1)
    moved = np.random.default_rng(1).normal(0, 1.5, (M, 2)) * (fault == "positions")
    counts = np.asarray(scan.diffraction)[order]
    if fault == "exposures":
        # The second half for three times as long; the object holds a border.
        counts = counts * np.where(np.arange(M) < M // 2, 1, 3).astype(np.uint32)[:, None, None]
    scan = replace(scan, diffraction=counts, positions_px=scan.positions_px + moved)
    config = pp.RefineConfig(passes=12, refine_probe=fault == "exposures")
    result = pp.refine(scan, None, config, backend="numpy", no_mend="all")
    assert result.fit is not None
    found = misplaced(replace(scan, positions_px=result.positions_px), result, in_noise=False)
    assert (found is not None) == (fault == "some elsewhere")
    assert found is None or set(found.numbers) <= set(chosen.tolist())


def test_the_verdict_names_them_and_not_a_beam_that_changes(scan: Scan) -> None:
    many = pp.simulate(N=32, patterns=M, step_px=3.0, photons=3e3, object="leaves", seed=4)
    order, chosen = np.arange(M), np.arange(5, M, 12)
    order[chosen] = np.roll(chosen, 2)
    mixed = replace(many, diffraction=np.asarray(many.diffraction)[order], object=None)
    fit = pp.reconstruct(mixed, refine="never", backend="numpy").fit
    assert fit is not None and (fit.verdict, fit.likely) == ("doubtful", "patterns")
