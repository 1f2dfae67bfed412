"""A refinement goes on by itself where its object would still change, or a background is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.machine.interruption import StopFlag
from ptychopinn.workflows import going_on
from ptychopinn.workflows.refinement import refine, said


@pytest.fixture(scope="module")
def scan() -> Scan:
    return replace(pp.simulate(N=32, patterns=36, photons=1e6, seed=4), object=None)


@pytest.fixture(scope="module")
def result(scan: Scan) -> Reconstruction:
    return refine(scan, None, pp.RefineConfig(passes=2), backend="numpy", no_mend="all")


@pytest.fixture
def would_change(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the object change so many times more."""

    def times(count: int) -> None:
        answers = iter([0.1] * count)
        monkeypatch.setattr(going_on, "still_changes", lambda *of: next(answers, None))

    return times


@pytest.mark.parametrize(
    ("times", "options", "no_mend", "passes"),
    [
        (0, {}, "scan-axes", [40]),
        (1, {}, "scan-axes", [40, 40]),
        (9, {}, "scan-axes", [40, 40, 80]),
        (9, {"passes": 40}, "scan-axes", [40]),
        (9, {}, "all", [40]),
    ],
)
def test_an_object_that_would_still_change_is_gone_on_with(
    scan: Scan,
    would_change: Callable[[int], None],
    times: int,
    options: dict[str, Any],
    no_mend: str,
    passes: list[int],
) -> None:
    """Within a limit, unless somebody says how many passes, or wants no trial."""
    would_change(times)
    config = pp.RefineConfig(stagnation=0.0, **options)
    found = refine(scan, None, config, backend="numpy", no_mend=[no_mend])
    assert [stage["passes"] for stage in found.provenance["stages"]] == passes
    assert found.seconds["refinement"] > 0


def test_a_scan_that_was_turned_is_gone_on_with(
    scan: Scan,
    would_change: Callable[[int], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its verdict is that of the last passes, and what was found is said once."""
    would_change(1)
    wrong = replace(scan, positions_px=scan.positions_px[:, ::-1])
    options = pp.RefineConfig(stagnation=0.0)
    found = refine(wrong, None, options, backend="numpy", no_mend=["scan-axes"])
    assert [stage["passes"] for stage in found.provenance["stages"]] == [40, 40]
    assert [one.name for one in found.findings] == ["orientation"]
    assert found.fit is not None and found.fit.verdict == "good"
    assert caplog.text.count("axes swapped") == 1
    known = found.positions_px - scan.positions_px
    assert abs(known - known[0]).max() < 1e-6


@pytest.mark.parametrize("times", [0, 1])
def test_what_was_fitted_is_said_once(
    scan: Scan, would_change: Callable[[int], None], caplog: pytest.LogCaptureFixture, times: int
) -> None:
    would_change(times)
    rng = np.random.default_rng(3)
    shares = rng.uniform(0.6, 1.0, (scan.M, 1, 1))
    counts = rng.binomial(np.asarray(scan.diffraction), shares).astype(np.uint32)
    flickering = replace(scan, diffraction=counts)
    found = refine(flickering, None, pp.RefineConfig(stagnation=0.0), backend="numpy")
    assert len(found.provenance["stages"]) == 1 + times
    assert [one.name for one in found.findings if one.level == "mended"] == ["beam-current"]
    assert caplog.text.count("the intensity of the beam changed by") == 1
    assert found.fit is not None and found.fit.verdict == "good"
    assert caplog.text.rstrip().endswith("of its mean: fitted.")
    caplog.clear()
    said(scan, replace(found, fit=replace(found.fit, verdict="doubtful")))
    assert "that may make up for another fault." in caplog.text


def named(result: Reconstruction, excess: float, likely: str | None) -> Reconstruction:
    """The result with a verdict that leaves so many times the noise."""
    fit = result.fit
    assert fit is not None
    residual, verdict = fit.expected * (1 + excess), "doubtful" if likely else "good"
    changed: dict[str, Any] = {"likely": likely, "verdict": verdict}
    return replace(
        result, fit=replace(fit, residual=residual, excess=fit.expected * excess, **changed)
    )


@pytest.mark.parametrize(
    ("likely", "options", "no_mend", "left", "kept"),
    [
        ("background", {}, (), 0.5, True),
        ("background", {"passes": 7}, (), 0.05, True),
        # What a background only makes up for leaves the rest.
        ("background", {}, (), 3.0, False),
        ("background", {"background": False}, (), 0.5, False),
        ("background", {}, ["background"], 0.5, False),
        ("background", {}, "all", 0.5, False),
        ("positions", {}, (), 0.5, False),
    ],
)
def test_a_background_that_is_named_is_fitted(
    result: Reconstruction, likely: str, options: dict[str, Any], no_mend: Any, left: float,
    kept: bool,
) -> None:  # fmt: skip
    before, after = named(result, 10.0, likely), named(result, left, None)
    config, asked = pp.RefineConfig(**options), list[Any]()

    def further(start: Reconstruction, with_it: Any) -> Reconstruction:
        asked.append((with_it.background, with_it.passes))
        return after

    found = going_on.lit_by_itself(before, config, further, StopFlag(), no_mend)
    assert (found is not before) == kept and (found.fit is after.fit) == kept
    assert asked in ([], [(True, config.passes)])
