"""A probe whose phase was dropped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.checks.base import LATER
from ptychopinn.data.scan import Scan

NAME = "flat-probe"


@pytest.fixture(scope="module")
def scan() -> Scan:
    return pp.simulate(object="leaves", N=48, patterns=49, photons=1e5, modes=2, seed=2)


@pytest.mark.parametrize("part", ["modulus", "turned"])
def test_a_probe_without_its_phase_is_named(scan: Scan, part: str) -> None:
    flat = np.abs(scan.probe)
    if part == "turned":
        flat = flat * np.exp(0.7j)
    checked = examine(replace(scan, probe=flat.astype(np.complex64)))
    (found,) = (one for one in checked.findings if one.name == NAME)
    assert found.level == "doubt" and found.details["likeness"] < 0.8
    assert "its phase was dropped" in found.message


def test_probes_that_explain_the_patterns_are_left(scan: Scan) -> None:
    assert NAME not in [one.name for one in examine(scan).findings]
    real = pp.simulate(
        object="leaves", N=48, patterns=49, photons=1e3, defocus=0, astigmatism=0, coma=0, seed=2
    )
    assert np.abs(real.probe.imag).max() < 1e-3 * np.abs(real.probe).max()
    assert NAME not in [one.name for one in examine(real).findings]


@pytest.mark.parametrize("free", [False, True])
def test_the_verdict_names_such_a_probe(scan: Scan, free: bool) -> None:
    """What else seems better makes up for it only."""
    flat = replace(scan, probe=np.abs(scan.probe).astype(np.complex64), object=None)
    config = pp.RefineConfig(passes=5, refine_probe=free)
    fit = pp.refine(flat, None, config, backend="numpy", no_mend=LATER).fit
    assert fit is not None
    assert fit.verdict != "good" and fit.likely == "probe"
    assert fit.cause is not None and "its phase was dropped" in fit.cause
