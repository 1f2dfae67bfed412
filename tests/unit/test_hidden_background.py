"""A background that an object makes up for does not show in the dark; a trial tells it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.signs import Signs
from ptychopinn.evaluation.verdict import AS_IT_IS, LIT, PROBE_FREE, judge
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.workflows.other_causes import tried


@pytest.fixture(scope="module")
def whole() -> Scan:
    return pp.simulate(
        N=32, object="grf", patterns=64, step_px=3, photons=1e5, central_stop=0.3, seed=12
    )


@pytest.mark.parametrize("kind", ["background", "probe"])
def test_a_background_and_a_wrong_probe_are_told_apart(kind: str, whole: Scan) -> None:
    if kind == "background":
        light = np.random.default_rng(1).poisson(5, whole.diffraction.shape)
        given = replace(whole, diffraction=(whole.diffraction[:] + light).astype(np.uint32))
    else:
        k = np.fft.fftfreq(32)
        lens = np.exp(40j * (k[:, None] ** 2 + 1.3 * k**2))
        probe = np.fft.ifft2(np.fft.fft2(whole.probe) * lens)
        given = replace(whole, probe=probe.astype(np.complex64))
    left = tried(NumpyOps(), given, without=("moving-exposure", "slices"))
    known = dict(left)
    signs = Signs(1.05 * known[AS_IT_IS], 0.3 * known[AS_IT_IS], 0.9)
    found = judge(signs, left)
    assert (found.verdict, found.likely) == ("doubtful", kind)
    if kind == "background":
        assert known[LIT] < known[PROBE_FREE] < 0.5 * known[AS_IT_IS]
        assert found.cause is not None and "with that fitted" in found.cause


def test_a_background_that_a_refined_probe_hides_is_named_and_fitted() -> None:
    """Of 0.3 % of the counts the dark keeps a fifteenth; the picture is 7 dB below a clean one."""
    photons = 1e7
    scan = pp.simulate(
        object="siemens", N=32, patterns=81, step_px=3, photons=photons, seed=2,
        background=0.003 * photons / 32**2,
    )  # fmt: skip
    without, given = pp.RefineConfig(passes=15, refine_probe=True), replace(scan, object=None)
    options: Any = {"backend": "numpy", "no_mend": ("orientation",)}
    named = pp.refine(given, None, without.model_copy(update={"background": False}), **options)
    fit = named.fit
    assert fit is not None and (fit.verdict, fit.likely) == ("doubtful", "background")
    fitted = pp.refine(given, None, without, **options)
    assert fitted.fit is not None and fitted.fit.verdict == "good"
    found = float(np.mean(fitted.effects["background"]))
    assert found == pytest.approx(0.003 * photons / 32**2, rel=0.1)
    scores = [
        pp.evaluate(replace(r, provenance={}), truth=scan).metrics["phase_psnr_db"]
        for r in (named, fitted)
    ]
    assert scores[1] > scores[0] + 10
