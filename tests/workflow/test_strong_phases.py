"""Phases that wrap: six passes of a network are too few, and physics goes on from its object."""

from __future__ import annotations

from typing import Any

import pytest

import ptychopinn as pp

pytest.importorskip("torch", reason="the scores are those with PyTorch")


def phase_db(scan: pp.Scan, result: pp.Reconstruction) -> float:
    score: float = pp.evaluate(result, truth=scan).metrics["phase_psnr_db"]
    return score


@pytest.mark.parametrize(
    ("options", "least", "stages"),
    [
        ({"seed": 3}, 50, ["network", "refinement"]),
        # So little is explained that the probe is freed first, which was not wrong.
        ({"seed": 1}, 35, ["network", "refinement"]),
        # Explained as well as ordinary objects are.
        ({"seed": 3, "phase": (-1.0, 1.0)}, 35, ["network"]),
    ],
)
def test_strong_phases_are_finished(
    options: dict[str, Any], least: float, stages: list[str]
) -> None:
    settings = {"phase": (-3.2, 3.2), **options}
    scan = pp.simulate(object="leaves", photons=1e6, patterns=100, N=32, step_px=4.0, **settings)
    result = pp.reconstruct(scan, no_mend=["alternatives"])
    assert phase_db(scan, result) > least
    assert [stage["stage"] for stage in result.provenance["stages"]] == stages


@pytest.mark.parametrize(("phase", "verdict"), [(2.1, "doubtful"), (1.0, "good")])
def test_an_object_that_physics_would_still_change_is_not_good(phase: float, verdict: str) -> None:
    """99.2 % of the structure are explained, with an amplitude of 14.6 dB."""
    scan = pp.simulate(
        object="siemens", phase=(-phase, phase), seed=69, photons=1e7, patterns=100, N=32,
        step_px=5.5, modes=3,
    )  # fmt: skip
    result = pp.reconstruct(scan, refine="never")
    assert result.fit is not None and result.fit.explained > 0.99
    assert result.fit.verdict == verdict
    assert result.fit.likely == (None if verdict == "good" else "unfinished")
