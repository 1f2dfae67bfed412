"""A part of the detector that counts more is told by the step along its border, and no slope, wrong
probe or wrong position is taken for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.gain_steps import gain_step
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.signs import Signs, signs_of
from ptychopinn.evaluation.verdict import AS_IT_IS, POSITIONS_FREE, judge
from ptychopinn.physics.readout import DetectorNoise

N = 32


@pytest.fixture(scope="module")
def expected() -> Scan:
    """Expected counts, not yet drawn."""
    options: dict[str, Any] = {"object": "lines", "N": N, "patterns": 100, "photons": 1e5}
    return pp.simulate(**options, seed=4, poisson=False)


def refined(scan: Scan, gain: Any = 1.0, **changes: Any) -> tuple[Reconstruction, Misfit]:
    counts = np.random.default_rng(3).poisson(np.asarray(scan.diffraction, float) * gain)
    scan = replace(scan, diffraction=counts.astype(np.uint32), object=None, **changes)
    result = pp.refine(scan, None, pp.RefineConfig(passes=12), backend="numpy", no_mend="all")
    assert result.fit is not None
    return result, result.fit


def gains(rows: slice, columns: slice, factor: float) -> Any:
    gain = np.ones((N, N))
    gain[rows, columns] = factor
    return gain


@pytest.mark.parametrize(
    "gain, axis, place, part, step",
    [
        (gains(slice(None), slice(17, None), 1.1), "column", 17, (0, N), 1.1),
        (gains(slice(13), slice(None), 1.2), "row", 13, (0, N), 1 / 1.2),
        (gains(slice(16), slice(16, None), 1.15), "column", 16, (0, 16), 1.15),
        (gains(slice(None), slice(12, 19), 0.85), "column", None, (0, N), None),
    ],
)
def test_a_part_that_counts_more_is_named(
    expected: Scan, gain: Any, axis: str, place: int | None, part: Any, step: float | None
) -> None:
    _, fit = refined(expected, gain)
    assert (fit.verdict, fit.likely) == ("doubtful", "detector-gain")
    found = signs_of(fit).step
    assert found is not None
    if place is None:  # a band has two borders
        assert found.axis == axis and found.place in (12, 19) and found.part == part
    elif part == (0, N):
        assert (found.axis, found.place, found.part) == (axis, place, part)
    else:  # a quadrant has a border along either axis
        assert found.place == place and found.part in ((0, 16), (16, N))
    if step is not None and part == (0, N):
        assert found.step == pytest.approx(np.log(step), rel=0.2)
    assert fit.cause is not None and f"= {found.place} on" in fit.cause and "flat" in fit.cause


def test_a_border_may_be_a_gap(expected: Scan) -> None:
    good = np.ones((N, N), bool)
    good[:, 16:18] = False
    gain = gains(slice(None), slice(18, None), 1.1)
    found = signs_of(refined(expected, gain, mask=good)[1]).step
    assert found is not None
    assert (found.axis, found.place) == ("column", 18)


def _slope() -> Any:
    return np.ones((N, N)) * np.linspace(0.9, 1.1, N)


@pytest.mark.parametrize("fault", ["none", "slope", "probe", "positions"])
def test_what_is_no_step(expected: Scan, fault: str) -> None:
    changes: dict[str, Any] = {}
    if fault == "probe":
        changes["probe"] = np.roll(expected.probe, 1, axis=-1)
    if fault == "positions":
        shift = np.random.default_rng(0).normal(0, 1.5, (expected.M, 2))
        changes["positions_px"] = expected.positions_px + shift
    _, fit = refined(expected, _slope() if fault == "slope" else 1.0, **changes)
    assert signs_of(fit).step is None
    assert fit.likely != "detector-gain"


def test_a_small_step_is_named_only_where_something_is_doubted(expected: Scan) -> None:
    found = signs_of(refined(expected, gains(slice(16), slice(None), 1.1))[1])
    small = Signs(0.02, 0.02, 0.999, step=found.step)
    assert judge(small).verdict == "good"
    missing = Signs(0.0215, 0.02, 0.9, step=found.step)
    assert judge(missing).likely != "detector-gain"  # it is too small for so much
    other = [(AS_IT_IS, 0.0215), (POSITIONS_FREE, 0.02)]
    assert judge(Signs(0.0201, 0.02, 0.9, step=found.step), other).verdict == "good"


def test_a_probe_that_is_refined_takes_it_up(expected: Scan) -> None:
    gain = gains(slice(None), slice(17, None), 1.1)
    counts = np.random.default_rng(3).poisson(np.asarray(expected.diffraction, float) * gain)
    scan = replace(expected, diffraction=counts.astype(np.uint32), object=None)
    config = pp.RefineConfig(passes=12, refine_probe=True)
    fit = pp.refine(scan, None, config, backend="numpy", no_mend="all").fit
    assert fit is not None and fit.verdict == "good"


@pytest.mark.parametrize("slopes", [0.0, 0.05])
def test_slopes_that_differ_along_a_border_are_none_of_the_detector(slopes: float) -> None:
    """Fringes of a wrong probe may step along a line by chance, and go on otherwise in each row."""
    y, x = np.indices((N, N))
    model = 100 * np.exp(-((y - 16) ** 2 + (x - 16) ** 2) / 200)
    rows = np.random.default_rng(1).normal(0, slopes, (N, 1))
    measured = model * np.exp(0.15 * (x >= 17) + rows * (x - 16.5))
    found = gain_step(measured, model, DetectorNoise(1.0), 100)
    assert (found is not None) is (slopes == 0)
