"""Where the fit of the network is doubtful, the object is found anew together with what a beam and
a detector do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp

pytest.importorskip("torch")


def test_a_background_that_an_object_makes_up_for_is_found() -> None:
    scan = pp.simulate(
        N=32, object="lines", scan="fermat", patterns=121, step_px=3.6, photons=1e5, seed=2
    )
    light = np.random.default_rng(1).poisson(2, scan.diffraction.shape)
    given = replace(scan, object=None, diffraction=(scan.diffraction + light).astype(np.uint16))
    alone = pp.reconstruct(given, refine="never", no_mend="all")
    assert alone.fit is not None and alone.fit.verdict == "doubtful"
    result = pp.reconstruct(given)
    assert result.fit is not None and result.fit.verdict == "good"
    assert [found.name for found in result.findings] == ["background"]
    phases = [
        pp.evaluate(replace(one, provenance={}), truth=scan).metrics["phase_psnr_db"]
        for one in (alone, result)
    ]
    assert phases[1] > phases[0] + 5
